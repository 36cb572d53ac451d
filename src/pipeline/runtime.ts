/** @file What a pipeline needs to compute with: graphs by size, the components' weight streams, a backend. */
import type { ActivationData, Backend } from "../backend/backend.ts";
import type { HostData } from "../backend/device.ts";
import type { SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import type { TensorTable } from "../container/table.ts";
import { type BandProgram, bandProgram } from "../ir/bands.ts";
import type { Graph, ValueId } from "../ir/graph.ts";
import { type ClipGraphOptions, clipGraph } from "../model/clip.ts";
import type { ClipConfig } from "../model/config.ts";
import { type LatentSize, unetStepGraph, unetTextGraph, unetTimeGraph } from "../model/unet.ts";
import { DECODE_BAND_BYTES, vaeDecoderGraph } from "../model/vae.ts";
import { type PhasePlan, planPhases } from "../plan/phases.ts";
import { ActivationPool } from "../stream/activations.ts";
import { runBands } from "../stream/banded.ts";
import { runGraph } from "../stream/executor.ts";
import { WeightStream } from "../stream/weights.ts";
import type { PromptEmbedding } from "./prompt-embedding.ts";

export type ComponentName = "textEncoder" | "textEncoder2" | "unet" | "vae";

/** Text embeddings are 0.6 MB a prompt at full size. */
const PROMPT_CACHE_ENTRIES = 32;

export class SdxlRuntime {
  readonly graphs: GraphCache;
  readonly promptCache = new BoundedCache<string, PromptEmbedding>(PROMPT_CACHE_ENTRIES);
  readonly #backend: Backend;
  readonly #streams: Readonly<Record<ComponentName, WeightStream>>;
  readonly plan: PhasePlan;
  readonly #pause: () => Promise<void>;
  #pool = new ActivationPool();
  #signal: AbortSignal | undefined;

  constructor(checkpoint: SdxlCheckpoint, backend: Backend, pause: () => Promise<void>) {
    this.graphs = new GraphCache(checkpoint);
    this.#backend = backend;
    this.#pause = pause;
    this.#streams = {
      textEncoder: new WeightStream(checkpoint.textEncoder.table),
      textEncoder2: new WeightStream(checkpoint.textEncoder2.table),
      unet: new WeightStream(checkpoint.unet.table),
      vae: new WeightStream(checkpoint.vae.table),
    };
    const { textEncoder, textEncoder2, unet, vae } = checkpoint;
    const encodeBytes = tableBytes(textEncoder.table) + tableBytes(textEncoder2.table);
    this.plan = planPhases([encodeBytes, tableBytes(unet.table), tableBytes(vae.table)]);
  }

  /** Weight bytes read so far, of all components. */
  get readBytes(): number {
    return Object.values(this.#streams).reduce((sum, stream) => sum + stream.readBytes, 0);
  }

  /** The signal that stops the image in work. */
  useSignal(signal: AbortSignal | undefined): void {
    this.#signal = signal;
  }

  async run(
    component: ComponentName,
    graph: Graph,
    inputs: ReadonlyMap<string, ActivationData>,
  ): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    return await runGraph(graph, inputs, {
      backend: this.#backend,
      weights: this.#streams[component],
      pool: this.#pool,
      pause: this.#pause,
      ...(this.#signal ? { signal: this.#signal } : {}),
    });
  }

  /** As `run`, in bands of rows. */
  async runBanded(
    component: ComponentName,
    program: BandProgram,
    inputs: ReadonlyMap<string, HostData>,
  ): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    const signal = this.#signal;
    return await runBands(program, inputs, {
      run: async (graph, bandInputs, bandOutputs) => {
        const segment = graph.segments[0]!;
        const weights = await this.#streams[component].weights(graph, segment);
        const named = (names: ReadonlyMap<string, ValueId>, data: ReadonlyMap<string, HostData>) =>
          new Map([...names].map(([name, id]) => [id, data.get(name)!]));
        await this.#backend.run(
          {
            graph,
            segment,
            weights,
            inputs: named(graph.inputs, bandInputs),
            outputs: named(graph.outputs, bandOutputs) as Map<ValueId, Float32Array>,
          },
          signal,
        );
        await this.#pause();
      },
      ...(signal ? { signal } : {}),
    });
  }

  give(buffer: Float32Array<ArrayBuffer>): void {
    this.#pool.give(buffer);
  }

  /** Gives a phase's memory back (weights, activations, compiled segments) unless the whole model is small. */
  async endPhase(...components: readonly ComponentName[]): Promise<void> {
    if (this.plan.keepWeights) return;
    for (const component of components) this.#streams[component].release();
    this.#pool = new ActivationPool();
    await this.#backend.release();
  }
}

/** Graphs are values: built once per size. */
class GraphCache {
  readonly #checkpoint: SdxlCheckpoint;
  readonly #graphs = new BoundedCache<string, Graph>(16);
  readonly #programs = new BoundedCache<string, BandProgram>(4);

  constructor(checkpoint: SdxlCheckpoint) {
    this.#checkpoint = checkpoint;
  }

  clip(component: ComponentName, config: ClipConfig, options: ClipGraphOptions): Graph {
    return this.#get(`${component} ${JSON.stringify(options)}`, () => clipGraph(config, options));
  }

  unetTime(rows: number): Graph {
    return this.#get(`time ${rows}`, () => unetTimeGraph(this.#checkpoint.unet.config, rows));
  }

  unetText(batch: number, textTokens: number): Graph {
    return this.#get(`text ${batch} ${textTokens}`, () =>
      unetTextGraph(this.#checkpoint.unet.config, batch, textTokens),
    );
  }

  unetStep(size: LatentSize, textTokens: number): Graph {
    return this.#get(`step ${JSON.stringify(size)} ${textTokens}`, () =>
      unetStepGraph(this.#checkpoint.unet.config, size, textTokens),
    );
  }

  vaeDecoder(batch: number, height: number, width: number): BandProgram {
    return cached(this.#programs, `vae ${batch} ${height} ${width}`, () =>
      bandProgram(vaeDecoderGraph(this.#checkpoint.vae.config, batch, height, width), { bandBytes: DECODE_BAND_BYTES }),
    );
  }

  #get(key: string, make: () => Graph): Graph {
    return cached(this.#graphs, key, make);
  }
}

/** A map that forgets its oldest entry. */
class BoundedCache<Key, Item> {
  readonly #items = new Map<Key, Item>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: Key): Item | undefined {
    return this.#items.get(key);
  }

  set(key: Key, item: Item): void {
    this.#items.set(key, item);
    if (this.#items.size > this.#limit) {
      for (const oldest of this.#items.keys()) {
        this.#items.delete(oldest);
        break;
      }
    }
  }
}

function cached<Key, Item>(cache: BoundedCache<Key, Item>, key: Key, make: () => Item): Item {
  const known = cache.get(key);
  if (known) return known;
  const item = make();
  cache.set(key, item);
  return item;
}

function tableBytes(table: TensorTable): number {
  let bytes = 0;
  for (const entry of table.values()) bytes += entry.endByte - entry.startByte;
  return bytes;
}
