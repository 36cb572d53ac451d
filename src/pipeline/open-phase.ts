/** @file A phase with its memory: runs graphs, and the decode in bands. */
import type { HostData } from "../backend/device.ts";
import { HostMemory } from "../backend/host-memory.ts";
import type { Graph } from "../ir/graph.ts";
import { runBands } from "../stream/banded.ts";
import type { PassOptions, PhasePass, PhaseRun } from "../stream/phase.ts";
import type { JobGraphs } from "./job-plan.ts";

export class OpenPhase implements AsyncDisposable {
  readonly #run: PhaseRun;
  readonly #passes: ReadonlyMap<Graph, PhasePass>;
  readonly #waiting: HostMemory;
  readonly #scope: AsyncDisposableStack;

  constructor(run: PhaseRun, passes: ReadonlyMap<Graph, PhasePass>, waiting: HostMemory, scope: AsyncDisposableStack) {
    this.#run = run;
    this.#passes = passes;
    this.#waiting = waiting;
    this.#scope = scope;
  }

  /** Runs one of the phase's graphs; `upcoming` are those that follow. See PhaseRun.run. */
  async run(
    graph: Graph,
    inputs: ReadonlyMap<string, HostData>,
    options: Omit<PassOptions, "upcoming"> & { readonly upcoming?: readonly Graph[] } = {},
  ): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    const { upcoming = [], ...rest } = options;
    const following = upcoming.map((other) => this.#passes.get(other)!);
    return await this.#run.run(this.#passes.get(graph)!, inputs, { ...rest, upcoming: following });
  }

  /** Decodes in bands: their graphs are the phase's. */
  async runBands(
    { decoder: program, decoderStorage: storage }: JobGraphs,
    inputs: ReadonlyMap<string, HostData>,
    signal?: AbortSignal,
  ): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    const sequence = program.layers.flatMap(({ bands }) => bands.map(({ graph }) => graph));
    using gathered = new HostMemory("rows put together", storage.gatherBytes);
    return await runBands(program, inputs, {
      storage,
      memory: {
        waiting: new Float32Array(this.#waiting.buffer),
        gathered: new Float32Array(gathered.buffer),
      },
      run: async (step, graph, bandInputs, into) => {
        const upcoming = sequence.slice(step + 1, step + 1 + BANDS_AHEAD);
        await this.run(graph, bandInputs, { upcoming, into, ...(signal ? { signal } : {}) });
      },
      ...(signal ? { signal } : {}),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#scope.disposeAsync();
  }
}

/** Bands looked at for weights to read ahead. */
const BANDS_AHEAD = 4;
