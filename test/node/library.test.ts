/** @file What the library finds, refuses before it opens, lists, packs and verifies, on a disk of its own. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { readLzr2 } from "../../src/container/lzr2.ts";
import { ArtifactError } from "../../src/errors.ts";
import { Ledger } from "../../src/ledger/ledger.ts";
import { findModelNamed } from "../../src/library/find-model.ts";
import { importNamedModel } from "../../src/library/import.ts";
import { inspectFile } from "../../src/library/inspect.ts";
import { listStored } from "../../src/library/list.ts";
import { findModel, type ModelRequest } from "../../src/library/open.ts";
import { packModel } from "../../src/library/pack.ts";
import { repairStored } from "../../src/library/repair.ts";
import { importComponent, openStoredCheckpoint } from "../../src/library/stored.ts";
import { verifyPath } from "../../src/library/verify.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { importModel } from "../../src/store/import/import.ts";
import { listModels, openPack, packNames } from "../../src/store/store.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { f16ToNumber, numberToF16 } from "../../src/tensor/dtype.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { originalDemo } from "../support/single-file.ts";
import { fakeContext } from "./fake-context.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const MODEL = path.join(root, "fixtures/golden/deep");
const UNET = "unet/diffusion_pytorch_model.safetensors";
const cwd = mkdtempSync(path.join(tmpdir(), "solvay-library-"));
after(() => rmSync(cwd, { recursive: true, force: true }));
const host = nodeLibraryHost((name) => path.resolve(cwd, name), {});
const { signal } = new AbortController();
const ledger = new Ledger({ device: 0, ram: 2 ** 30, disk: 2 ** 30 });
const importBudget = async () => ({ ledger, memory: "ram" }) as const;

const f32 = (name: string, shape: readonly number[], values: readonly number[]) => ({
  ...({ name, dtype: "f32", shape } as const),
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});

async function open(request: ModelRequest) {
  const source = await findModel(host, request);
  return await source.open({ importBudget });
}

test("what can't go together, or can't be opened, is refused before a model opens", async () => {
  mkdirSync(path.join(cwd, "folder.lzr2"));
  await assert.rejects(findModel(host, { model: MODEL, artifact: "folder.lzr2" }), /folder\.lzr2/);
  await assert.rejects(findModel(host, { model: MODEL, artifact: "none.lzr2" }), { code: "E_MISSING" });
  const over = { model: "store:0123", artifact: path.join(root, "fixtures/lzr2/deep.lzr2") };
  await assert.rejects(findModel(host, over), { code: "E_USAGE", subject: "store:0123" });
  for (const option of ["config", "base"] as const) {
    await assert.rejects(open({ model: MODEL, [option]: MODEL }), { code: "E_USAGE", next: `leave --${option} away` });
  }
});

test("a store lists what was named, with the artifact over it, and tells a model from what it got later", async () => {
  const artifact = path.join(root, "fixtures/lzr2/deep.lzr2");
  const request = { model: MODEL, artifact, packed: "off", store: "s" } as const;
  const { id } = await importNamedModel(host, { ...request, compat: true });
  const store = host.store("s");
  const [model] = await listModels(store);
  const options = model!
    .manifest!.components.flatMap(({ sources }) => sources)
    .filter(({ role }) => role === "options");
  assert.deepEqual(
    options.map(({ stamp }) => stamp),
    ["compat"],
  );
  // The command tells what the artifact brought, its records' places left out.
  const fake = fakeContext({ cwd });
  const line = ["import", MODEL, "--artifact", artifact, "--compat", "--packed", "off", "--store", "s", "--json"];
  assert.equal(await runCli(line, fake.context), 0, fake.err());
  const { type, reused, artifact: over } = JSON.parse(fake.out().trimEnd().split("\n").at(-1)!);
  assert.deepEqual(
    [type, reused, Object.keys(over)],
    ["done", true, ["applied", "untouched", "missing", "skippedOverlayRows"]],
  );
  const [listed] = await listStored(store);
  assert.equal(listed!.name, `${MODEL} + ${artifact}`);
  assert.equal(listed!.packs, readdirSync(path.join(cwd, "s/packs")).length);
  assert.ok(listed!.blocks > listed!.packs);

  await using opened = await open({ model: `store:${id}`, store: "s" });
  const reason = new Error("enough");
  await assert.rejects(opened.onDemand("vaeEncoder", AbortSignal.abort(reason)), (error) => error === reason);
  await opened.onDemand("vaeEncoder");
  const later = (await listStored(store)).find(({ companion }) => companion !== undefined)!;
  assert.equal(later.companion, "vaeEncoder");
  await assert.rejects(open({ model: `store:${later.id}`, store: "s" }), { code: "E_STORE_MODEL" });
  assert.equal(await findModelNamed(host, { model: path.basename(later.name!) }, "s"), undefined);
});

test("a name finds the files that people keep beside their pictures, and leads nowhere else", async () => {
  mkdirSync(path.join(cwd, "models/checkpoints"), { recursive: true });
  writeFileSync(path.join(cwd, "models/checkpoints/boats.safetensors"), "");
  const found = { model: "models/checkpoints/boats.safetensors" };
  for (const name of ["boats", "boats.safetensors", "sdxl/boats.safetensors", "sdxl\\boats.safetensors"]) {
    assert.deepEqual(await findModelNamed(host, { model: name }, "none"), found, name);
  }
  for (const name of ["boat", "..", ".", "", "x/..", "boats/"]) {
    assert.equal(await findModelNamed(host, { model: name }, "none"), undefined, name);
  }
});

test("a packed file's figures are those of the weights that are read from it", async () => {
  const values = [2 + 2 ** -11, 1 + 2 ** -12, 0.5, -3, 0.1, 0.7, -0.2, 5];
  const [file, output] = ["w.safetensors", "w.lzr2"];
  const tensors = [f32("a.weight", [2, 4], values), f32("b.weight", [1, 2], [0.33, -0.9])];
  writeFileSync(path.join(cwd, file), encodeSafetensors(tensors));
  for (const mode of [{ kind: "lossless" }, { kind: "lossy", overlayFraction: 0 }] as const) {
    const totals = await packModel(host, { model: file, output, mode }, signal);
    await using source = await openFileSource(path.join(cwd, output));
    const errors: number[] = [];
    const wanted = [...values, 0.33, -0.9].map((value) => f16ToNumber(numberToF16(Math.fround(value))));
    for await (const { weight } of readLzr2(source, { compat: false })) {
      for (const bits of weight!) errors.push(Math.abs(f16ToNumber(bits) - wanted[errors.length]!));
    }
    assert.deepEqual([totals.tensors, totals.weights, errors.length], [2, 10, 10]);
    assert.equal(totals.bytes, statSync(path.join(cwd, output)).size);
    assert.ok(Math.abs(totals.maxAbsError - Math.max(...errors)) < 1e-9, mode.kind);
    const rms = Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / 10);
    assert.ok(Math.abs(totals.rmsError - rms) < 1e-9, `${totals.rmsError} for ${rms}`);
    if (mode.kind === "lossless") assert.equal(rms, 0);
    // 2 + 2^-11 becomes 2, the largest change of all.
    assert.equal(totals.maxRounding, 2 ** -11);
    assert.ok(totals.roundedWeights >= 2 && totals.roundedWeights < 10);
  }
  writeFileSync(path.join(cwd, file), encodeSafetensors([f32("a.weight", [0, 4], [])]));
  await assert.rejects(packModel(host, { model: file, output, mode: { kind: "lossless" } }, signal), {
    code: "E_PACK",
  });
});

test("verify: a record of another shape, a shard that lacks what the others have, a value that is no number in any part", async () => {
  const name = "conv_in.weight";
  writeFileSync(path.join(cwd, "v.safetensors"), encodeSafetensors([f32(name, [1, 2], [1, 2])]));
  await packModel(host, { model: "v.safetensors", output: "v.lzr2", mode: { kind: "lossless" } }, signal);
  const wrong = await verifyPath(host, "v.lzr2", { model: MODEL });
  assert.ok(wrong.problems.some((text) => text.startsWith(`record "${name}": shape [1,2] expected [`)));

  cpSync(MODEL, path.join(cwd, "copy"), { recursive: true });
  const bytes = readFileSync(path.join(cwd, "copy", UNET));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + Number(bytes.readBigUInt64LE(0))));
  const data = bytes.subarray(8 + Number(bytes.readBigUInt64LE(0)));
  const all = Object.entries(header as Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>)
    .filter(([key]) => key !== "__metadata__")
    .map(
      ([
        key,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => ({
        ...{ name: key, dtype: dtype.toLowerCase() as "f16", shape },
        bytes: data.subarray(from, to),
      }),
    );
  const half = encodeSafetensors(all.slice(0, all.length >> 1));
  const shard = "copy/unet/diffusion_pytorch_model-00001-of-00002.safetensors";
  writeFileSync(path.join(cwd, shard), half);
  assert.deepEqual((await verifyPath(host, shard)).problems, []);
  writeFileSync(path.join(cwd, "copy/unet/half.safetensors"), half);
  assert.notDeepEqual((await verifyPath(host, "copy/unet/half.safetensors")).problems, []);
  rmSync(path.join(cwd, shard));
  rmSync(path.join(cwd, "copy/unet/half.safetensors"));

  assert.deepEqual((await verifyPath(host, "copy")).problems, []);
  const last = all.at(-1)!;
  last.bytes.fill(0xff, 0, 4);
  writeFileSync(path.join(cwd, "copy", UNET), bytes);
  const spoiled = await verifyPath(host, "copy");
  assert.equal(spoiled.ok, false);
  assert.match(spoiled.problems[0]!, /are NaN or infinite, first at 0/);
  assert.ok(spoiled.problems[0]!.includes(last.name));
});

test("an artifact is held against the model it fits best, of those that are here", async () => {
  await using demo = await open({});
  const shape = demo.checkpoint.artifactTarget.schema.get("conv_in.weight")!;
  const values = shape.reduce((product, length) => product * length, 1);
  const tensor = f32(
    "conv_in.weight",
    shape,
    Array.from({ length: values }, (_, i) => i),
  );
  writeFileSync(path.join(cwd, "d.safetensors"), encodeSafetensors([tensor]));
  await packModel(host, { model: "d.safetensors", output: "demo.lzr2", mode: { kind: "lossless" } }, signal);
  const { summary } = await verifyPath(host, "demo.lzr2");
  assert.match(summary, /held against the demo model/);
});

test("a large artifact's weights are read from the store for as long as the model is open, and no longer", async () => {
  // One is larger than what may be held, the other's weights are, once they are decoded.
  const small = path.join(cwd, "small.lzr2");
  await packModel(host, { model: MODEL, output: small, mode: { kind: "lossy", overlayFraction: 0 } }, signal);
  for (const [artifact, heldArtifactBytes] of [
    [path.join(root, "fixtures/lzr2/deep.lzr2"), 0],
    [small, statSync(small).size + 1],
  ] as const) {
    const source = await findModel(host, { model: MODEL, artifact, store: "s2" }, { heldArtifactBytes });
    const opened = await source.open({ importBudget });
    assert.equal(opened.heldBytes, 0, artifact);
    const [entry] = opened.checkpoint.components.get("unet")!.table.values();
    const bytes = new Uint8Array(entry!.endByte - entry!.startByte);
    await entry!.source.read(entry!.startByte, bytes);
    await opened[Symbol.asyncDispose]();
    await assert.rejects(entry!.source.read(entry!.startByte, bytes));
  }
});

test("reads through views take memory of their own: eight at a time, of weights that lie otherwise than they are read", async () => {
  writeFileSync(path.join(cwd, "one.safetensors"), encodeSafetensors(originalDemo()));
  await using single = await open({ model: "one.safetensors", config: host.demoModel });
  assert.equal(single.heldBytes, 8 * 256 * 1024);
  await using folder = await open({ model: MODEL });
  assert.equal(folder.heldBytes, 0);
});

test("blocks, and packs that can't be opened, are made again from model and artifact, with what was accepted then", async () => {
  const artifact = path.join(root, "fixtures/lzr2/deep-compat.lzr2");
  const request = { model: MODEL, artifact, packed: "on", store: "s3" } as const;
  await assert.rejects(importNamedModel(host, request), ArtifactError);
  const { id } = await importNamedModel(host, { ...request, compat: true });
  const packs = path.join(cwd, "s3/packs");
  const store = host.store("s3");
  let blocks = 0;
  for (const name of await packNames(store)) {
    await using pack = await openPack(store, name);
    const bytes = readFileSync(path.join(packs, `${name}.pack`));
    for (const { startByte } of pack.blocks) bytes[startByte]! ^= 1;
    blocks += pack.blocks.length;
    writeFileSync(path.join(packs, `${name}.pack`), bytes);
  }
  const mended = await repairStored(host, store, id);
  assert.deepEqual([mended.repaired.length, mended.left], [blocks, []]);
  // One is left, which tells how the others were stored: what has planes was packed.
  const codecs = async () => {
    await using model = await openStoredModel(store, id);
    return [...model.components.values()].map(({ blocks }) => blocks.map(({ codec }) => codec));
  };
  const before = await codecs();
  assert.ok(before.flat().includes("planes"));
  let kept: string | undefined;
  for (const name of await packNames(store)) {
    await using pack = await openPack(store, name);
    if (kept === undefined && pack.blocks.some(({ codec }) => codec === "planes")) kept = `${name}.pack`;
  }
  for (const pack of readdirSync(packs)) if (pack !== kept) writeFileSync(path.join(packs, pack), "no pack");
  const { repaired, left } = await repairStored(host, store, id);
  assert.deepEqual([repaired.at(-1), left], ["whole packs", []]);
  assert.deepEqual(await verifyModel(store, id), []);
  assert.deepEqual(await codecs(), before);
});

test("verify counts the overlay rows that lie outside of their matrices, as the published loader skips them", async () => {
  const decoded = readFileSync(path.join(root, "fixtures/lzr2/decoded.json"), "utf8");
  const records: readonly { skipped?: number }[] = JSON.parse(decoded).odd;
  const count = records.reduce((sum, { skipped = 0 }) => sum + skipped, 0);
  const { ok, problems } = await verifyPath(host, path.join(root, "fixtures/lzr2/odd.lzr2"), { model: MODEL });
  assert.equal(ok, false);
  assert.ok(count > 0);
  assert.equal(problems.at(-1), `${count} overlay rows lie outside of their matrix and are skipped`);
  await packModel(host, { model: "v.safetensors", output: "within.lzr2", mode: { kind: "lossless" } }, signal);
  const within = await verifyPath(host, "within.lzr2", { model: MODEL });
  assert.ok(!within.problems.some((text) => text.includes("overlay rows lie")));
});

test("inspect lists tensors as they lie, those of types that nothing here reads among the others", async () => {
  // An empty tensor before the one that begins at the same byte.
  const header = {
    z: { dtype: "F32", shape: [1], data_offsets: [0, 4] },
    y: { dtype: "C64", shape: [1], data_offsets: [4, 12] },
    a: { dtype: "F16", shape: [2], data_offsets: [12, 16] },
    b: { dtype: "C64", shape: [0], data_offsets: [12, 12] },
    x: { dtype: "F8_E4M3", shape: [4], data_offsets: [16, 20] },
  };
  const json = Buffer.from(JSON.stringify(header));
  const bytes = Buffer.concat([Buffer.alloc(8), json, Buffer.alloc(20)]);
  bytes.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(path.join(cwd, "mixed.safetensors"), bytes);
  const { tensors } = await inspectFile(host, "mixed.safetensors", { compat: false, signal });
  assert.deepEqual(
    tensors.map(({ name, dtype }) => `${name} ${dtype}`),
    ["z f32", "y c64", "b c64", "a f16", "x f8_e4m3"],
  );
});

test("a store's model that lacks a part is damaged, whichever it is; what comes on demand may be missing", async () => {
  const { id } = await importNamedModel(host, { model: MODEL, packed: "off", store: "s4" });
  const store = host.store("s4");
  await using whole = await openStoredModel(store, id);
  const components = [...whole.components.values()].map(({ name, blocks, table, sources }) => ({
    name,
    blocks,
    table,
    sources,
  }));
  assert.deepEqual(
    components.map(({ name }) => name),
    ["files", "textEncoder", "textEncoder2", "unet", "vae"],
  );
  for (const lacking of ["files", "textEncoder", "vae"]) {
    const request = {
      name: "part",
      components: components.filter(({ name }) => name !== lacking),
      packed: "off",
    } as const;
    const part = await importModel(store, request, { budget: await importBudget() });
    await assert.rejects(openStoredCheckpoint(store, part.id), {
      code: "E_STORE_DAMAGED",
      problem: `it has no ${lacking}`,
    });
  }
});

test("weights that no graph reads are no part of a component: its blocks would lose them", async () => {
  await using opened = await open({ model: MODEL });
  const { checkpoint } = opened;
  const { table } = checkpoint.components.get("unet")!;
  const blocks = importComponent(checkpoint, "unet", table).blocks;
  assert.equal(blocks.flatMap(({ tensors }) => tensors).length, table.size);
  const [entry] = table.values();
  const more = new Map([...table, ["odd.weight", { ...entry!, name: "odd.weight" }]]);
  assert.throws(() => importComponent(checkpoint, "unet", more), /no segment of unet reads odd\.weight/);
});
