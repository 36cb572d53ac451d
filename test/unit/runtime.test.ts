/**
 * @file What a pipeline's runtime takes, keeps and gives back: memory phase by phase, plans, prompts, what a device holds compiled;
 * and what of a job reaches the model.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { SegmentCall, Span, StoredWeight } from "../../src/backend/device.ts";
import type { Graph, Segment, ValueId } from "../../src/ir/graph.ts";
import type { Checkpoint } from "../../src/models/family.ts";
import { BoundedCache } from "../../src/pipeline/bounded-cache.ts";
import { componentReaders } from "../../src/pipeline/readers.ts";
import { recoveredTextToImage } from "../../src/pipeline/recovery.ts";
import { jobShape } from "../../src/pipeline/route.ts";
import { Runtime } from "../../src/pipeline/runtime.ts";
import { type TextToImageJob, textToImage } from "../../src/pipeline/text-to-image.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import type { SamplerState } from "../../src/sampler/sampler.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import { StoredBlocks } from "../../src/stream/stored-blocks.ts";
import { FaultyDevice } from "../faulty-device.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { sameBytes } from "../support/same.ts";

const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));
const JOB: TextToImageJob = {
  ...{ prompt: "a lake", seed: 1, steps: 2, guidance: 5, width: 16, height: 16 },
  sampler: "euler",
};
const PLENTY = 2 ** 30;
const PROCESS = { tier: "ram", label: "process", lengthBytes: 7 };

/** Counts what it is asked to compile, to forget and to read in. */
class CountingDevice extends FaultyDevice {
  prepared = 0;
  /** Told of each. */
  onPrepared = () => {};
  releases = 0;
  uploads = 0;
  /** Batches that came in, by graph. */
  readonly written: string[] = [];
  /** How often each graph's first segment ran. */
  readonly runs = new Map<Graph, number>();

  constructor() {
    super({ before: (call) => void (call === "upload" && this.uploads++) });
  }

  override prepare(graph: Graph, segment: Segment, weights: readonly StoredWeight[]) {
    this.prepared++;
    this.onPrepared();
    return super.prepare(graph, segment, weights);
  }

  override release() {
    this.releases++;
    return super.release();
  }

  override async run(call: SegmentCall, signal?: AbortSignal) {
    const { graph, segment } = call;
    if (segment === graph.segments[0]) this.runs.set(graph, (this.runs.get(graph) ?? 0) + 1);
    await super.run(call, signal);
  }

  override async write(graph: Graph, id: ValueId, span: Span, data: Float32Array | Int32Array) {
    const { name, shape } = graph.values[id]!;
    if (name === "ids" || name === "latent") this.written.push(`${graph.name} ${name} ${shape[0]}`);
    await super.write(graph, id, span, data);
  }
}

function runtimeOf(deviceBytes = PLENTY, model: Checkpoint = checkpoint) {
  const device = new CountingDevice();
  const runtime = new Runtime(model, device, componentReaders(model, performance.now), {
    budgets: { deviceBytes, ramBytes: PLENTY },
    machine: TEST_MACHINE,
    rates: {},
    processBytes: PROCESS.lengthBytes,
    now: () => performance.now(),
    pause: async () => {},
  });
  return { device, runtime };
}

async function draw(runtime: Runtime, job: Partial<TextToImageJob> = {}): Promise<Uint8Array> {
  const recovery = { hasLessThanFp32: false, shrink: async () => {}, pause: async () => {} };
  for await (const event of recoveredTextToImage(runtime, { ...JOB, ...job }, recovery))
    if (event.type === "pixels") return event.rgb;
  throw new Error("no picture");
}

const planOf = (runtime: Runtime, job: Partial<TextToImageJob> = {}) =>
  runtime.plan(jobShape(runtime.checkpoint, { ...JOB, ...job }));

/** The least in which all weights stay, and a byte less: phases come and go. */
const residentBytes = planOf(runtimeOf().runtime).plan.peak.deviceBytes;

test("a map of three keeps the last three, and forgets the oldest first", () => {
  const cache = new BoundedCache<number, string>(3);
  for (const key of [1, 2, 3]) cache.set(key, `${key}`);
  assert.deepEqual(
    [1, 2, 3].map((key) => cache.get(key)),
    ["1", "2", "3"],
  );
  cache.set(4, "4");
  assert.deepEqual(
    [1, 2, 3, 4].map((key) => cache.get(key)),
    [undefined, "2", "3", "4"],
  );
  cache.clear();
  assert.equal(cache.get(4), undefined);
});

test("each component's weights come from where they are: the block store, or files in place", () => {
  const { table } = checkpoint.components.get("unet")!;
  const stored = checkpoint.withWeights(new Map([["unet", { table, blocks: [] }]]));
  const readers = componentReaders(stored, performance.now);
  assert.ok(readers.get("unet") instanceof StoredBlocks);
  assert.ok(readers.get("textEncoder") instanceof TableBlocks);
  assert.deepEqual([...readers.keys()].sort(), [...stored.components.keys()].sort());
});

test("each phase has on the ledger what the plan says, and gives it back; a whole picture has the plan's peaks", async () => {
  const least = smallestDeviceBytes(planOf(runtimeOf().runtime).input);
  for (const deviceBytes of [PLENTY, residentBytes - 1, least]) {
    const { device, runtime } = runtimeOf(deviceBytes);
    const planned = planOf(runtime);
    assert.equal(planned.plan.keepsAll, deviceBytes === PLENTY);
    const cached = planned.plan.phases.some(({ cachedBytes }) => cachedBytes > 0);
    assert.equal(cached, deviceBytes === least, "weights that stream wait in RAM");
    for (const { id, hostBytes } of planned.described.phases) {
      await using _ = await runtime.openPhase(planned, id);
      const held = runtime.ledger.held();
      const has = (tier: string, label: string, lengthBytes: number) =>
        held.some((item) => item.tier === tier && item.label === label && item.lengthBytes === lengthBytes);
      assert.ok(has("ram", "process", PROCESS.lengthBytes));
      assert.ok(has("ram", `${id}: host buffers`, hostBytes), `${id}: ${JSON.stringify(held)}`);
      assert.ok(has("device", "device overhead", device.overheadBytes));
      assert.ok(has("ram", "uploads", device.hostBytes));
    }
    await draw(runtime);
    const { plan } = planned;
    assert.equal(runtime.ledger.state("device").peakBytes, plan.peak.deviceBytes);
    assert.equal(runtime.ledger.state("ram").peakBytes, plan.peak.ramBytes);
    if (!plan.keepsAll) assert.deepEqual(runtime.ledger.held(), [PROCESS]);
    await runtime.releaseWeights();
    assert.deepEqual(runtime.ledger.held(), [PROCESS]);
    assert.equal(device.live.size, 0);
  }
});

test("a picture runs each pass as often as its plan says", async () => {
  // 70 calls of the model are more than one group of time embeddings has.
  for (const job of [
    { guidance: 1, steps: 70 },
    { negativePrompt: "fog" },
    { negativePrompt: "fog", steps: 3, width: 32 },
  ]) {
    const { device, runtime } = runtimeOf();
    await draw(runtime, job);
    for (const { passes } of planOf(runtime, job).described.phases) {
      for (const { id, graph, repeats } of passes)
        assert.equal(device.runs.get(graph), repeats, `${id}, ${JSON.stringify(job)}`);
    }
  }
});

test("where all stays, the second picture reads and compiles nothing; where it doesn't, what was compiled goes with each phase", async () => {
  const resident = runtimeOf();
  const first = await draw(resident.runtime);
  const { prepared, uploads } = resident.device;
  assert.ok(prepared > 0 && uploads > 0);
  assert.equal(resident.device.releases, 0);
  sameBytes(await draw(resident.runtime, { prompt: "a lake" }), first);
  assert.deepEqual([resident.device.prepared, resident.device.uploads], [prepared, uploads]);
  const streaming = runtimeOf(residentBytes - 1);
  sameBytes(await draw(streaming.runtime), first);
  assert.ok(streaming.device.releases >= 3, `${streaming.device.releases} releases in three phases`);
  await draw(streaming.runtime, { prompt: "a hill" });
  assert.ok(streaming.device.prepared > prepared, "compiled anew");
});

test("a picture that ends in its first phase has compiled that phase alone: the next one compiles the others", async () => {
  const { device, runtime } = runtimeOf();
  const planned = planOf(runtime);
  const [encode] = planned.described.phases;
  {
    await using _ = await runtime.openPhase(planned, encode!.id);
  }
  const ofEncode = device.prepared;
  await draw(runtime);
  const whole = runtimeOf();
  await draw(whole.runtime);
  assert.equal(device.prepared, whole.device.prepared + ofEncode);
});

test("an abort while a phase is compiled is heard at the next segment, and nothing is held", async () => {
  const { device, runtime } = runtimeOf(residentBytes - 1);
  const planned = planOf(runtime);
  const stop = new AbortController();
  device.onPrepared = () => {
    if (device.prepared === 3) stop.abort(new Error("enough"));
  };
  await assert.rejects(runtime.openPhase(planned, planned.described.phaseOf.denoise, stop.signal), /^Error: enough$/);
  assert.equal(device.prepared, 3);
  assert.deepEqual(runtime.ledger.held(), [PROCESS]);
  assert.equal(device.live.size, 0);
});

test("another picture size: what was compiled for the one before goes; another number of steps lets it stay", async () => {
  const { device, runtime } = runtimeOf();
  await draw(runtime);
  await draw(runtime, { steps: 3 });
  assert.equal(device.releases, 0);
  await draw(runtime, { width: 32 });
  assert.equal(device.releases, 1);
  const { prepared } = device;
  await draw(runtime);
  assert.ok(device.prepared > prepared);
});

test("other budgets: weights go, what was compiled goes, plans are made anew, and the process is counted", async () => {
  const { device, runtime } = runtimeOf();
  const first = await draw(runtime);
  const before = planOf(runtime);
  assert.ok(device.live.size > 0);
  await runtime.setBudgets({ deviceBytes: residentBytes - 1, ramBytes: PLENTY });
  assert.equal(device.live.size, 0);
  assert.equal(device.releases, 1);
  assert.deepEqual(runtime.ledger.held(), [PROCESS]);
  assert.notEqual(planOf(runtime), before);
  assert.equal(planOf(runtime).plan.keepsAll, false);
  sameBytes(await draw(runtime), first);
  assert.ok(runtime.ledger.state("device").peakBytes < residentBytes);
});

test("another device: its own plans, and everything compiled on it", async () => {
  const { runtime, device } = runtimeOf();
  const first = await draw(runtime);
  const before = planOf(runtime);
  await runtime.releaseWeights();
  const next = new CountingDevice();
  runtime.replaceDevice(next);
  assert.notEqual(planOf(runtime), before);
  // A prompt that isn't remembered: all phases are opened.
  await draw(runtime, { prompt: "a hill" });
  assert.equal(next.prepared, device.prepared);
  sameBytes(await draw(runtime), first);
});

test("for work of another kind all that pictures have left goes: weights, what was compiled, what is remembered of prompts", async () => {
  const { device, runtime } = runtimeOf();
  const first = await draw(runtime);
  const { prepared } = device;
  assert.ok(device.live.size > 0);
  await runtime.vacate();
  assert.equal(device.live.size, 0);
  assert.deepEqual(runtime.ledger.held(), [PROCESS]);
  sameBytes(await draw(runtime), first);
  assert.equal(device.prepared, 2 * prepared, "the prompt is encoded again, too");
});

test("the end of a runtime gives back weights and the process", async () => {
  const { device, runtime } = runtimeOf();
  await draw(runtime);
  await runtime[Symbol.asyncDispose]();
  assert.deepEqual(runtime.ledger.held(), []);
  assert.equal(device.live.size, 0);
});

test("less device memory is half of a plan's, in whole MiB, and never less than is needed", () => {
  const { runtime } = runtimeOf();
  const job = { width: 512, height: 512 };
  const shape = jobShape(checkpoint, { ...JOB, ...job });
  const planned = runtime.plan(shape);
  const { plan, input } = planned;
  const MiB = 2 ** 20;
  const [half, least] = [plan.peak.deviceBytes / 2, smallestDeviceBytes(input)];
  assert.ok(plan.peak.deviceBytes > 4 * MiB, "several MiB, for these numbers to differ");
  const less = runtime.lessDeviceBytes(planned)!;
  assert.equal(less, Math.ceil(Math.max(half, least) / MiB) * MiB);
  assert.ok(runtimeOf(less).runtime.plan(shape).plan.peak.deviceBytes <= less);
  // At the least there is nothing less.
  const smallest = runtimeOf(Math.ceil(least / MiB) * MiB).runtime;
  assert.equal(smallest.lessDeviceBytes(smallest.plan(shape)), undefined);
});

test("guidance of 1 asks the model once a step, with the prompt alone; above it, with both", async () => {
  const asked = async (job: Partial<TextToImageJob>) => {
    const { device, runtime } = runtimeOf();
    await draw(runtime, job);
    const count = (what: string) => device.written.filter((text) => text === what).length;
    return [count("clip ids 1"), count("unet.step latent 1"), count("unet.step latent 2")];
  };
  // Two text encoders.
  assert.deepEqual(await asked({ guidance: 1 }), [2, 2, 0]);
  assert.deepEqual(await asked({ guidance: 1, negativePrompt: "fog" }), [2, 2, 0]);
  assert.deepEqual(await asked({ guidance: 1.5, negativePrompt: "fog" }), [4, 0, 2]);
});

test("prompts are remembered, each by all of its tokens; an empty one isn't one that was not given", async () => {
  // Zeros for an absent prompt: so this model's folder has it.
  const counted = (zerosForAbsentPrompt: boolean) => {
    const model = Object.create(checkpoint, { zerosForAbsentPrompt: { value: zerosForAbsentPrompt } });
    const { device, runtime } = runtimeOf(PLENTY, model);
    const encodings = async (job: Partial<TextToImageJob>) => {
      device.written.length = 0;
      await draw(runtime, job);
      return device.written.filter((text) => text.startsWith("clip")).length / 2;
    };
    return { runtime, encodings };
  };
  const zeros = counted(true);
  assert.equal(await zeros.encodings({}), 1);
  assert.equal(await zeros.encodings({ seed: 2 }), 0);
  assert.equal(await zeros.encodings({ prompt: "a lake  " }), 0);
  assert.equal(await zeros.encodings({ prompt: "a lake!" }), 1);
  assert.equal(await zeros.encodings({ negativePrompt: "" }), 1);
  assert.equal(await zeros.encodings({ negativePrompt: "fog" }), 1);
  const [without, empty] = [await draw(zeros.runtime), await draw(zeros.runtime, { negativePrompt: "" })];
  assert.ok(without.some((value, i) => value !== empty[i]));
  const plain = counted(false);
  assert.equal(await plain.encodings({}), 2);
  assert.equal(await plain.encodings({ negativePrompt: "" }), 0);
  sameBytes(await draw(plain.runtime), empty);
});

test("from a finished latent there is only the decode left, to the same pixels; from a step, the steps after it", async () => {
  const { runtime } = runtimeOf();
  const planned = planOf(runtime, { steps: 3 });
  const job = { ...JOB, steps: 3 };
  const states: SamplerState[] = [];
  const run = async (from?: SamplerState) => {
    const seen: string[] = [];
    let rgb: Uint8Array | undefined;
    for await (const event of textToImage(runtime, planned, job, { from })) {
      if (event.type === "phase") seen.push(event.phase);
      if (event.type === "step") seen.push(`${event.state.step}/${event.steps}`);
      if (event.type === "step" && from === undefined) states.push(event.state);
      if (event.type === "pixels") rgb = event.rgb;
    }
    return { seen, rgb: rgb! };
  };
  const whole = await run();
  assert.deepEqual(whole.seen, ["encode", "denoise", "1/3", "2/3", "3/3", "decode"]);
  for (const [at, seen] of [
    [0, ["encode", "denoise", "2/3", "3/3", "decode"]],
    [2, ["decode"]],
  ] as const) {
    const rest = await run(states[at]);
    assert.deepEqual(rest.seen, seen);
    sameBytes(rest.rgb, whole.rgb);
  }
});

test("a picture that is left after a step gives its phase's memory back; however one ends, the runtime hears of it once", async () => {
  const { device, runtime } = runtimeOf(residentBytes - 1);
  let ends = 0;
  const endImage = runtime.endImage.bind(runtime);
  runtime.endImage = async () => {
    ends++;
    await endImage();
  };
  const recovery = { hasLessThanFp32: false, shrink: async () => {}, pause: async () => {} };
  for await (const event of recoveredTextToImage(runtime, JOB, recovery)) if (event.type === "step") break;
  assert.equal(ends, 1);
  assert.deepEqual(runtime.ledger.held(), [PROCESS]);
  assert.equal(device.live.size, 0);
  await draw(runtime);
  assert.equal(ends, 2);
  const stop = AbortSignal.abort(new Error("enough"));
  await assert.rejects(async () => {
    for await (const _ of recoveredTextToImage(runtime, JOB, recovery, stop));
  }, /enough/);
  assert.equal(ends, 3);
});
