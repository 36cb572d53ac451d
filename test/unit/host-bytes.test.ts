/** @file RAM that a job's phases plan for what lies in host memory, added up by hand: embeddings, latents, pictures, times. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { composeEngine } from "../../src/engine/engine.ts";
import { encoded } from "../../src/engine/picture-file.ts";
import { readJob } from "../../src/engine/read-job.ts";
import type { PictureWriter } from "../../src/image/picture-writer.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";
import { Ledger } from "../../src/ledger/ledger.ts";
import type { JobShape } from "../../src/models/job-shape.ts";
import { SDXL } from "../../src/models/sdxl/family.ts";
import { imageHostBytes } from "../../src/models/sdxl/image-runs.ts";
import { controlHostBytes } from "../../src/models/sdxl/stage-controls.ts";
import { Upscaling } from "../../src/models/upscaling.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import { openUpscaler } from "../../src/node/upscaler-files.ts";
import type { ImportBudget } from "../../src/store/import/import-types.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));

const SHAPE: JobShape = { batch: 2, width: 16, height: 16, modelCalls: 2, historyLength: 0, fp32: false };

function hostBytes(more: Partial<JobShape> = {}): Record<string, number> {
  return Object.fromEntries(
    checkpoint.describe({ ...SHAPE, ...more }).phases.map((phase) => [phase.id, phase.hostBytes]),
  );
}

/** 77 tokens of both encoders, 8 and 12 wide, and the pooled row, in fp32. */
const CHUNK = 4 * (77 * (8 + 12) + 12);
/** Prompts of 32 are kept, so that a prompt that comes again is not encoded again. */
const KEPT = 32 * CHUNK;
/** 8 channels of one 16th of the picture each way; with guidance the network reads two. */
const latent = (width: number, height: number) => (4 * 8 * width * height) / 16 ** 2;
/** 7 residual blocks read 24 values each, by call and half. */
const times = (calls: number, halves: number) => 4 * 7 * 24 * calls * halves;
/** As fp32, as bytes, filtered, and up to two bytes packed, for each of three colours. */
const decoded = (width: number, height: number) => (4 + 1 + 1 + 2) * 3 * width * height;

test("noise alone: what is kept of prompts, both halves' rows, eight latents while steps are taken, two and the picture at the end", () => {
  assert.deepEqual(hostBytes(), {
    encode: KEPT + 2 * CHUNK,
    denoise: KEPT + 2 * CHUNK + times(2, 2) + 8 * 2 * latent(16, 16),
    decode: KEPT + 2 * 2 * latent(16, 16) + decoded(16, 16),
  });
  assert.deepEqual(hostBytes({ batch: 1, width: 48, modelCalls: 3 }), {
    encode: KEPT + 2 * CHUNK,
    denoise: KEPT + 2 * CHUNK + times(3, 1) + 8 * latent(48, 16),
    decode: KEPT + 2 * latent(48, 16) + decoded(48, 16),
  });
});

test("another format's encoder takes more than PNG's nine bytes a pixel, where the picture is decoded last", () => {
  const [png, jpeg] = [hostBytes(), hostBytes({ encoderBytesPerPixel: 16 })];
  assert.deepEqual(jpeg, { ...png, decode: png.decode! + (16 - 9) * 16 * 16 });
});

test("what a sampler keeps is a latent each, in every phase that has latents", () => {
  const [none, three] = [hostBytes(), hostBytes({ historyLength: 3 })];
  assert.deepEqual(three, {
    encode: none.encode!,
    denoise: none.denoise! + 3 * 2 * latent(16, 16),
    decode: none.decode! + 3 * 2 * latent(16, 16),
  });
});

test("long prompts: rows of all chunks of all prompts together, and chunks that are held beside the kept ones in every phase", () => {
  const text = { chunks: 3, clipSkips: [0], encodes: 6, tellings: 2, heldChunks: 4 };
  const held = 4 * CHUNK;
  assert.deepEqual(hostBytes({ batch: 3, text }), {
    encode: KEPT + held + 2 * CHUNK,
    denoise: KEPT + held + 3 * 3 * CHUNK + times(2, 3) + 8 * 3 * latent(16, 16),
    decode: KEPT + held + 2 * 3 * latent(16, 16) + decoded(16, 16),
  });
});

test("a picture to begin with: its bytes in every phase, its mask beside them, five latents more, and itself as fp32 where it is looked at", () => {
  for (const masked of [false, true]) {
    const bytes = (masked ? 4 : 3) * 16 * 16;
    assert.deepEqual(hostBytes({ modelCalls: 1, pictures: { encoded: 1, masked } }), {
      encode: KEPT + bytes + 2 * CHUNK,
      look: KEPT + bytes + 4 * 3 * 16 * 16 + (6 + 5) * latent(16, 16),
      denoise: KEPT + bytes + 2 * CHUNK + times(1, 2) + (8 + 5) * 2 * latent(16, 16),
      decode: KEPT + bytes + (2 + 5) * 2 * latent(16, 16) + decoded(16, 16),
    });
  }
});

test("a second pass takes its own size's latents and pictures", () => {
  const hires = { width: 32, height: 32, modelCalls: 1, enlarges: "picture" } as const;
  const first = hostBytes();
  assert.deepEqual(hostBytes({ hires }), {
    ...first,
    // The smaller picture, half of it enlarged, the larger one twice as Lanczos' filter makes it; as fp32.
    "hires.look": KEPT + 3 * (16 * 16 + 32 * 16 + 2 * 32 * 32) + 4 * 3 * 32 * 32 + (6 + 5) * latent(32, 32),
    "hires.denoise": KEPT + 2 * CHUNK + times(1, 2) + (8 + 5) * 2 * latent(32, 32),
    "hires.decode": KEPT + (2 + 5) * 2 * latent(32, 32) + decoded(32, 32),
  });
});

test("prompts of a second pass: their rows where it denoises, whichever pass has the longer ones", () => {
  const text = (chunks: number) => ({ chunks, clipSkips: [0], encodes: 2, tellings: 1, heldChunks: 0 });
  const hires = { width: 32, height: 32, modelCalls: 1, enlarges: "latent" } as const;
  const waits = 2 * CHUNK + (2 + 5) * latent(32, 32);
  for (const [first, second] of [
    [1, 3],
    [4, 2],
  ] as const) {
    const shape = { ...SHAPE, text: text(first), hires: { ...hires, batch: 3, text: text(second) } };
    const { phases } = checkpoint.describe(shape);
    const hostOf = (id: string) => phases.find((phase) => phase.id === id)!.hostBytes;
    assert.equal(hostOf("denoise"), KEPT + 2 * first * CHUNK + times(2, 2) + 8 * 2 * latent(16, 16));
    assert.equal(hostOf("hires.denoise"), KEPT + 3 * second * CHUNK + times(1, 3) + (8 + 5) * 3 * latent(32, 32));
    // A picture that waits has room for the rows of either.
    assert.equal(phases[0]!.laneBytes, waits + Math.max(2 * first, 3 * second) * CHUNK);
  }
});

test("learned words: their vectors in every phase, and the rows that an encoder is given; a chunk for each layer that is read", () => {
  const text = { chunks: 1, clipSkips: [0], encodes: 2, tellings: 1, heldChunks: 0 };
  const plain = hostBytes();
  // Both encoders' widths, 8 and 12.
  const vector = 4 * (8 + 12);
  assert.deepEqual(hostBytes({ text: { ...text, learned: 5 } }), {
    encode: plain.encode! + 5 * vector + 77 * vector,
    denoise: plain.denoise! + 5 * vector,
    decode: plain.decode! + 5 * vector,
  });
  assert.deepEqual(hostBytes({ text: { ...text, clipSkips: [0, 1] } }), { ...plain, encode: plain.encode! + CHUNK });
});

test("previews by colours: a pixel for each cell of the latent, and once more as it is sent", () => {
  const plain = hostBytes({ width: 48 });
  assert.deepEqual(hostBytes({ width: 48, preview: "colours" }), { ...plain, denoise: plain.denoise! + 2 * 3 * 3 });
});

test("pictures that steer lie in every phase, at the size of each pass that they steer", () => {
  const { outChannels: _, sampleSize: __, upLevels: ___, ...half } = checkpoint.parts.configs.unet;
  const network = { ...half, kind: "controlnet", pictureChannels: 3, hintChannels: [4, 4, 4, 4, 4], bgr: false };
  const control = { component: "control", network, guess: false, rows: 2, calls: 1 };
  const hires = { width: 32, height: 48, modelCalls: 1, enlarges: "latent" } as const;
  for (const [first, second] of [
    [1, 0],
    [0, 1],
    [2, 1],
  ] as const) {
    const of = (count: number) => (count === 0 ? {} : { controls: Array.from({ length: count }, () => control) });
    const { encode } = hostBytes({ ...of(first), hires: { ...hires, ...of(second) } });
    assert.equal(encode! - KEPT - 2 * CHUNK, 3 * (first * 16 * 16 + second * 32 * 48), `${first} and ${second}`);
  }
});

test("pictures that are drawn beside and ask less often have times of their own, in the pass that they are of", () => {
  const hires = { width: 32, height: 32, modelCalls: 3, enlarges: "latent" } as const;
  const { phases } = checkpoint.describe({ ...SHAPE, modelCalls: 40, otherCalls: [33, 5, 4], hires });
  const passesOf = (id: string) =>
    phases.find((phase) => phase.id === id)!.passes.map((pass) => `${pass.id} ${pass.repeats}`);
  // 64 rows at once: of two halves 32 calls, so that 33 calls are timed as 40 are.
  const others = ["unet.time-5 8", "unet.time-4 10"];
  assert.deepEqual(passesOf("denoise"), ["unet.text 1", "unet.time 2", ...others, "unet.step 40"]);
  assert.deepEqual(passesOf("hires.denoise"), ["hires.unet.text 1", "hires.unet.time 1", "hires.unet.step 3"]);
});

test("where a band's rows lie in several parts, the room to put them together counts", () => {
  const large = hostBytes({ width: 1024, height: 1024, pictures: { encoded: 1, masked: false } });
  const bytes = 3 * 1024 ** 2;
  const looked = KEPT + bytes + 4 * 3 * 1024 ** 2 + (6 + 5) * latent(1024, 1024);
  const drawn = KEPT + bytes + (2 + 5) * 2 * latent(1024, 1024) + decoded(1024, 1024);
  // Rows of at least one image of four channels.
  assert.ok(large.look! - looked >= 4 * 4 * 1024, `${large.look! - looked}`);
  assert.ok(large.decode! - drawn >= 4 * 4 * 1024, `${large.decode! - drawn}`);
});

test("a refiner's prompts, and the latent that waits for its turn", async () => {
  const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
  await using base = await openSdxlFolder(fixture("golden/deep"));
  await using refiner = await SDXL.openRefiner({
    model: { kind: "folder", folder: await openFileFolder(fixture("from-pictures/refiner")) },
    vocabulary: await openFileFolder(fixture("from-pictures/refiner/tokenizer_2")),
  });
  const size = { batch: 2, width: 64, height: 48, modelCalls: 2, historyLength: 1, fp32: false };
  const described = base.withRefiner(refiner).describe({ ...size, refined: { modelCalls: 3, historyLength: 2 } });
  const bytes = new Map(described.phases.map((phase) => [phase.id, phase.hostBytes]));
  // Encoders 24 and 16 wide; the refiner has one of 20. 4 channels of a quarter of the picture each way; the longer history counts.
  const kept = 32 * 4 * (77 * (24 + 16) + 16);
  const refined = 4 * (77 * 20 + 20);
  const latentBytes = 4 * 4 * 16 * 12;
  assert.equal(bytes.get("refiner.encode"), kept + 2 * refined + (1 + 2) * latentBytes);
  // Its residual blocks read 282 values by call and half.
  assert.equal(bytes.get("refiner.denoise"), kept + 2 * refined + 4 * 282 * 3 * 2 + (8 + 2) * 2 * latentBytes);
  // Long prompts, with learned words: rows of all its chunks, and what is held of both encodings.
  const text = { chunks: 2, clipSkips: [0], encodes: 5, tellings: 1, heldChunks: 3, learned: 4 };
  const told = base.withRefiner(refiner).describe({
    ...{ ...size, text },
    refined: { modelCalls: 3, historyLength: 0, text: { ...text, chunks: 3, encodes: 7 } },
  });
  const chunk = kept / 32;
  const always = kept + 2 * 3 * chunk + 4 * 4 * (24 + 16);
  const [encode, denoise] = ["refiner.encode", "refiner.denoise"].map((id) => told.phases.find((it) => it.id === id)!);
  assert.equal(encode!.hostBytes, always + 2 * refined + 4 * 77 * 20 + (1 + 1) * latentBytes);
  assert.deepEqual(
    encode!.passes.map(({ repeats }) => repeats),
    [7],
  );
  assert.equal(denoise!.hostBytes, always + 2 * 3 * refined + 4 * 282 * 3 * 2 + (8 + 1) * 2 * latentBytes);
  const waits = 2 * (2 * 2 * chunk + (5 + 3) * chunk) + 4 * 4 * (24 + 16) + (2 + 1) * latentBytes;
  assert.equal(encode!.laneBytes, waits);
});

test("enlarging a picture: both pictures as bytes, a tile as it comes and as it goes, and what its caller holds", async () => {
  const hostOf = async (file: string, source: { readonly width: number; readonly height: number }, further: number) => {
    const path = fileURLToPath(new URL(`../../fixtures/upscalers/${file}`, import.meta.url));
    const { config, source: opened } = await openUpscaler(path, file);
    await using _ = opened;
    return new Upscaling(config, source).phase("enlarge", further).hostBytes;
  };
  const [small, large] = [
    { width: 30, height: 20 },
    { width: 300, height: 170 },
  ];
  // Without a tail the trunk gives the enlarged tile, which is then spread.
  const tile = 4 * 3 * 30 * 20;
  assert.equal(await hostOf("compact-x4.pth", small, 0), 3 * 30 * 20 * (1 + 16) + 2 * tile + 2 * 16 * tile);
  // With one it gives 8 features a pixel, here of pixels folded 2 by 2.
  assert.equal(await hostOf("x2.pth", small, 0), 3 * 30 * 20 * (1 + 4) + 2 * tile + (4 * 8 * 30 * 20) / 4 + 4 * tile);
  // Tiles of 160 pixels each way.
  const whole = 4 * 3 * 160 ** 2;
  assert.equal(
    await hostOf("x4.pth", large, 1000),
    1000 + 3 * 300 * 170 * (1 + 16) + 2 * whole + 4 * 8 * 160 ** 2 + 16 * whole,
  );
});

test("what a network enlarges too far is brought to the size that is wanted: between the filter's passes, and twice as it comes", async () => {
  const path = fileURLToPath(new URL("../../fixtures/upscalers/compact-x4.pth", import.meta.url));
  const { config, source } = await openUpscaler(path, "compact-x4.pth");
  await using _ = source;
  const enlarging = (side: number) => {
    const upscaler = { component: "upscaler", config };
    const hires = { width: side, height: side, modelCalls: 1, enlarges: "picture", upscaler } as const;
    return hostBytes({ hires })["hires.enlarge"]!;
  };
  // 16 by 4 is 64; to 32 by 32 first the width is halved.
  assert.equal(enlarging(32) - enlarging(64), 3 * (32 * 64 + 2 * 32 * 32));
});

test("a further picture: its prompts, its latents, what denoises it, and at the end what its file takes", () => {
  const lanes = (more: Partial<JobShape> = {}) =>
    Object.fromEntries(checkpoint.describe({ ...SHAPE, ...more }).phases.map(({ id, laneBytes }) => [id, laneBytes]));
  // One prompt's rows for both halves, and both prompts as they come from the encoders; two latents that wait.
  const waits = 2 * CHUNK + 2 * CHUNK + 2 * latent(16, 16);
  const work = 2 * CHUNK + times(2, 2) + 8 * 2 * latent(16, 16);
  const png = { encode: waits, denoise: waits + work, decode: waits + (3 + 9) * 16 * 16 };
  assert.deepEqual(lanes(), png);
  assert.deepEqual(lanes({ encoderBytesPerPixel: 16 }), { ...png, decode: png.decode + (16 - 9) * 16 * 16 });
  // Its enlarged picture waits as bytes; of the enlarged latent there is no more than five others.
  const hires = { width: 32, height: 32, modelCalls: 1 } as const;
  const larger = waits - 2 * latent(16, 16) + (2 + 5) * latent(32, 32);
  assert.equal(lanes({ hires: { ...hires, enlarges: "latent" } }).encode, larger);
  assert.equal(lanes({ hires: { ...hires, enlarges: "picture" } }).encode, larger + 3 * 32 * 32);
  const text = { chunks: 1, clipSkips: [0], encodes: 4, tellings: 1, heldChunks: 3 };
  assert.equal(lanes({ text }).encode, waits + (4 + 3 - 2) * CHUNK);
});

test("adapters' reading counts in every phase, that of one set once", () => {
  const setOf = (bytes: number) => ({ components: new Map(), hostBytes: bytes, toJSON: () => `${bytes}` }) as never;
  const plain = hostBytes();
  const more = (bytes: number) => Object.fromEntries(Object.entries(plain).map(([id, own]) => [id, own + bytes]));
  const [one, other] = [setOf(1000), setOf(30)];
  assert.deepEqual(hostBytes({ adapters: { set: one, changes: 0 } as never }), more(1000));
  assert.deepEqual(hostBytes({ adapters: { set: one, changes: 0 } as never, encoderAdapters: one }), more(1000));
  assert.deepEqual(hostBytes({ adapters: { set: one, changes: 0 } as never, encoderAdapters: other }), more(1030));
  const hires = { width: 16, height: 16, modelCalls: 1, enlarges: "latent" } as const;
  const second = hostBytes({ hires }).encode!;
  for (const set of [one, other]) {
    const both = { adapters: { set: one, changes: 0 }, hires: { ...hires, adapters: { set, changes: 0 } } };
    assert.equal(hostBytes(both).encode, second + (set === one ? 1000 : 1030));
  }
});

test("what is held beside a plan's phases passes the ledger: pictures while they are prepared, a picture while its file is made", async () => {
  const picture = { width: 40, height: 30, rgb: new Uint8Array(3 * 40 * 30).fill(90), notes: [] };
  const ledgerOf = (ram: number) => new Ledger({ device: 0, ram, disk: 0 });
  const reading = async (ledger: Ledger) =>
    await readJob(
      { runtime: { checkpoint, ledger } as never, readPicture: async () => picture },
      {
        ...{ prompt: "x", width: 16, height: 16, seed: 1, initImage: "a.png", maskImage: "b.png" },
      },
    );
  const prepared = ledgerOf(2 ** 30);
  await reading(prepared);
  const { peakBytes } = prepared.state("ram");
  // Both pictures, and as they are made fit.
  assert.ok(peakBytes >= 2 * 2 * picture.rgb.length + 8 * 16 * 16, `${peakBytes}`);
  const writer = { lost: () => [], write: async () => new Uint8Array(1) } as unknown as PictureWriter;
  const rgb = { rgb: new Uint8Array(3 * 64), width: 8, height: 8 };
  for (const [format, bytes] of [
    ["png", 64 * (3 + 9)],
    ["jpeg", 64 * (3 + 16)],
    ["webp", 64 * (3 + 22)],
  ] as const) {
    const write = async (ledger: Ledger) => await encoded(ledger, writer, { format } as never, rgb, []);
    const exact = ledgerOf(bytes);
    await write(exact);
    assert.deepEqual([exact.state("ram").peakBytes, exact.held()], [bytes, []]);
    await assert.rejects(write(ledgerOf(bytes - 1)), { code: "E_RAM" }, format);
  }
  const short = ledgerOf(peakBytes - 1);
  await assert.rejects(reading(short), { code: "E_RAM" });
  for (const ledger of [prepared, short]) assert.deepEqual(ledger.held(), []);
});

test("an import within an engine has the engine's budget, of which the process has its part already", async () => {
  const stop = new Error("enough");
  for (const [sharesHostMemory, memory] of [
    [true, "device"],
    [false, "ram"],
  ] as const) {
    let budget: ImportBudget | undefined;
    const store = { folder: "s", fs: { freeBytes: async () => 7000 } };
    const model = {
      open: async ({ importBudget }: { readonly importBudget: (of: unknown) => Promise<ImportBudget> }) => {
        budget = await importBudget(store);
        throw stop;
      },
    };
    const compute = { device: { sharesHostMemory, async [Symbol.asyncDispose]() {} }, machine: {} };
    const host = { processBytes: 300, resolveBudgets: () => ({ deviceBytes: 5000, ramBytes: 1000 }), now: () => 0 };
    await assert.rejects(composeEngine({ compute, model, host, budgets: {} } as never), stop);
    const states = (["device", "ram", "disk"] as const).map((tier) => budget!.ledger.state(tier));
    assert.deepEqual(
      states.map(({ budgetBytes, usedBytes }) => [budgetBytes, usedBytes]),
      [
        [5000, 0],
        [1000, 300],
        [7000, 0],
      ],
    );
    assert.equal(budget!.memory, memory);
  }
});

/** A graph of these inputs, each of which it gives back. */
function graphOf(inputs: Readonly<Record<string, readonly number[]>>, gives = false) {
  const g = new GraphBuilder("g");
  for (const [name, shape] of Object.entries(inputs)) {
    const input = g.input(name, shape);
    if (gives) g.output(`${name} out`, input);
  }
  return g.build();
}

test("ControlNets: pictures (twice where colours are exchanged, or folded), times in and out, the prompt's rows, the latent", () => {
  const net = (bgr: boolean, text = true) => ({
    ...{ kind: "net", config: { bgr }, hint: graphOf({ picture: [1, 3, 8, 8] }) },
    text: text ? graphOf({ context: [2, 5, 6] }) : undefined,
    // Of several numbers of calls the largest counts.
    times: new Map([1, 2].map((calls) => [calls, { id: "t", graph: graphOf({ sinusoid: [calls, 7] }, true) }])),
    // What comes from its other passes is no host memory.
    step: graphOf({ latent: [2, 4, 2, 2], hint: [1, 9, 2, 2] }),
  });
  const bytesOf = (...controls: object[]) =>
    controlHostBytes(controls as unknown as Parameters<typeof controlHostBytes>[0]);
  const plain = 4 * (3 * 64 + 2 * (2 * 7) + 2 * 16 + 2 * 5 * 6);
  assert.equal(bytesOf(net(false)), plain);
  assert.equal(bytesOf(net(true)), plain + 4 * 3 * 64);
  assert.equal(bytesOf(net(false, false)), plain - 4 * 2 * 5 * 6);
  const features = { kind: "features", hint: graphOf({ picture: [1, 48, 2, 2] }) };
  assert.equal(bytesOf(features), 2 * 4 * 48 * 4);
  assert.equal(bytesOf(net(true), features, net(false)), 2 * plain + 4 * 3 * 64 + 2 * 4 * 48 * 4);
});

test("image prompts: the rows of one at a time, and every mask on every grid, also times its weight", () => {
  const step = graphOf({
    ...{ "ip.0.mask.0.4x4": [16], "ip.0.mask.0.2x2": [4], "ip.0.mask.1.4x4": [16], "ip.0.mask.1.2x2": [4] },
    ...{ "ip.1.weight": [1], "ip.2.mask.0.2x2": [4], latent: [1, 4, 4, 4] },
  });
  const image = (at: number, rows: number, masked: boolean) => ({
    link: { prefix: `ip.${at}.`, masked },
    keys: { graph: graphOf({ context: [2, rows, 6] }) },
  });
  const bytesOf = (...images: object[]) =>
    imageHostBytes(images as unknown as Parameters<typeof imageHostBytes>[0], step);
  assert.equal(bytesOf(), 0);
  assert.equal(bytesOf(image(1, 5, false)), 4 * 2 * 5 * 6);
  assert.equal(bytesOf(image(0, 5, true)), 4 * (2 * 5 * 6 + 2 * 40));
  assert.equal(bytesOf(image(0, 5, true), image(1, 9, false), image(2, 3, true)), 4 * (2 * 9 * 6 + 2 * (40 + 4)));
});
