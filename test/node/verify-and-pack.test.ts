/** @file `verify` and `pack` over files that are something else than they seem: each is called what it is. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { encodePng } from "../../src/image/png.ts";
import { fakeContext } from "./fake-context.ts";

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
