/** @file An engine of this process on a device, a clock and a host that a test holds in its hands. */
import { fileURLToPath } from "node:url";
import type { StoredWeight } from "../../src/backend/device.ts";
import { type Compute, composeEngine, type EngineParts, type Host } from "../../src/engine/engine.ts";
import type { Graph, Segment } from "../../src/ir/graph.ts";
import type { Budgets, CheckedEngine } from "../../src/job/checked.ts";
import type { GenerateEvent, GenerateJob, GenerateOptions, LoadEvent } from "../../src/job/types.ts";
import { findModel, type ModelSource } from "../../src/library/open.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { type DeviceFaults, FaultyDevice } from "../faulty-device.ts";

const modelFolder = (name: string) => fileURLToPath(new URL(`../../fixtures/golden/${name}`, import.meta.url));
export const JOB: GenerateJob = { prompt: "a lake", seed: 1, steps: 3, guidance: 5, width: 16, height: 16 };
const parts = await openNodeParts({ backend: "reference", model: modelFolder("flat") }, (name) => name);
await parts.compute.device[Symbol.asyncDispose]();

/** Ends in a later turn than it is asked to, and notes what it compiles. */
export class SlowDevice extends FaultyDevice {
  ended = false;
  onPrepare: (() => void) | undefined;

  override async prepare(graph: Graph, segment: Segment, weights: readonly StoredWeight[]): Promise<void> {
    this.onPrepare?.();
    return await super.prepare(graph, segment, weights);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await turns();
    await super[Symbol.asyncDispose]();
    this.ended = true;
  }
}

export interface BenchOptions {
  readonly faults?: DeviceFaults;
  readonly compute?: Partial<Compute>;
  readonly host?: Partial<Host>;
  readonly model?: Partial<ModelSource>;
  readonly budgets?: Budgets;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: LoadEvent) => void;
}

export interface Bench {
  readonly engine: CheckedEngine;
  readonly device: SlowDevice;
}

/** The model that the bench opens, as the library found it. */
export const found: ModelSource = parts.model;
/** Another, of more weights. */
export const larger = await findModel(
  nodeLibraryHost((name) => name, {}),
  { model: modelFolder("conv-proj") },
);
export const host: Host = parts.host;

export async function openBench(options: BenchOptions = {}, device = new SlowDevice(options.faults)): Promise<Bench> {
  const { compute, host: other, model, budgets = {}, signal, onEvent } = options;
  const chosen: EngineParts = {
    compute: { ...parts.compute, device, ...compute },
    host: { ...host, ...other },
    model: { ...found, open: found.open.bind(found), ...model },
    budgets,
  };
  return { device, engine: await composeEngine(chosen, { signal, onEvent }) };
}

/** What an event is, in a word or two. */
export function wordOf(event: GenerateEvent): string {
  if (event.type === "phase") return event.phase;
  return event.type === "step" ? `step ${event.step}` : event.type;
}

export async function imageOf(engine: CheckedEngine, job = JOB, options?: GenerateOptions) {
  for await (const event of engine.generate(job, options)) if (event.type === "image") return event;
  throw new Error("no image");
}

/** As many turns of the event loop as anything here takes that needs no more work done. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
