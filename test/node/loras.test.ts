/** @file LoRAs from files: by flag and from the prompt, into the picture and back, the same for every budget; and what is refused. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import { sha256Hex } from "../../src/node/hash.ts";
import { loraOpener } from "../../src/node/lora-files.ts";
import { lorasOfPrompt } from "../../src/pipeline/prompt-loras.ts";
import { memorySource } from "../../src/source/memory.ts";

import { encodeSafetensors, type SafetensorsTensor } from "../safetensors-writer.ts";
import { drawer } from "../support/adapters.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const FLAT = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const TINY = ["--model", FLAT, "--backend", "reference", "--width", "16", "--height", "16", "--steps", "1"];
/** kohya's names, of the model's shapes. */
const LAYERS: Readonly<Record<string, readonly [out: number, inputs: number, ...taps: number[]]>> = {
  lora_unet_conv_in: [24, 8, 3, 3],
  lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q: [24, 24],
  lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k: [24, 20],
  lora_te2_text_model_encoder_layers_0_self_attn_q_proj: [12, 12],
};
/** What the model needs at least. */
const LEAST_BYTES = 560_000;
let cwd: string;
before(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "solvay-loras-"));
  mkdirSync(path.join(cwd, "loras/style"), { recursive: true });
  writeFileSync(path.join(cwd, "loras/style/fur.safetensors"), loraFile(1));
  writeFileSync(path.join(cwd, "loras/fog.safetensors"), loraFile(2));
  writeFileSync(path.join(cwd, "loras/style/fog.safetensors"), loraFile(3));
  writeFileSync(path.join(cwd, "loras/notes.safetensors"), "no file of tensors");
  writeFileSync(path.join(cwd, "loras/v3-000012.safetensors"), loraFile(4, "snow-dmd2", [8, 8]));
});

/** Of rank 2, scale 1. */
function loraFile(
  seed: number,
  outputName?: string,
  unknownLayer?: readonly [number, number],
): Uint8Array<ArrayBuffer> {
  const draw = drawer(seed);
  const tensor = (name: string, shape: readonly number[]) => {
    const bytes = new Uint8Array(Float32Array.from(draw(shape, 0.5)).buffer);
    return { name, dtype: "f32" as const, shape, bytes };
  };
  const tensors = Object.entries({
    ...LAYERS,
    ...(unknownLayer && { lora_unet_down_blocks_7_proj_in: unknownLayer }),
  }).flatMap(([name, [out, inputs, ...taps]]) => [
    tensor(`${name}.lora_down.weight`, [2, inputs, ...taps]),
    tensor(`${name}.lora_up.weight`, [out, 2, ...taps.map(() => 1)]),
  ]);
  return encodeSafetensors(tensors, outputName === undefined ? undefined : { ss_output_name: outputName });
}

async function run(...line: string[]) {
  const fake = fakeContext({ cwd });
  const rc = await runCli(line, { ...fake.context, openEngine: openThreadlessEngine });
  return { rc, out: fake.out(), error: fake.err().trimEnd().split("\n").at(-1)! };
}

async function generate(file: string, prompt: string, ...line: string[]) {
  const made = await run("generate", prompt, ...TINY, "--seed", "1", ...line, "--output", file);
  assert.equal(made.rc, 0, made.error);
  const png = readFileSync(path.join(cwd, file));
  const texts = new Map((await writtenTexts(png)).map(({ keyword, text }) => [keyword, text]));
  return { png, infotext: texts.get("parameters")!, record: JSON.parse(texts.get("solvay")!) };
}

/** What is compared of pictures whose records differ. */
function pixels(png: Uint8Array): string {
  return Buffer.from(png).subarray(Buffer.from(png).indexOf("IDAT")).toString("base64");
}

test("by flag and by the prompt: the same pixels, told in the picture as A1111 does, made again to the byte, in any budget", async () => {
  const file = path.join(cwd, "loras/style/fur.safetensors");
  const hash = sha256Hex(loraFile(1).subarray(8 + Number(new DataView(loraFile(1).buffer).getBigUint64(0, true))));
  const flag = await generate("flag.png", "a lake", "--lora", `${file}:0.75`);
  assert.deepEqual(flag.record.loras, [{ file, weight: 0.75 }]);
  assert.ok(flag.infotext.includes(`, Lora hashes: "fur: ${hash.slice(0, 12)}", `), flag.infotext);
  assert.ok(flag.infotext.includes(`, LoRAs: "${file}:0.75", `), flag.infotext);
  const again = await run("again", "flag.png", "--output", "again.png", "--model", FLAT);
  assert.equal(again.error, "The same file, byte for byte.");
  const dir = ["--lora-dir", path.join(cwd, "loras"), "--prompt-syntax", "a1111"];
  const tag = await generate("tag.png", "a lake<lora:fur:0.75>", ...dir, "--vram", String(LEAST_BYTES));
  assert.ok(tag.infotext.startsWith("a lake<lora:fur:0.75>\nSteps: 1, "), tag.infotext);
  assert.ok(tag.infotext.includes(`, Lora hashes: "fur: ${hash.slice(0, 12)}", `));
  assert.equal(pixels(tag.png), pixels(flag.png));
});

/** The model's folder as one file, under its folders' names. */
async function singleFile(): Promise<Uint8Array<ArrayBuffer>> {
  const tensors: SafetensorsTensor[] = [];
  for (const part of ["unet", "vae", "text_encoder", "text_encoder_2"]) {
    const file = path.join(FLAT, part, part.startsWith("text") ? "model" : "diffusion_pytorch_model");
    const { table } = await readSafetensorsHeader(memorySource(part, readFileSync(`${file}.safetensors`)));
    for (const { name, dtype, shape, source, startByte, endByte } of table.values()) {
      const bytes = new Uint8Array(endByte - startByte);
      await source.read(startByte, bytes);
      tensors.push({ name: `${part}.${name}`, dtype, shape, bytes });
    }
  }
  return encodeSafetensors(tensors);
}

test("a LoRA over a single file and over the store's model: the folder's picture, to the byte", async (t) => {
  const lora = ["--lora", `${path.join(cwd, "loras/style/fur.safetensors")}:0.75`];
  const expected = pixels((await generate("folder.png", "a lake", ...lora)).png);
  assert.notEqual(pixels((await generate("plain.png", "a lake")).png), expected);
  writeFileSync(path.join(cwd, "single.safetensors"), await singleFile());
  const single = ["--model", path.join(cwd, "single.safetensors"), "--config", FLAT];
  const store = path.join(cwd, "store");
  const imported = await run("import", ...single.slice(1), "--store", store);
  assert.equal(imported.rc, 0, imported.error);
  const stored = ["--model", `store:${imported.out.trim()}`, "--store", store];
  for (const [name, model] of Object.entries({ single, stored })) {
    for (const vram of ["1G", String(LEAST_BYTES)]) {
      const made = await generate(`${name}.png`, "a lake", ...lora, ...model, "--vram", vram);
      assert.equal(pixels(made.png), expected, `${name}, ${vram}`);
    }
  }
  // Its config files are found by their folder's name. The engine's paths are from where the process is.
  const before = process.cwd();
  process.chdir(cwd);
  t.after(() => process.chdir(before));
  cpSync(FLAT, path.join(cwd, "flat"), { recursive: true });
  const again = await run("again", "single.png", "--output", "again.png");
  assert.equal(again.error, "The same file, byte for byte.");
});

test("a file that is changed between two images of an engine is another LoRA", async () => {
  await using engine = await openThreadlessEngine({ model: FLAT, backend: "reference" });
  const draw = async (file: string) => {
    const loras = [{ file: path.join(cwd, file) }];
    const job = { prompt: "a lake", seed: 1, steps: 1, guidance: 1, width: 16, height: 16, loras };
    for await (const event of engine.generate(job)) if (event.type === "image") return pixels(event.bytes);
    throw new Error("the job ended without a picture");
  };
  writeFileSync(path.join(cwd, "changed.safetensors"), loraFile(1));
  assert.equal(await draw("changed.safetensors"), await draw("loras/style/fur.safetensors"));
  writeFileSync(path.join(cwd, "changed.safetensors"), loraFile(2));
  assert.equal(await draw("changed.safetensors"), await draw("loras/fog.safetensors"));
});

test("what can't be had is refused by its name", async () => {
  const toAbsolute = (file: string) => path.resolve(cwd, file);
  const open = loraOpener(path.join(cwd, "loras"), toAbsolute);
  const refused = async (opened: Promise<unknown>, text: RegExp) => await assert.rejects(opened, text);
  await refused(loraOpener(undefined, toAbsolute)("fur", true), /E_LORA fur: no folder of LoRAs was named/);
  await refused(open("../x", true), /E_LORA \.\.\/x: there is no \.\.\/x\.safetensors in the folder of LoRAs/);
  await refused(open("fog", true), /E_LORA fog: more than one file is called so: .*fog.* and .*fog.* \(allowed one\)/);
  await refused(loraOpener(undefined, toAbsolute)("nowhere.safetensors", false), { code: "E_MISSING" } as never);
  // A path stands first; a name that is none is looked for. In a prompt the same text is a name.
  for (const [reference, byName] of [
    ["loras/style/fur.safetensors", false],
    ["style\\fur.safetensors", false],
    ["fur", true],
    ["style/fur", true],
    ["other\\fur", false],
  ] as const) {
    await using source = await open(reference, byName);
    assert.equal(source.name, "fur.safetensors");
  }
  // Where two have one name, the folder tells.
  for (const reference of ["style/fog", "style\\fog.safetensors"]) {
    await using source = await open(reference, true);
    assert.equal(source.file?.path, path.join(cwd, "loras/style/fog.safetensors"));
  }
  await refused(open("other/fog", true), /E_LORA other\/fog: there is no other\/fog\.safetensors/);
  await refused(open("style/../fog", true), /E_LORA style\/\.\.\/fog: there is no/);
});

test("by the name that its training gave it; what is not used of it is listed; one for few steps says how it wants to be sampled", async () => {
  const open = loraOpener(path.join(cwd, "loras"), (file) => path.resolve(cwd, file));
  await using source = await open("snow-dmd2", true);
  assert.equal(source.name, "v3-000012.safetensors");
  await using engine = await openThreadlessEngine({
    model: FLAT,
    backend: "reference",
    loraDir: path.join(cwd, "loras"),
  });
  const notes: string[] = [];
  const unmatched: string[] = [];
  const size = { steps: 1, width: 16, height: 16 };
  for await (const event of engine.generate({ prompt: "a<lora:snow-dmd2:1>", promptSyntax: "a1111", ...size })) {
    if (event.type === "note") notes.push(event.text);
    if (event.type === "lora") unmatched.push(...event.unmatched);
    // All of it is told before anything is drawn.
    if (event.type === "plan") break;
  }
  const names = ["lora_unet_down_blocks_7_proj_in.lora_down.weight", "lora_unet_down_blocks_7_proj_in.lora_up.weight"];
  assert.deepEqual(unmatched, names);
  assert.deepEqual(notes, [
    `snow-dmd2: 2 of its 10 tensors are of layers that the model has not, the first "${names[0]}"`,
    "DMD2: it draws in few steps, with --sampler lcm --schedule trailing --steps 4 --guidance 1",
  ]);
});

test("the tags of a prompt, as A1111 reads them", () => {
  const read = (prompt: string) => lorasOfPrompt(prompt);
  assert.deepEqual(read("a <lora:fur:0.8> b <lora:x:te=0.8:unet=0.5><lyco:y>"), [
    { file: "fur", weight: 0.8 },
    { file: "x", te: 0.8, unet: 0.5 },
    { file: "y", weight: 1 },
  ]);
  assert.deepEqual(read("<lora:fur:0.8:-0.5>"), [{ file: "fur", te: 0.8, unet: -0.5 }]);
  assert.deepEqual(read("<lora:fur:unet=0.5>"), [{ file: "fur", te: 1, unet: 0.5 }]);
  for (const wrong of [
    "<lora:fur:x>",
    "<lora::1>",
    "<lora:fur:1e9>",
    "<lora:fur:1:1:8>",
    "<lora:fur:0.5:dyn=8>",
    "<hypernet:fur:1>",
  ]) {
    assert.throws(() => read(wrong), { code: "E_LORA" }, wrong);
  }
});
