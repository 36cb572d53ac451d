/** @file What SDXL's networks are given, number by number: prompts, time, picture size, latents; and what is made of their answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostData } from "../../src/backend/device.ts";
import { ArtifactError, DeviceError } from "../../src/errors.ts";
import { latentMoments, scaledLatent, unscaledLatent, type VaeConfig } from "../../src/models/autoencoder.ts";
import type { Conditioning, Guide } from "../../src/models/conditioning.ts";
import { timestepEmbedding } from "../../src/models/embedding.ts";
import type { ModelCall } from "../../src/models/family.ts";
import { encodePrompt } from "../../src/models/sdxl/conditioning.ts";
import type { SdxlParts } from "../../src/models/sdxl/config.ts";
import { openDenoiser } from "../../src/models/sdxl/denoiser.ts";
import type { StageGraphs, TextGraphs } from "../../src/models/sdxl/graphs.ts";
import { combineGuidance } from "../../src/sampler/guidance.ts";
import { denoisedFrom, scaleModelInput } from "../../src/sampler/prediction.ts";
import type { NoiseSchedule } from "../../src/sampler/schedule.ts";
import type { PhaseRun } from "../../src/stream/phase.ts";

type Inputs = ReadonlyMap<string, HostData>;
interface Asked {
  readonly pass: string;
  readonly inputs: Readonly<Record<string, number[]>>;
  readonly upcoming: readonly string[] | undefined;
  readonly signal: AbortSignal | undefined;
}

function fakePhase(answer: (pass: string, inputs: Inputs) => Readonly<Record<string, readonly number[] | undefined>>) {
  const asked: Asked[] = [];
  const phase = {
    async run(pass: string, inputs: Inputs, { upcoming, signal }: { upcoming?: string[]; signal?: AbortSignal } = {}) {
      const plain = Object.fromEntries([...inputs].map(([name, values]) => [name, Array.from(values as Float32Array)]));
      asked.push({ pass, inputs: plain, upcoming, signal });
      return new Map(Object.entries(answer(pass, inputs)).map(([k, v]) => [k, Float32Array.from(v ?? [])]));
    },
  };
  return { phase: phase as unknown as PhaseRun, asked };
}

const EMBEDDING = { flipSinToCos: true, freqShift: 0 };
const UNET = { ...EMBEDDING, additionTimeEmbedDim: 2, levels: [{ channels: 4 }], blockOutChannels: [4] };
const SIGNAL = new AbortController().signal;
const conditioning = (value: number): Conditioning => ({
  sequences: new Map([["context", Float32Array.of(value, value + 1)]]),
  vectors: new Map([["pooled", Float32Array.of(value + 0.5)]]),
});

/** Six calls over three steps, two at once: each tells its own timestep. */
const CALLS: ModelCall[] = [0, 1, 2, 3, 4].map((i) => ({ step: Math.floor(i / 2), sigma: 8 - i }));
const SCHEDULE: NoiseSchedule = {
  timesteps: Float32Array.of(900, 500, 100),
  sigmas: Float32Array.of(8, 6, 4, 0),
  landings: Float32Array.of(6, 4, 0),
  initNoiseSigma: 8,
  predictionType: "epsilon",
  levelAt: () => 1,
  timestepOf: (sigma, step) => 100 * step + sigma,
};

async function denoiser(
  guide: Guide,
  batch: number,
  firstCall = 0,
  predictionType = "epsilon",
  spoil = false,
  {
    edm,
    scores,
    answers,
  }: Partial<Pick<SdxlParts, "scores">> & {
    readonly edm?: { readonly sigmaData: number };
    readonly answers?: readonly number[];
  } = {},
) {
  const dim = (await import("../../src/models/sdxl/unet-blocks.ts")).timeEmbeddingDim(UNET as never);
  const { phase, asked } = fakePhase((pass, inputs) => {
    // The time pass gives, a row for each half of each call, the row's first number, so that rows can be told apart.
    if (pass === "unet.time") {
      const rows = inputs.get("sinusoid") as Float32Array;
      return { shift: Array.from({ length: rows.length / dim }, (_, row) => rows[row * dim]!) };
    }
    if (pass !== "unet.step") return {};
    const { length } = inputs.get("latent") as Float32Array;
    return { prediction: answers ?? Array.from({ length }, (_, i) => (spoil ? Number.NaN : i + 1)) };
  });
  const parts = { configs: { unet: UNET }, scheduler: { predictionType, edm }, scores } as unknown as SdxlParts;
  const shape = { batch, width: 64, height: 32, modelCalls: CALLS.length, fp32: false, looks: 0 };
  const ids = { text: "unet.text", time: "unet.time", step: "unet.step" };
  const without = { inputs: new Map() };
  const graphs = {
    callsAtOnce: 2,
    ids,
    text: without,
    time: without,
    step: without,
    controls: [],
    imagePrompts: [],
  } as unknown as StageGraphs;
  const options = { guide, schedule: SCHEDULE, calls: CALLS, firstCall, signal: SIGNAL };
  return { ask: await openDenoiser(parts, graphs, shape, phase, options), asked, dim };
}

const told = (value: number) => ({ timeline: [conditioning(value)], weight: 1 });
const GUIDED: Guide = { parts: [told(10)], negative: [conditioning(20)], scale: 3 };
const X = Float32Array.of(2, -4);

test("guided: the negative half first, in text, size and latent; the answers mixed by the scale", async () => {
  const { ask, asked } = await denoiser(GUIDED, 2);
  assert.deepEqual(asked[0], {
    ...{ pass: "unet.text", inputs: { context: [20, 21, 10, 11] }, upcoming: ["unet.time"], signal: SIGNAL },
  });
  const clean = await ask(X, 8);
  const scaled = [...scaleModelInput(X, 8)];
  assert.deepEqual(asked[2]!.inputs.latent, [...scaled, ...scaled]);
  const ids = [...timestepEmbedding([32, 64, 0, 0, 32, 64], 2, EMBEDDING)];
  const rows = [20.5, ...ids, 10.5, ...ids];
  assert.deepEqual(asked[1]!.inputs.addition, [...rows, ...rows]);
  const guided = combineGuidance(Float32Array.of(1, 2), Float32Array.of(3, 4), 3);
  assert.deepEqual(clean, denoisedFrom(guided, X, 8, "epsilon"));
  assert.deepEqual([...guided], [7, 8]);
});

test("unguided: the prompt alone, and its answer as it is", async () => {
  const { ask, asked } = await denoiser({ parts: [told(10)], scale: 9 }, 1, 0, "sample");
  assert.deepEqual(asked[0]!.inputs.context, [10, 11]);
  assert.deepEqual(await ask(X, 8), Float32Array.of(1, 2));
  assert.deepEqual(asked[2]!.inputs.latent, [...scaleModelInput(X, 8)]);
});

test("a guide's rescale, and the deviation of latents that a model was trained on, go with each call", async () => {
  const answers = [1, 2, 3, 8];
  const [uncond, cond] = [Float32Array.of(1, 2), Float32Array.of(3, 8)];
  const rescaled = await denoiser({ ...GUIDED, rescale: 0.75 }, 2, 0, "epsilon", false, { answers });
  const expected = denoisedFrom(combineGuidance(uncond, cond, 3, 0.75), X, 8, "epsilon");
  assert.deepEqual(await rescaled.ask(X, 8), expected);
  const plain = await denoiser(GUIDED, 2, 0, "epsilon", false, { answers });
  assert.notDeepEqual(await plain.ask(X, 8), expected);
  const { ask, asked } = await denoiser(GUIDED, 2, 0, "v_prediction", false, { answers, edm: { sigmaData: 0.5 } });
  const clean = await ask(X, 8);
  assert.deepEqual(clean, denoisedFrom(combineGuidance(uncond, cond, 3), X, 8, "v_prediction", 0.5));
  // EDM (arXiv 2206.00364): by the root of the level's square and the deviation's.
  const scaled = [...X].map((value) => value / Math.hypot(8, 0.5));
  for (const [i, value] of asked[2]!.inputs.latent!.entries()) assert.ok(Math.abs(value - scaled[i % 2]!) < 1e-6);
});

test("a refiner's rows end with its score: the prompt's, also where there is no other, and the negative's", async () => {
  const scores = { positive: 6, negative: 2.5 };
  const rowOf = (pooled: number, score: number) => [
    ...[pooled, ...timestepEmbedding([32, 64, 7, 5, score], 2, EMBEDDING)],
  ];
  const origin = { top: 7, left: 5 };
  const guided = await denoiser({ ...GUIDED, origin }, 2, 4, "epsilon", false, { scores });
  await guided.ask(X, 4);
  assert.deepEqual(guided.asked[1]!.inputs.addition, [
    ...rowOf(20.5, 2.5),
    ...rowOf(10.5, 6),
    ...rowOf(20.5, 2.5),
    ...rowOf(10.5, 6),
  ]);
  const alone = await denoiser({ parts: [told(10)], scale: 1, origin }, 1, 4, "epsilon", false, { scores });
  await alone.ask(X, 4);
  assert.deepEqual(alone.asked[1]!.inputs.addition, [...rowOf(10.5, 6), ...rowOf(10.5, 6)]);
});

for (const firstCall of [0, 1, 2, 3, 4]) {
  test(`from call ${firstCall} on, each call is told its own timestep, by groups that are filled up`, async () => {
    const { ask, asked, dim } = await denoiser(GUIDED, 2, firstCall);
    const told = CALLS.map(({ sigma, step }) => SCHEDULE.timestepOf(sigma, step));
    const first = (timestep: number) => timestepEmbedding([timestep], dim, EMBEDDING)[0]!;
    for (let call = firstCall; call < CALLS.length; call++) {
      const before = asked.length;
      await ask(X, CALLS[call]!.sigma);
      const step = asked.at(-1)!;
      assert.deepEqual(step.inputs.shift, [first(told[call]!), first(told[call]!)], `call ${call}`);
      assert.deepEqual(step.upcoming, call === CALLS.length - 1 ? [] : ["unet.step"]);
      assert.equal(step.signal, SIGNAL);
      const group = asked.slice(before, -1);
      assert.equal(group.length, call % 2 === 0 || call === firstCall ? 1 : 0, `call ${call}`);
      if (group.length === 0) continue;
      const start = call - (call % 2);
      const timesteps = [start, Math.min(start + 1, CALLS.length - 1)].flatMap((at) => [told[at]!, told[at]!]);
      assert.deepEqual(group[0]!.inputs.sinusoid, [...timestepEmbedding(timesteps, dim, EMBEDDING)]);
      assert.deepEqual([group[0]!.upcoming, group[0]!.signal], [["unet.step"], SIGNAL]);
    }
  });
}

test("parts joined by AND: one answer each in one pass, mixed by their weights", async () => {
  const guide: Guide = {
    parts: [told(10), { ...told(30), weight: -0.5 }],
    negative: [conditioning(20)],
    scale: 3,
    origin: { width: 7, top: 5 },
  };
  const { ask, asked } = await denoiser(guide, 3);
  assert.deepEqual(asked[0]!.inputs.context, [20, 21, 10, 11, 30, 31]);
  const clean = await ask(X, 8);
  const ids = [...timestepEmbedding([32, 7, 5, 0, 32, 64], 2, EMBEDDING)];
  const rows = [20.5, ...ids, 10.5, ...ids, 30.5, ...ids];
  assert.deepEqual(asked[1]!.inputs.addition, [...rows, ...rows]);
  const scaled = [...scaleModelInput(X, 8)];
  assert.deepEqual(asked[2]!.inputs.latent, [...scaled, ...scaled, ...scaled]);
  // Answers 1 2, 3 4, 5 6: 1 + 3 (1 (3 - 1) - 0.5 (5 - 1)) and so on.
  assert.deepEqual(clean, denoisedFrom(Float32Array.of(1, 2), X, 8, "epsilon"));
});

test("prompts that change are told anew at their step, with their own rows of time embeddings", async () => {
  const [first, later] = [conditioning(10), conditioning(30)];
  const guide: Guide = {
    // The last holds for all later steps.
    parts: [{ timeline: [first, later], weight: 1 }],
    negative: [conditioning(20)],
    scale: 3,
  };
  const { ask, asked } = await denoiser(guide, 2);
  for (const { sigma } of CALLS) await ask(X, sigma);
  const passes = asked.map(({ pass, upcoming }) => [pass, upcoming]);
  const [text, time, step] = ["unet.text", "unet.time", "unet.step"];
  assert.deepEqual(passes, [
    [text, [time]],
    [time, [step]],
    [step, [step]],
    [step, [text, step]],
    [text, [step]],
    [time, [step]],
    [step, [step]],
    [step, [step]],
    [time, [step]],
    [step, []],
  ]);
  assert.deepEqual(asked[4]!.inputs.context, [20, 21, 30, 31]);
  const pooled = (at: number) => asked[at]!.inputs.addition!.filter((value) => value % 1 === 0.5 && value > 1);
  assert.deepEqual(
    [pooled(1), pooled(5)],
    [
      [20.5, 10.5, 20.5, 10.5],
      [20.5, 30.5, 20.5, 30.5],
    ],
  );
});

test("a call at another level than was told is refused; what is no number is told with its step", async () => {
  const { ask } = await denoiser(GUIDED, 2);
  await assert.rejects(ask(X, 7), /call 0 is for noise level 8, not 7/);
  const spoilt = await denoiser(GUIDED, 2, 2, "epsilon", true);
  await assert.rejects(
    spoilt.ask(X, 6),
    (error) => error instanceof DeviceError && /prediction in step 2 is not a number at element 0/.test(error.message),
  );
});

test("a prompt: the encoders' states side by side, the second's pooled end, found as transformers finds it", async () => {
  const tokens = [7, 3, 9, 5, 9];
  const encode = async (eosTokenId: number, ids = tokens, vocabSize = 100) => {
    const { phase, asked } = fakePhase((pass) =>
      pass === "clip"
        ? { hidden: ids.map((_, i) => i) }
        : { hidden: ids.flatMap((_, i) => [10 + i, 20 + i]), pooled: [42] },
    );
    const configs = {
      textEncoder: { hiddenSize: 1, vocabSize: 100, eosTokenId },
      textEncoder2: { hiddenSize: 2, vocabSize, eosTokenId },
    } as unknown as SdxlParts["configs"];
    const chunks = { tokenizer: { ids }, tokenizer_2: { ids: ids.map((id) => id + 1) } };
    const graphs = {
      clip: { inputs: new Map([["ids", 0]]) },
      clip2: { inputs: new Map([["eos_rows", 0]]) },
    } as unknown as TextGraphs;
    return [
      await encodePrompt(configs, graphs, phase, { tokens: chunks, clipSkip: 0 }, { signal: SIGNAL }),
      asked,
    ] as const;
  };
  const [found, [first, second]] = await encode(10);
  assert.deepEqual([...found.sequences.get("context")!], [0, 10, 20, 1, 11, 21, 2, 12, 22, 3, 13, 23, 4, 14, 24]);
  assert.deepEqual([...found.vectors.get("pooled")!], [42]);
  assert.deepEqual(first, {
    pass: "clip",
    inputs: { ids: tokens, positions: [0, 1, 2, 3, 4] },
    upcoming: ["clip2"],
    signal: SIGNAL,
  });
  assert.deepEqual(second!.inputs, { ids: [8, 4, 10, 6, 10], positions: [0, 1, 2, 3, 4], eos_rows: [2] });
  assert.equal(second!.signal, SIGNAL);
  // The legacy id 2: the highest, wherever it is first; no end at all: the first row.
  assert.deepEqual((await encode(2, [7, 3, 5, 12, 12]))[1][1]!.inputs.eos_rows, [3]);
  assert.deepEqual((await encode(99))[1][1]!.inputs.eos_rows, [0]);
  await assert.rejects(
    encode(10, tokens, 10),
    (error) => error instanceof ArtifactError && /token 10, .* vocabulary of 10 lacks/.test(error.message),
  );
});

test("an encoder's answer: means first; variances by their logarithms, from -30 to 20, whatever it gives", () => {
  const logarithms = [-1000, -30, -2, 0, 20, 1000];
  const { mean, deviation } = latentMoments(Float32Array.of(1, 2, 3, 4, 5, 6, ...logarithms));
  assert.deepEqual(mean, Float32Array.of(1, 2, 3, 4, 5, 6));
  const exponents = [-15, -15, -1, 0, 10, 10];
  assert.deepEqual(deviation, Float32Array.from(exponents, Math.exp));
});

test("latents as samplers have them: a channel's mean taken away, scaled, by its deviation; and back", () => {
  const plain = { latentChannels: 2, scalingFactor: 0.5 } as VaeConfig;
  const normalised = { ...plain, latentStatistics: { mean: [1, -2], std: [4, 8] } };
  const encoded = Float32Array.of(5, 9, -2, 6);
  assert.deepEqual(scaledLatent(encoded, plain), Float32Array.of(2.5, 4.5, -1, 3));
  // (5 - 1) 0.5 / 4, (9 - 1) 0.5 / 4; (-2 + 2) 0.5 / 8, (6 + 2) 0.5 / 8
  assert.deepEqual(scaledLatent(encoded, normalised), Float32Array.of(0.5, 1, 0, 0.5));
  for (const config of [plain, normalised])
    assert.deepEqual(unscaledLatent(scaledLatent(encoded, config), config), encoded);
});
