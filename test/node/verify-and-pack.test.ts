/** @file `inspect`, `verify` and `pack`: what they say of files, those that are something else than they seem among them. */
import assert from "node:assert/strict";
import {
  copyFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { encodePng } from "../../src/image/png.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { fakeContext, runFake } from "./fake-context.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-judged-"));

test("verify and pack tell a picture, a config file, an artifact and another network by their content", async () => {
  const cwd = folder();
  const demo = fileURLToPath(new URL("../../models/demo", import.meta.url));
  const made = await encodePng({ width: 1, height: 1, rgb: new Uint8Array(3) });
  writeFileSync(path.join(cwd, "x.png"), made);
  writeFileSync(path.join(cwd, "x.jpg"), "\xff\xd8\xff\xe0........", "latin1");
  writeFileSync(path.join(cwd, "x.webp"), "RIFF\x00\n\r\x00WEBPVP8 ", "latin1");
  copyFileSync(path.join(demo, "unet/config.json"), path.join(cwd, "config.json"));
  copyFileSync(path.join(demo, "model_index.json"), path.join(cwd, "index"));
  writeFileSync(path.join(cwd, "x.lzr2"), "LZR2");
  const [picture, json] = [/^E_NOT_WEIGHTS .*this is a picture/m, /^E_NOT_WEIGHTS .*this is a JSON text/m];
  for (const [file, words] of [
    ["x.png", picture],
    ["x.jpg", picture],
    ["x.webp", picture],
    ["config.json", json],
    ["index", json],
  ] as const) {
    const [verify, pack] = [fakeContext({ cwd }), fakeContext({ cwd })];
    assert.equal(await runCli(["verify", file], verify.context), 3);
    assert.match(verify.out(), words);
    assert.equal(await runCli(["pack", file, "-o", "p.lzr2"], pack.context), 3);
    assert.match(pack.err(), words);
  }
  for (const [file, words] of [
    ["x.lzr2", /^E_NOT_WEIGHTS x\.lzr2: this is an LZR2 artifact.*--artifact/],
    [path.join(demo, "vae/diffusion_pytorch_model.fp16.safetensors"), /^E_PACK .*it holds a vae, and no unet/],
    [path.join(demo, "text_encoder/model.fp16.safetensors"), /^E_PACK .*it holds a text_encoder.*, and no unet/],
  ] as const) {
    const pack = fakeContext({ cwd });
    assert.equal(await runCli(["pack", file, "-o", "p.lzr2"], pack.context), 3);
    assert.match(pack.err(), words);
  }
  // What is not there is no fault of the file.
  const absent = fakeContext({ cwd });
  assert.equal(await runCli(["verify", "x.lzr2", "--model", "none"], absent.context), 3);
  assert.match(absent.err(), /^E_MISSING none:/);
  assert.equal(absent.out(), "");
});

test("verify tells what a sound file has besides, which nothing reads", async () => {
  const cwd = folder();
  const demo = fileURLToPath(new URL("../../models/demo/text_encoder", import.meta.url));
  mkdirSync(path.join(cwd, "text_encoder"));
  copyFileSync(path.join(demo, "config.json"), path.join(cwd, "text_encoder/config.json"));
  const bytes = readFileSync(path.join(demo, "model.fp16.safetensors"));
  const dataAt = 8 + Number(bytes.readBigUInt64LE(0));
  const dataBytes = bytes.length - dataAt;
  const header = JSON.parse(bytes.toString("utf8", 8, dataAt));
  header.logit_scale = { dtype: "F32", shape: [], data_offsets: [dataBytes, dataBytes + 4] };
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = "text_encoder/model.safetensors";
  writeFileSync(path.join(cwd, file), Buffer.concat([length, json, bytes.subarray(dataAt), Buffer.alloc(4)]));
  const verify = fakeContext({ cwd });
  assert.equal(await runCli(["verify", file], verify.context), 0, verify.out());
  assert.match(
    verify.out(),
    /^text_encoder: 1 tensor that nothing reads is left aside, first "logit_scale"\n.*all sound\n$/,
  );
});

test("inspect, verify and pack: every field of their JSON, and refusals before the work", async () => {
  const cwd = folder();
  const tensors = [
    { name: "a", dtype: "f16", shape: [2, 3], bytes: new Uint8Array(12) },
    { name: "b", dtype: "f16", shape: [4], bytes: new Uint8Array(8) },
  ] as const;
  writeFileSync(path.join(cwd, "w.safetensors"), encodeSafetensors(tensors, { maker: "me" }));
  const inspected = JSON.parse((await runFake(["inspect", "w.safetensors", "--json"], { cwd })).out());
  const { file, container, fileBytes, metadata } = inspected;
  const size = readFileSync(path.join(cwd, "w.safetensors")).byteLength;
  assert.deepEqual([file, container, fileBytes, metadata], ["w.safetensors", "safetensors", size, { maker: "me" }]);
  const lines = (await runFake(["inspect", "w.safetensors"], { cwd })).out().split("\n");
  assert.deepEqual(lines.slice(0, 3), ["a  f16  [2, 3]  12 B", "b  f16  [4]  8 B", "metadata maker: me"]);
  const verified = await runFake(["verify", MODEL, "--json"], { cwd: folder() });
  const { ok, problems, notes, summary } = JSON.parse(verified.out());
  assert.deepEqual([ok, problems, Array.isArray(notes), verified.exitCode], [true, [], true, 0]);
  assert.match(summary, /all sound$/);
  for (const [name, more] of [
    ["no/such/a.lzr2", []],
    ["a.lzr2", ["--overlay", "1.1"]],
    ["a.lzr2", ["--overlay", "-0.1"]],
    ["a.lzr2", ["--overlay", " "]],
  ] as const) {
    const { exitCode, files } = await runFake(["pack", "no-such-model", "-o", name, ...more], { cwd: folder() });
    assert.deepEqual([exitCode, files], [2, []], `${name} ${more}`);
  }
  const packed = await runFake(["pack", MODEL, "-o", "a.lzr2", "--overlay", "1", "--json"], { cwd: folder() });
  assert.equal(packed.exitCode, 0, packed.err());
  const totals = JSON.parse(packed.out());
  assert.deepEqual([totals.file, totals.bytes], ["a.lzr2", readFileSync(path.join(packed.cwd, "a.lzr2")).byteLength]);
});

test("inspect lists the demo model's tensors", async () => {
  const fake = fakeContext({ cwd: path.resolve(import.meta.dirname, "../../models/demo") });
  const file = "unet/diffusion_pytorch_model.fp16.safetensors";
  assert.equal(await runCli(["inspect", file, "--json"], fake.context), 0, fake.err());
  const { container, tensors } = JSON.parse(fake.out()) as { container: string; tensors: { name: string }[] };
  assert.equal(container, "safetensors");
  const convIn = tensors.find(({ name }) => name === "conv_in.weight");
  assert.deepEqual(
    { ...convIn, startByte: 0, endByte: 0 },
    {
      name: "conv_in.weight",
      dtype: "f16",
      shape: [64, 4, 3, 3],
      startByte: 0,
      endByte: 0,
    },
  );
});

test("pack says how many weights fp16 could not hold; --lossless and --overlay exclude each other", async () => {
  const cwd = folder();
  // 1 and -2 are fp16, 0.1 is not: its neighbour is 0.0999755859375.
  const bytes = new Uint8Array(Float32Array.of(1, 0.1, -2, 0.1).buffer);
  const file = encodeSafetensors([{ name: "w", dtype: "f32", shape: [2, 2], bytes }]);
  writeFileSync(path.join(cwd, "w.safetensors"), file);
  const fake = fakeContext({ cwd });
  assert.equal(await runCli(["pack", "w.safetensors", "-o", "w.lzr2"], fake.context), 0, fake.err());
  assert.match(fake.out(), /in fp16, which is all that LZR2 holds: 2 of 4 weights .* rounded, by up to 2\.44e-5/);
  const json = fakeContext({ cwd });
  assert.equal(await runCli(["pack", "w.safetensors", "-o", "w.lzr2", "--json"], json.context), 0);
  const { roundedWeights, maxRounding } = JSON.parse(json.out());
  assert.equal(roundedWeights, 2);
  assert.ok(Math.abs(maxRounding - (Math.fround(0.1) - 0.0999755859375)) < 1e-12);
  const both = fakeContext({ cwd });
  assert.equal(
    await runCli(["pack", "w.safetensors", "-o", "x.lzr2", "--overlay", "0.1", "--lossless"], both.context),
    2,
  );
  assert.match(both.err(), /--lossless.*--overlay/);
  const nowhere = fakeContext({ cwd });
  assert.equal(await runCli(["pack", "w.safetensors", "-o", "no/x.lzr2"], nowhere.context), 2);
  assert.match(nowhere.err(), /E_OUTPUT .*its folder does not exist/);
  assert.deepEqual(readdirSync(cwd).sort(), ["w.lzr2", "w.safetensors"]);
});

test("pack replaces artifacts alone, never the weights that it reads; what holds no tensors is no UNet", async () => {
  const cwd = folder();
  const file = encodeSafetensors([{ name: "w", dtype: "f32", shape: [1], bytes: new Uint8Array(4) }]);
  const weights = path.join(cwd, "w.safetensors");
  writeFileSync(weights, file);
  linkSync(weights, path.join(cwd, "same.lzr2"));
  writeFileSync(path.join(cwd, "empty.lzr2"), "");
  writeFileSync(path.join(cwd, "none.safetensors"), encodeSafetensors([]));
  for (const [source, output, told] of [
    ["w.safetensors", "w.safetensors", /^2 E_OUTPUT w\.safetensors: .*no LZR2 artifact/],
    ["w.safetensors", "same.lzr2", /^2 E_OUTPUT same\.lzr2: /],
    ["none.safetensors", "new.lzr2", /^3 E_PACK none\.safetensors: it holds no tensors/],
    ["w.safetensors", "empty.lzr2", /^0 $/],
    ["w.safetensors", "empty.lzr2", /^0 $/],
  ] as const) {
    const fake = fakeContext({ cwd });
    const exitCode = await runCli(["pack", source, "-o", output], fake.context);
    assert.match(`${exitCode} ${fake.err()}`, told);
  }
  assert.deepEqual(readFileSync(weights), Buffer.from(file));
});

test("verify holds a lone weight file against the network it is of, in one JSON document", async () => {
  const demo = fileURLToPath(
    new URL("../../models/demo/unet/diffusion_pytorch_model.fp16.safetensors", import.meta.url),
  );
  const inPlace = fakeContext({ cwd: folder() });
  assert.equal(await runCli(["verify", demo], inPlace.context), 0, inPlace.out());
  assert.match(inPlace.out(), /tensors of this model's unet in .*: all sound/);

  const cwd = folder();
  copyFileSync(demo, path.join(cwd, "small.safetensors"));
  const alone = fakeContext({ cwd });
  assert.equal(await runCli(["verify", "small.safetensors", "--json"], alone.context), 3);
  const { ok, problems, summary } = JSON.parse(alone.out());
  assert.equal(ok, false);
  assert.match(summary, /SDXL base's unet/);
  assert.match(problems[0], /shape \[256\] expected \[1280\]/);

  const bytes = new Uint8Array(8);
  writeFileSync(path.join(cwd, "x.safetensors"), encodeSafetensors([{ name: "x", dtype: "f32", shape: [2], bytes }]));
  const foreign = fakeContext({ cwd });
  assert.equal(await runCli(["verify", "x.safetensors"], foreign.context), 3);
  assert.match(foreign.out(), /none of its tensors is SDXL's/);
});

const ZERO = { bytes: new Uint8Array(8), shape: [4], dtype: "f16" } as const;

test("verify and pack say what a file is that they can't take", async () => {
  const cwd = folder();
  const cases: [names: string[], words: RegExp][] = [
    [["model.diffusion_model.x", "conditioner.embedders.0.model.x"], /this is (an|no) SDXL refiner/],
    [["cond_stage_model.transformer.x", "model.diffusion_model.x"], /a Stable Diffusion 1 checkpoint/],
    [["cond_stage_model.model.x", "model.diffusion_model.x"], /a Stable Diffusion 2 checkpoint/],
    [["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], /a Flux model/],
    [["model.diffusion_model.joint_blocks.0.x"], /a Stable Diffusion 3 model/],
    [["lora_unet_x.lora_down.weight"], /a LoRA or another adapter/],
    [["control_model.input_blocks.0.0.weight"], /a ControlNet/],
    [["clip_l", "clip_g"], /a textual inversion embedding/],
    [["model.1.sub.0.RDB1.conv1.0.weight"], /an upscaler/],
    [["encoder.down.0.block.0.conv1.weight", "encoder.conv_in.weight"], /an SDXL's vae/],
  ];
  for (const [names, words] of cases) {
    writeFileSync(path.join(cwd, "x.safetensors"), encodeSafetensors(names.map((name) => ({ name, ...ZERO }))));
    const verify = fakeContext({ cwd });
    assert.equal(await runCli(["verify", "x.safetensors"], verify.context), 3);
    assert.match(verify.out(), words);
    const pack = fakeContext({ cwd });
    assert.equal(await runCli(["pack", "x.safetensors", "-o", "x.lzr2"], pack.context), 3);
    assert.match(pack.err(), words);
  }
  const i64 = encodeSafetensors([{ name: "steps", dtype: "i64", shape: [1], bytes: new Uint8Array(8) }]);
  writeFileSync(path.join(cwd, "x.safetensors"), i64);
  const fake = fakeContext({ cwd });
  assert.equal(await runCli(["pack", "x.safetensors", "-o", "x.lzr2"], fake.context), 3);
  assert.match(fake.err(), /^E_PACK x\.safetensors: tensor "steps" is i64, and LZR2 holds floating-point/);
});

test("tensors of dtypes that nothing computes with are listed with their sizes, are no weights, and can't be packed", async () => {
  const cwd = folder();
  const header =
    '{"a":{"dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}';
  const length = Buffer.alloc(8);
  length.writeUInt32LE(header.length);
  writeFileSync(path.join(cwd, "x.safetensors"), Buffer.concat([length, Buffer.from(header), Buffer.alloc(8)]));
  const [inspect, verify, pack] = [fakeContext({ cwd }), fakeContext({ cwd }), fakeContext({ cwd })];
  assert.equal(await runCli(["inspect", "x.safetensors"], inspect.context), 0, inspect.err());
  assert.match(inspect.out(), /^a {2}f8_e8m0 {2}\[4\] {2}4 B\nb {2}f32 {2}\[1\] {2}4 B\n2 tensors/);
  assert.equal(await runCli(["verify", "x.safetensors"], verify.context), 3);
  assert.match(verify.out(), /E_ST_DTYPE .*tensor "a" is F8_E8M0, which Solvay does not take as weights yet/);
  assert.equal(await runCli(["pack", "x.safetensors", "-o", "x.lzr2"], pack.context), 3);
  assert.match(pack.err(), /E_ST_DTYPE x\.safetensors: tensor "a" is F8_E8M0/);
});

test("an artifact is held against the base that it fits, or the one that is named; hub ids are looked for in the cache", async () => {
  const cwd = folder();
  const demo = fileURLToPath(new URL("../../models/demo", import.meta.url));
  const run = async (...line: string[]) => {
    const fake = fakeContext({ cwd });
    const code = await runCli(line, { ...fake.context, env: { HF_HOME: path.join(cwd, "hf") } });
    return { code, out: fake.out(), err: fake.err() };
  };
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const repo = path.join(cwd, "hf/hub/models--org--name");
  mkdirSync(path.join(repo, "refs"), { recursive: true });
  writeFileSync(path.join(repo, "refs/main"), commit);
  cpSync(demo, path.join(repo, "snapshots", commit), { recursive: true });
  const packed = await run("pack", "org/name", "-o", "demo.lzr2");
  assert.equal(packed.code, 0, packed.err);
  assert.match((await run("verify", "demo.lzr2")).out, /records in demo\.lzr2, held against the demo model: all sound/);
  const named = await run("verify", "demo.lzr2", "--model", "org/name");
  assert.match(named.out, /held against org\/name: all sound/);
  assert.match((await run("verify", "org/name")).out, /tensors of an SDXL in .*: all sound/);
  assert.match((await run("verify", "org/other")).out, /E_NOT_CACHED org\/other: .*solvay pull org\/other/);
  const absent = await run("pack", "org/other", "-o", "x.lzr2");
  assert.match(absent.err, /E_NOT_CACHED org\/other: .*solvay pull org\/other/);
});
