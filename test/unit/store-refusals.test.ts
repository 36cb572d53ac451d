/** @file What a store refuses to believe: indexes that are sound text and say what can't be, and sources nobody knows. Each is made by hand, checksums and all. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { ArtifactError } from "../../src/errors.ts";
import { memorySource } from "../../src/source/memory.ts";
import { isCompanionOf, originComponent, strayCompanions } from "../../src/store/companion.ts";
import { importModel } from "../../src/store/import/import.ts";
import { type Manifest, modelId, publishManifest, readManifest } from "../../src/store/manifest.ts";
import { Pack } from "../../src/store/pack/pack.ts";
import { encodeFooter, encodeHeader, encodeIndex, type PackBlock } from "../../src/store/pack/pack-format.ts";
import { listModels, openPack, packPath } from "../../src/store/store.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { artifactBytes } from "./lzr2-fixture.ts";
import { MemoryFs, memoryStore } from "./memory-store-fs.ts";
import { checkModel, fixture } from "./store-fixture.ts";

const PAGE = 4096;
const CHUNK = 512 * 1024;
const ID = (digit: string) => digit.repeat(64);

function damagedAs(words: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof ArtifactError && error.code === "E_STORE_DAMAGED", String(error));
    assert.match(error.message, words);
    return true;
  };
}

async function put(fs: MemoryFs, path: string, ...parts: readonly Uint8Array[]): Promise<void> {
  const file = await fs.open(path, "create");
  await file.write(Buffer.concat(parts), 0);
}

/** Opens a pack whose index says this; `room` bytes of zeros before it. */
async function openMade(blocks: readonly object[], room: number, counted = blocks.length): Promise<Pack> {
  const fs = new MemoryFs();
  const index = encodeIndex(blocks as readonly PackBlock[]);
  const footer = encodeFooter(index, PAGE + room, counted);
  await put(fs, "pack", encodeHeader(), new Uint8Array(room), index.bytes, footer);
  return await Pack.open(fs, "pack", index.name);
}

/** A block of one page as an index lists it. */
const block = (digit: string, startByte: number, plainBytes = PAGE): PackBlock => ({
  ...{ id: ID(digit), codec: "plain", startByte, plainBytes, headCrc: 0 },
  crcs: Array<number>(Math.ceil(plainBytes / CHUNK)).fill(0),
});

test("an index of blocks that lie apart, in their order and before the index is taken", async () => {
  await using pack = await openMade([block("a", PAGE), block("b", 3 * PAGE, 2 * PAGE)], 5 * PAGE);
  assert.deepEqual(
    pack.blocks.map(({ startByte }) => startByte),
    [PAGE, 3 * PAGE],
  );
  assert.deepEqual(pack.gaps(), [
    { startByte: 2 * PAGE, endByte: 3 * PAGE },
    { startByte: 5 * PAGE, endByte: 6 * PAGE },
  ]);
});

const planes = (startByte: number, sizes: readonly number[], plainBytes = CHUNK + PAGE) => ({
  ...block("a", startByte, plainBytes),
  codec: "planes",
  sizes,
});

const INDEXES: readonly [what: string, blocks: readonly object[], message: RegExp, counted?: number][] = [
  ["two that share a page", [block("a", PAGE, 2 * PAGE), block("b", 2 * PAGE)], /overlaps the one before it/],
  ["two at one place", [block("a", PAGE), block("b", PAGE)], /overlaps the one before it/],
  ["one behind the next", [block("a", 2 * PAGE), block("b", PAGE)], /overlaps the one before it/],
  ["one in the header", [block("a", 0)], /startByte is not a whole number from 4096/],
  [
    "one that reaches into the index",
    [block("a", 4 * PAGE, 2 * PAGE)],
    /its blocks end at byte 24576, behind the index/,
  ],
  ["one fewer than counted", [block("a", PAGE)], /1 blocks, 2 in the footer/, 2],
  ["one more than counted", [block("a", PAGE), block("b", 2 * PAGE)], /2 blocks, 1 in the footer/, 1],
  ["one that begins within a page", [block("a", PAGE + 64)], /a block of 4096 bytes at byte 4160/],
  ["one that ends within a page", [block("a", PAGE, PAGE + 64)], /a block of 4160 bytes/],
  ["one without checksums", [{ ...block("a", PAGE), crcs: [] }], /with 0 checksums/],
  ["one with a checksum too many", [{ ...block("a", PAGE), crcs: [1, 2] }], /crcs is not a list of at most 1/],
  ["a checksum of 33 bits", [{ ...block("a", PAGE), crcs: [2 ** 32] }], /crcs\[0\] is not a whole number/],
  ["no bytes", [{ ...block("a", PAGE), plainBytes: 0, crcs: [] }], /plainBytes is not a whole number from 1/],
  ["a coding that there is not", [{ ...block("a", PAGE), codec: "zip" }], /codec is not plain or planes/],
  ["a name that is none", [{ ...block("a", PAGE), id: "../a" }], /id is not text/],
  ["packed, without lengths", [{ ...block("a", PAGE), codec: "planes" }], /sizes is not a list/],
  ["packed, a length too few", [planes(PAGE, [100])], /a block of 528384 bytes/],
  ["packed, a chunk of nothing", [planes(PAGE, [0, 100])], /sizes\[0\] is not a whole number from 1 to 524288/],
  [
    "packed, a chunk longer than it is",
    [planes(PAGE, [100, PAGE + 1])],
    /sizes\[1\] is not a whole number from 1 to 4096/,
  ],
  ["packed, into the next", [planes(PAGE, [PAGE, 1]), block("b", 2 * PAGE)], /overlaps the one before it/],
];

for (const [what, blocks, message, counted] of INDEXES) {
  test(`an index is refused: ${what}`, async () => {
    await assert.rejects(openMade(blocks, 4 * PAGE, counted), damagedAs(message));
  });
}

test("a footer that places its index elsewhere, or has another's name, is refused", async () => {
  const index = encodeIndex([block("a", PAGE)]);
  const open = async (footer: Uint8Array, name = index.name, header: Uint8Array = encodeHeader()) => {
    const fs = new MemoryFs();
    await put(fs, "pack", header, new Uint8Array(PAGE), index.bytes, footer);
    await using pack = await Pack.open(fs, "pack", name);
    return pack.blocks.length;
  };
  assert.equal(await open(encodeFooter(index, 2 * PAGE, 1)), 1);
  await assert.rejects(open(encodeFooter(index, 2 * PAGE - 1, 1)), damagedAs(/its footer places/));
  await assert.rejects(open(encodeFooter(index, 2 * PAGE + 1, 1)), damagedAs(/its footer places/));
  const other = encodeIndex([block("b", PAGE)]);
  await assert.rejects(
    open(encodeFooter({ ...index, name: other.name }, 2 * PAGE, 1)),
    damagedAs(/the index is damaged/),
  );
  await assert.rejects(open(encodeFooter(index, 2 * PAGE, 1), other.name), damagedAs(/the index is damaged/));
  const header = encodeHeader();
  header[PAGE - 1] = 1;
  await assert.rejects(
    open(encodeFooter(index, 2 * PAGE, 1), index.name, header),
    damagedAs(/header is damaged at byte 4095/),
  );
});

/** The text of a model's index with a right checksum, whatever it says. */
function sealed(manifest: object): Uint8Array {
  const line = JSON.stringify(manifest);
  return Buffer.from(`${line}\n${createHash("sha256").update(line).digest("hex")}\n`);
}

async function storedManifest(): Promise<{ fs: MemoryFs; manifest: Manifest }> {
  const fs = new MemoryFs();
  await importModel(memoryStore(fs), fixture().request);
  return { fs, manifest: (await listModels(memoryStore(fs)))[0]!.manifest! };
}

test("a model's index whose content is not that of its name is refused, also where its text says so itself", async () => {
  const { fs, manifest } = await storedManifest();
  const { id, components } = manifest;
  const read = async (changed: object) => {
    await put(fs, `s/models/${id}.model`, sealed({ format: "solvay model 1", ...changed }));
    return await readManifest(fs, "s/models", id);
  };
  assert.deepEqual(await read(manifest), manifest);
  // What a name does not depend on.
  assert.equal((await read({ ...manifest, name: "renamed" }))?.name, "renamed");
  const withComponent = (change: (component: Manifest["components"][0]) => object) => ({
    ...manifest,
    components: components.map((component, i) => (i === 1 ? change(component) : component)),
  });
  const withBlock = (change: object) =>
    withComponent((component) => ({
      ...component,
      blocks: component.blocks.map((b, i) => (i === 0 ? { ...b, ...change } : b)),
    }));
  const [first] = components[1]!.blocks;
  const withTensor = (change: object) =>
    withBlock({ tensors: first!.tensors.map((tensor, i) => (i === 0 ? { ...tensor, ...change } : tensor)) });
  const others: Record<string, object> = {
    "another's id": { ...manifest, id: ID("0") },
    "a component more": { ...manifest, components: [...components, { ...components[0]!, name: "more" }] },
    "a component less": { ...manifest, components: components.slice(1) },
    "components in another order": { ...manifest, components: components.toReversed() },
    "another component's name": withComponent((component) => ({ ...component, name: "other" })),
    "blocks in another order": withComponent((component) => ({ ...component, blocks: component.blocks.toReversed() })),
    "another graph": withBlock({ graph: "other" }),
    "another segment": withBlock({ label: "other" }),
    "another block": withBlock({ id: ID("0") }),
    "another tensor's name": withTensor({ name: "other" }),
    "another dtype": withTensor({ dtype: "bf16" }),
    "another shape": withTensor({ shape: [40, 2] }),
    "another place": withTensor({ offsetBytes: 64 }),
  };
  for (const [what, changed] of Object.entries(others)) {
    await assert.rejects(read(changed), damagedAs(/its index belongs to another model/), what);
  }
  const broken: Record<string, [object, RegExp]> = {
    format: [{ ...manifest, format: "solvay model 2" }, /format is not solvay model 1/],
    "an id that is none": [{ ...manifest, id: "x" }, /id is not text/],
    "a pack's name that is a path": [withBlock({ pack: "../../x" }), /pack is not text/],
    "a tensor that leaves its block": [
      withTensor({ offsetBytes: first!.plainBytes - 158 }),
      /the tensor leaves its block/,
    ],
    "a tensor of another dtype's": [withTensor({ dtype: "f8" }), /dtype is not/],
    "a shape with 0": [withTensor({ shape: [0] }), /shape\[0\] is not a whole number from 1/],
    "a block of less than a page": [withBlock({ plainBytes: 64 }), /plainBytes is not a whole number from 4096/],
  };
  for (const [what, [changed, message]] of Object.entries(broken))
    await assert.rejects(read(changed), damagedAs(message), what);
});

test("a model whose block is longer or shorter than its pack says, or not in it, is refused when it opens", async () => {
  const { fs, manifest } = await storedManifest();
  const store = memoryStore(fs);
  const open = async (change: (block: Manifest["components"][0]["blocks"][0]) => object) => {
    const components = manifest.components.map((component, i) => ({
      ...component,
      blocks: component.blocks.map((b, j) => (i === 1 && j === 0 ? { ...b, ...change(b) } : b)),
    }));
    const id = modelId(components);
    await publishManifest(fs, "s/models", { ...manifest, id, components });
    await using model = await openStoredModel(store, id);
    return model.components.size;
  };
  assert.equal(await open(() => ({})), 3);
  await assert.rejects(
    open(({ plainBytes }) => ({ plainBytes: plainBytes + PAGE })),
    damagedAs(/block b0 is not in it/),
  );
  await assert.rejects(
    open(() => ({ id: ID("0") })),
    damagedAs(/block b0 is not in it/),
  );
  await assert.rejects(
    open(() => ({ pack: ID("0") })),
    damagedAs(/the pack is not there/),
  );
});

test("one bit in one block of one pack: that block is told, and nothing else is touched by it", async () => {
  for (const packed of ["off", "on"] as const) {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    const { request, expected } = fixture({ packed });
    const { id } = await importModel(store, request);
    const manifest = (await listModels(store))[0]!.manifest!;
    const all = manifest.components.flatMap(({ name, blocks }) => blocks.map((b) => ({ name, ...b })));
    assert.ok(new Set(all.map(({ pack }) => pack)).size === 3);
    for (const bad of all) {
      await using pack = await openPack(store, bad.pack);
      const { startByte } = pack.get(bad.id)!;
      const bytes = fs.bytes(packPath(store, bad.pack));
      bytes[startByte + 1]! ^= 8;
      const problems = await verifyModel(store, id);
      assert.deepEqual(
        problems.map(({ kind, component, block: b }) => [kind, component, b?.label]),
        [["block", bad.name, bad.label]],
      );
      await using model = await openStoredModel(store, id);
      for (const { blocks } of model.components.values()) {
        for (const b of blocks) {
          const reading = b.readPlain(0, new Uint8Array(b.plainBytes));
          if (b.id === bad.id) await assert.rejects(reading, damagedAs(new RegExp(`block ${bad.label}`)));
          else await reading;
        }
      }
      bytes[startByte + 1]! ^= 8;
    }
    await checkModel(store, id, expected);
  }
});

const unstamped = (request: ReturnType<typeof fixture>["request"]) => ({
  ...request,
  components: request.components.map((component, i) =>
    i === 0 ? { ...component, sources: component.sources.map((source) => ({ ...source, stamp: "" })) } : component,
  ),
});

test("a source without a stamp may be any file: it is read each time, and no attempt goes on with another's work", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const first = await importModel(store, unstamped(fixture().request));
  const second = fixture({ textSeed: 5 });
  const other = await importModel(store, unstamped(second.request));
  assert.notEqual(other.id, first.id);
  assert.deepEqual([first.reused, other.reused], [false, false]);
  await checkModel(store, other.id, second.expected);
  // Half of one, then another: two work folders, nothing taken up.
  let left = 60;
  fs.hook = () => {
    if (left-- <= 0) throw Object.assign(new Error("killed"), { code: "KILLED" });
    return undefined;
  };
  await importModel(store, unstamped(fixture({ textSeed: 6 }).request)).catch(() => undefined);
  fs.hook = () => undefined;
  const third = fixture({ textSeed: 7 });
  const resumed: string[] = [];
  const { id } = await importModel(store, unstamped(third.request), {
    onEvent: (event) => event.type === "resume" && resumed.push(event.component),
  });
  assert.deepEqual(resumed, []);
  await checkModel(store, id, third.expected);
});

test("sources are the same in role, order and stamp, or they are others", async () => {
  const { request } = fixture();
  const [text, ...rest] = request.components;
  const withSources = (sources: readonly { role: string; path: string; stamp: string }[]) => ({
    ...request,
    components: [{ ...text!, sources }, ...rest],
  });
  const a = { role: "a", path: "", stamp: "1" };
  const b = { role: "b", path: "", stamp: "2" };
  const reused = async (...sources: (typeof a)[]) => {
    const store = memoryStore(new MemoryFs());
    await importModel(store, withSources([a, b]));
    return (await importModel(store, withSources(sources))).reused;
  };
  assert.equal(await reused(a, { ...b, path: "elsewhere" }), true);
  assert.equal(await reused(b, a), false);
  assert.equal(await reused(a), false);
  assert.equal(await reused(a, b, { ...a, role: "c" }), false);
  assert.equal(await reused(a, { ...b, stamp: "3" }), false);
  assert.equal(await reused(a, { ...b, role: "c" }), false);
});

test("a companion belongs to files that are known and the same", () => {
  const source = { role: "vae", path: "p", stamp: "1" };
  const manifestOf = (sources: readonly (typeof source)[], name = "x"): Manifest => ({
    id: ID("a"),
    name,
    components: [
      { name: "later", sources, blocks: [] },
      { name: "origin", sources: originComponent(sources).sources, blocks: [] },
    ],
  });
  const companion = manifestOf([source]);
  assert.equal(isCompanionOf(companion, [source]), true);
  assert.equal(isCompanionOf(companion, [{ ...source, path: "elsewhere" }]), true);
  assert.equal(isCompanionOf(companion, [{ ...source, stamp: "2" }]), false);
  assert.equal(isCompanionOf(companion, [{ ...source, role: "unet" }]), false);
  assert.equal(isCompanionOf(companion, [source, source]), false);
  const unknown = { ...source, stamp: "" };
  assert.equal(isCompanionOf(manifestOf([unknown]), [unknown]), false);
  assert.equal(isCompanionOf(manifestOf([source, unknown]), [source, unknown]), false);
  const model: Manifest = { id: ID("b"), name: "m", components: [{ name: "vae", sources: [source], blocks: [] }] };
  assert.deepEqual(strayCompanions([model, companion]), []);
  const other: Manifest = { ...model, components: [{ name: "vae", sources: [{ ...source, stamp: "2" }], blocks: [] }] };
  assert.deepEqual(strayCompanions([other, companion]), [companion]);
});

test("an artifact of other names or shapes, or of none, leaves nothing, plain or packed", async () => {
  const record = { key: "u.b2.w", shape: [4, 6] };
  for (const packed of ["off", "on"] as const) {
    for (const [records, code, message] of [
      [
        [record, { ...record, key: "u.b9.w" }],
        "E_SCHEMA",
        /record "u\.b9\.w" is no parameter of this unet at byte \d+/,
      ],
      [[{ ...record, shape: [6, 4] }], "E_SCHEMA", /"u\.b2\.w" has shape \[6,4\], expected \[4,6\]/],
      [[{ ...record, shape: [4, 6, 1] }], "E_SCHEMA", /expected \[4,6\]/],
      [[], "E_LZR_EMPTY", /the artifact holds no record/],
    ] as const) {
      const fs = new MemoryFs();
      const { request } = fixture({ packed });
      const artifact = { source: memorySource("x.lzr2", artifactBytes(...records)), compat: false };
      const components = request.components.map((part) => (part.artifact ? { ...part, artifact } : part));
      const importing = importModel(memoryStore(fs), { ...request, components });
      await assert.rejects(importing, { code, message });
      assert.deepEqual(await listModels(memoryStore(fs)), []);
    }
  }
});
