/** @file ControlNets from files: by flags, into the picture and back, made again to the byte, in any budget, from any step; and what is refused. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { controlNetSchema } from "../../src/models/sdxl/controlnet.ts";
import { readPicture } from "../../src/node/pictures.ts";
import type { SamplerState } from "../../src/sampler/sampler.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { pictureContents } from "../../src/terminal/unfinished.ts";
import { encodeSafetensors, type SafetensorsTensor } from "../safetensors-writer.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { drawer } from "../support/adapters.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const fixtures = new URL("../../fixtures/", import.meta.url);
const FLAT = fileURLToPath(new URL("golden/flat", fixtures));
const PICTURE = fileURLToPath(new URL("from-pictures/init.png", fixtures));
const TINY = [
  "--model",
  FLAT,
  "--backend",
  "reference",
  "--width",
  "16",
  "--height",
  "16",
  "--steps",
  "2",
  "--seed",
  "1",
];
const checkpoint = await openSdxlFolder(FLAT);
const { outChannels: _, sampleSize: __, upLevels: ___, ...half } = checkpoint.parts.configs.unet;
const NET = { ...half, kind: "controlnet", pictureChannels: 3, hintChannels: [2, 3, 4, 5, 6], bgr: false } as const;
let cwd: string;
before(() => {
  cwd = mkdtempSync(path.join(tmpdir(), "solvay-controls-"));
  writeFileSync(path.join(cwd, "edges.safetensors"), encodeSafetensors(tensors(1)));
  mkdirSync(path.join(cwd, "nets"));
  writeFileSync(path.join(cwd, "nets/lines.safetensors"), encodeSafetensors(tensors(2)));
});

/** Of a ControlNet by diffusers' names, without a config. */
function tensors(seed: number): SafetensorsTensor[] {
  const draw = drawer(seed);
  return [...controlNetSchema(NET)].map(([name, shape]) => {
    const values = Float32Array.from(draw(shape, 0.5 / Math.sqrt(elementCount(shape.slice(1)))));
    return { name, dtype: "f32" as const, shape, bytes: new Uint8Array(values.buffer) };
  });
}

async function run(...line: string[]) {
  const fake = fakeContext({ cwd });
  const rc = await runCli(line, { ...fake.context, openEngine: openThreadlessEngine });
  return { rc, out: fake.out(), error: fake.err().trimEnd().split("\n").at(-1)! };
}

async function generate(file: string, ...line: string[]) {
  const made = await run("generate", "a lake", ...TINY, ...line, "--output", file);
  assert.equal(made.rc, 0, made.error);
  return readFileSync(path.join(cwd, file));
}

test("by flags, by name in a folder, told in the picture; made again to the byte, in any budget", async () => {
  const file = path.join(cwd, "edges.safetensors");
  const dir = ["--control-dir", path.join(cwd, "nets")];
  const first = ["--control", file, "--control-image", PICTURE, "--control-weight", "0.9"];
  const both = [...dir, ...first, "--control", "lines", "--control-image", PICTURE, "--control-preprocess", "canny"];
  const png = await generate("two.png", ...both);
  const texts = new Map((await writtenTexts(png)).map(({ keyword, text }) => [keyword, text]));
  assert.match(texts.get("parameters")!, /ControlNet 0: "Module: none, Model: .*edges\.safetensors, Weight: 0\.9, /);
  assert.deepEqual(JSON.parse(texts.get("solvay")!).controls, [
    { file, image: PICTURE, weight: 0.9 },
    { file: "lines", image: PICTURE, preprocess: "canny" },
  ]);
  const again = await run(
    ...["again", "two.png", "--model", FLAT, "--backend", "reference", ...dir],
    ...["--vram", "860K", "--output", "made.png"],
  );
  assert.equal(again.error, "The same file, byte for byte.");
  assert.deepEqual(readFileSync(path.join(cwd, "made.png")), png);
});

test("a picture that goes on from any step is the same; its bytes in the job are told by their hash; a changed file is noticed", async () => {
  await using engine = await openThreadlessEngine({ model: FLAT, backend: "reference" });
  const data = `data:image/png;base64,${readFileSync(PICTURE).toString("base64")}`;
  const file = path.join(cwd, "edges.safetensors");
  const job = {
    ...{ prompt: "a lake", seed: 3, steps: 3, width: 16, height: 16 },
    controls: [{ file, image: data, start: 0.3 }],
  };
  const states: SamplerState[] = [];
  const pictures: Uint8Array[] = [];
  const draw = async (from?: SamplerState) => {
    for await (const event of engine.generate(job, { states: true, ...(from && { from }) })) {
      if (event.type === "start") assert.match(event.controls![0]!.image!, /^sha256:[0-9a-f]{64}$/);
      if (event.type === "step" && !from) states.push(event.state!);
      if (event.type === "image") pictures.push(event.bytes);
    }
  };
  await draw();
  for (const state of states.slice(0, 2)) await draw(state);
  for (const picture of pictures) assert.deepEqual(picture, pictures[0]);
  assert.equal(pictures.length, 3);
  const contents = () => pictureContents({ prompt: "", controls: [{ file, image: PICTURE }] }, cwd);
  const before = await contents();
  assert.deepEqual(Object.keys(before), ["controls.0.image", `control ${file}`]);
  writeFileSync(file, encodeSafetensors(tensors(7)));
  const after = await contents();
  assert.notEqual(after[`control ${file}`], before[`control ${file}`]);
  assert.equal(after["controls.0.image"], before["controls.0.image"]);
  await draw();
  assert.notDeepEqual(pictures.at(-1), pictures[0]);
});

const f32 = (name: string, ...shape: number[]): SafetensorsTensor => {
  return { name, dtype: "f32", shape, bytes: new Uint8Array(4 * elementCount(shape)) };
};
const CONTROL_MARK = f32("controlnet_cond_embedding.conv_in.weight", 2, 3, 3, 3);
const KEYS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight";
const without = (name: RegExp) => tensors(1).filter((tensor) => !name.test(tensor.name));

const REFUSED: readonly (readonly [string, readonly SafetensorsTensor[], RegExp])[] = [
  ["SD 1.5", [CONTROL_MARK, f32(KEYS, 8, 768)], /E_CONTROL .*ControlNet for Stable Diffusion 1\.5/],
  [
    "SD 2",
    [
      f32("control_model.zero_convs.0.0.weight", 8, 8, 1, 1),
      f32(`control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight`, 8, 1024),
    ],
    /E_CONTROL .*Stable Diffusion 2/,
  ],
  ["Flux", [f32("controlnet_x_embedder.weight", 8, 8)], /E_CONTROL .*ControlNet for Flux/],
  [
    "XLabs' Flux",
    [f32("input_hint_block.0.weight", 8, 3, 3, 3), f32("double_blocks.0.img_attn.qkv.weight", 8, 8)],
    /E_CONTROL .*Flux/,
  ],
  ["SD 3", [f32("controlnet_blocks.0.weight", 8, 8)], /E_CONTROL .*Stable Diffusion 3/],
  ["IP-Adapter", [f32("image_proj.norm.weight", 8)], /E_CONTROL .*IP-Adapter: give it with --ip-adapter/],
  ["a LoRA", [f32("lora_unet_conv_in.lora_down.weight", 2, 8, 1, 1)], /E_CONTROL .*LoRA: give it with --lora/],
  ["LLLite", [f32("lllite_unet_mid.weight", 8)], /E_CONTROL .*LLLite/],
  ["a VAE", [f32("decoder.conv_in.weight", 8, 4, 3, 3)], /E_CONTROL .*none of a ControlNet's/],
  ["no tensors", [], /E_CONTROL .*none of a ControlNet's/],
  [
    "one missing",
    without(/^controlnet_mid_block\.bias$/),
    /E_SCHEMA .*1 tensors are missing, first "controlnet_mid_block\.bias"/,
  ],
  [
    "one too many",
    [...tensors(1), f32("controlnet_down_blocks.9.weight", 24, 24, 1, 1)],
    /E_SCHEMA .*1 tensors are not/,
  ],
  [
    "another shape",
    [...without(/^conv_in\.bias$/), f32("conv_in.bias", 23)],
    /E_SCHEMA .*"conv_in\.bias": shape \[23\] expected \[24\]/,
  ],
  ["another cell", without(/blocks\.[67]\./), /E_CONTROL .*it makes one cell of 8 pixels, and .*flat of 16/],
  ["fewer levels", without(/^(down_blocks|mid_block)/), /E_CONTROL .*none that a ControlNet for SDXL has/],
];

test("files of other networks, and damaged ones, are refused by what they are", async () => {
  for (const [what, file, words] of REFUSED) {
    const source = memorySource("odd.safetensors", encodeSafetensors(file));
    await using sources = new AsyncDisposableStack();
    const opened = checkpoint.openControl({ kind: "file", path: "odd.safetensors", file: source }, { sources });
    await assert.rejects(opened, words, what);
  }
});

test("refused: a control without a picture, a folder of another class, an absent file, names alone where a server asks", async () => {
  await using engine = await openThreadlessEngine({
    model: FLAT,
    backend: "reference",
    onlyNames: true,
    controlDir: path.join(cwd, "nets"),
  });
  const drawn = async (
    controls: readonly { readonly file: string; readonly image?: string; readonly mode?: string }[],
  ) => {
    for await (const _event of engine.generate({ prompt: "a lake", steps: 1, width: 16, height: 16, controls }));
  };
  await assert.rejects(drawn([{ file: "lines" }]), /E_JOB controls: number 1 has no picture to look at/);
  await assert.rejects(drawn([{ file: "none", image: PICTURE }]), /E_CONTROL none: there is none of that name/);
  await assert.rejects(drawn([{ file: path.join(cwd, "edges.safetensors"), image: PICTURE }]), /E_CONTROL/);
  mkdirSync(path.join(cwd, "nets/flux"));
  writeFileSync(path.join(cwd, "nets/flux/config.json"), JSON.stringify({ _class_name: "FluxControlNetModel" }));
  const bytes = new Uint8Array(4 * 24).fill(255);
  const wrong = tensors(1).map((tensor) => (tensor.name === "conv_in.bias" ? { ...tensor, bytes } : tensor));
  writeFileSync(path.join(cwd, "nets/nan.safetensors"), encodeSafetensors(wrong));
  await assert.rejects(drawn([{ file: "nan", image: PICTURE }]), /E_NONFINITE .*conv_in\.bias/);
  await assert.rejects(
    drawn([{ file: "lines", image: PICTURE, mode: "depth" }]),
    /E_CONTROL lines: it looks at one kind of picture/,
  );
  await assert.rejects(drawn([{ file: "flux", image: PICTURE }]), /E_CONTROL .*FluxControlNetModel/);
});

test("a part that is drawn larger, steered by the part itself: laid back over the picture, and told", async () => {
  const file = path.join(cwd, "nets/lines.safetensors");
  const line = ["--init-image", PICTURE, "--detail", "40,30,20,20", "--control", file, "--strength", "0.9"];
  const png = await generate("part.png", ...line);
  const read = async (bytes: Buffer) => readPicture(new Uint8Array(bytes), { name: "x" });
  const [made, before] = [await read(png), await read(readFileSync(PICTURE))];
  assert.deepEqual([made.width, made.height], [before.width, before.height]);
  const differs = (x: number, y: number) => made.rgb[3 * (y * made.width + x)] !== before.rgb[3 * (y * made.width + x)];
  assert.ok(differs(50, 40) && !differs(5, 5) && !differs(95, 80));
  const texts = new Map((await writtenTexts(png)).map(({ keyword, text }) => [keyword, text]));
  assert.match(texts.get("parameters")!, /Size: 16x16, .*Mask blur: 4\.0, .*Detail: "40,30,20,20"/);
});
