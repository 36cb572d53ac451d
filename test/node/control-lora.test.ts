/**
 * @file Control-LoRAs (fixtures/controls/sketch, made as ComfyUI writes them; their pictures: test/golden/controls.test.ts): the model's weights where they are, the same pixels
 * in any budget, what a full-size one costs, what its file is called, and what is refused.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import type { GenerateJob } from "../../src/job/job.ts";
import type { OpenEngineOptions } from "../../src/job/types.ts";
import type { Engine } from "../../src/node.ts";
import type { PlanReport } from "../../src/plan/report.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { encodeSafetensors, type SafetensorsTensor } from "../safetensors-writer.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const pathOf = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const DEEP = pathOf("golden/deep");
const SKETCH = pathOf("controls/sketch.safetensors");
const cwd = mkdtempSync(path.join(tmpdir(), "solvay-control-lora-"));

async function tensorsOf(file: string): Promise<SafetensorsTensor[]> {
  const { table } = await readSafetensorsHeader(memorySource(file, Uint8Array.from(readFileSync(file))));
  const tensors: SafetensorsTensor[] = [];
  for (const { name, dtype, shape, source, startByte, endByte } of table.values()) {
    const bytes = new Uint8Array(endByte - startByte);
    await source.read(startByte, bytes);
    tensors.push({ name, dtype, shape, bytes });
  }
  return tensors;
}

async function run(...line: string[]) {
  const fake = fakeContext({ cwd });
  const rc = await runCli(line, { ...fake.context, openEngine: openThreadlessEngine });
  assert.equal(rc, 0, fake.err());
  return fake.out();
}

/** The model's folder as one file, under its folders' names. */
async function singleFile(): Promise<Uint8Array<ArrayBuffer>> {
  const tensors: SafetensorsTensor[] = [];
  for (const part of ["unet", "vae", "text_encoder", "text_encoder_2"]) {
    const stem = part.startsWith("text") ? "model" : "diffusion_pytorch_model";
    const own = await tensorsOf(path.join(DEEP, part, `${stem}.safetensors`));
    tensors.push(...own.map((tensor) => ({ ...tensor, name: `${part}.${tensor.name}` })));
  }
  return encodeSafetensors(tensors);
}

/** With a LoRA of the model that counts in the second step alone. */
const JOB = {
  ...{ prompt: "a mill", seed: 1, steps: 2, guidance: 3, width: 16, height: 16, negativePrompt: "fog" },
  controls: [{ file: SKETCH, image: pathOf("from-pictures/init.png"), weight: 0.8 }],
  loras: [{ file: pathOf("controls/fur.safetensors"), weight: 0.7, from: 0.5 }],
};

async function draw(engine: Engine, job: Partial<GenerateJob> = {}) {
  let plan: PlanReport | undefined;
  for await (const event of engine.generate({ ...JOB, ...job })) {
    if (event.type === "plan") plan = event.plan;
    if (event.type !== "image") continue;
    assert.ok(event.peakDeviceBytes <= plan!.peak.deviceBytes);
    const png = Buffer.from(event.bytes);
    // Records differ.
    return { pixels: png.subarray(png.indexOf("IDAT")).toString("base64"), plan: plan! };
  }
  throw new Error("the job ended without a picture");
}

/** What the job takes at least. */
const LEAST = "1281K";

test("over a folder, a single file and the store's model, packed or not, resident or not: the same pixels; the model's weights are there once", async () => {
  const engineOf = (options: OpenEngineOptions) => openThreadlessEngine({ backend: "reference", ...options });
  await using folder = await engineOf({ model: DEEP });
  const expected = await draw(folder);
  const without = await draw(folder, { controls: [] });
  assert.notEqual(expected.pixels, without.pixels);
  // What is held beside the model is what the file has, its fp16 as fp32, each block of it aligned.
  const own = (await tensorsOf(SKETCH)).reduce((sum, { bytes }) => sum + bytes.length, 0);
  const more = expected.plan.weightBytes - without.plan.weightBytes;
  assert.ok(more >= 2 * own && more < 2.2 * own, `${more} more for a file of ${own} bytes`);
  const maps = expected.plan.phases.flatMap(({ passes }) => passes).filter(({ id }) => id === "control0.step");
  const owners = new Set(maps.flatMap(({ map }) => map.map(({ owner }) => owner.replace(/[0-9a-f]{12}/, "X"))));
  assert.deepEqual([...owners].sort(), ["control-1", "lora-X-unet", "unet"]);
  const single = path.join(cwd, "single.safetensors");
  writeFileSync(single, await singleFile());
  const store = path.join(cwd, "store");
  const stored = async (packed: "on" | "off") => {
    const id = (await run("import", single, "--config", DEEP, "--store", store, "--packed", packed)).trim();
    return { model: `store:${id}`, store };
  };
  const models: readonly OpenEngineOptions[] = [
    { ...(await stored("on")), budgets: { vram: LEAST } },
    ...searched([], [{ model: single, config: DEEP }, { model: DEEP, budgets: { vram: LEAST } }, await stored("off")]),
  ];
  for (const model of models) {
    await using engine = await engineOf(model);
    const { pixels, plan } = await draw(engine);
    assert.equal(pixels, expected.pixels, JSON.stringify(model));
    const moved = plan.phases.flatMap(({ passes }) => passes).find(({ id }) => id === "control0.step")!.movedBytes;
    assert.equal(moved > 0, "budgets" in model);
  }
});

const deep = await openSdxlFolder(DEEP);
const file = await tensorsOf(SKETCH);
type Change = (tensor: SafetensorsTensor) => readonly SafetensorsTensor[];
const shaped = (tensor: SafetensorsTensor, shape: readonly number[]): SafetensorsTensor => {
  return { ...tensor, shape, bytes: new Uint8Array(2 * elementCount(shape)) };
};
const changed =
  (name: string, change: Change): Change =>
  (tensor) =>
    tensor.name === name ? change(tensor) : [tensor];
const QUERY = "input_blocks.3.1.transformer_blocks.0.attn1.to_q";
const KEYS = "input_blocks.3.1.transformer_blocks.0.attn2.to_k.down";

const REFUSED: readonly (readonly [what: string, change: Change, words: RegExp])[] = [
  ["no mark", changed("lora_controlnet", () => []), /E_CONTROL .*changes of layers, and no lora_controlnet says/],
  [
    "rank 0",
    (tensor) =>
      tensor.name.startsWith(`${QUERY}.`) ? [shaped(tensor, tensor.name.endsWith("up") ? [24, 0] : [0, 24])] : [tensor],
    /E_CONTROL .*"down_blocks\.1\..*to_q" \(up \[24,0\] and down \[0,24\]\) is none of the model's \[24,24\]/,
  ],
  [
    "ranks that differ",
    changed(`${QUERY}.up`, (tensor) => [shaped(tensor, [24, 4])]),
    /E_CONTROL .*up \[24,4\] and down \[3,24\]/,
  ],
  ["half of a change", changed(`${QUERY}.up`, () => []), /E_CONTROL .*to_q" has no up/],
  [
    "another width",
    changed(`${QUERY}.down`, (tensor) => [shaped(tensor, [3, 25])]),
    /E_CONTROL .*down \[3,25\]\) is none/,
  ],
  [
    "another norm",
    changed("input_blocks.1.0.in_layers.0.bias", (tensor) => [shaped(tensor, [13])]),
    /E_CONTROL .*is \[13\], and the model takes \[12\]/,
  ],
  [
    "a layer too many",
    (tensor) => [
      tensor,
      ...(tensor.name === `${QUERY}.up` ? [{ ...tensor, name: "output_blocks.0.0.in_layers.2.up" }] : []),
    ],
    /E_CONTROL .*output_blocks\.0\.0\.in_layers\.2" is of no layer/,
  ],
  ["no results", changed("middle_block_out.0.weight", () => []), /E_CONTROL .*it has no controlnet_mid_block\.weight/],
  ["whole numbers", changed(`${QUERY}.up`, (tensor) => [{ ...tensor, dtype: "i16" }]), /E_CONTROL .*to_q\.up" is i16/],
  ["no changes", (tensor) => (/\.(up|down)$/.test(tensor.name) ? [] : [tensor]), /E_CONTROL .*changes nothing/],
  [
    "Stable Diffusion 1.5's",
    changed(KEYS, (tensor) => [shaped(tensor, [3, 768])]),
    /E_CONTROL .*ControlNet for Stable Diffusion 1\.5/,
  ],
  [
    "a layer twice",
    (tensor) => [
      tensor,
      ...(tensor.name === `${QUERY}.up`
        ? [{ ...tensor, name: "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.up" }]
        : []),
    ],
    /E_CONTROL .*two of its tensors are "down_blocks\.1/,
  ],
];

test("what is none, or another model's, is refused by what is wrong with it; inspect tells its rank", async () => {
  const opened = async (tensors: readonly SafetensorsTensor[], model = deep) => {
    await using sources = new AsyncDisposableStack();
    const source = memorySource("odd.safetensors", encodeSafetensors(tensors));
    return await model.openControl({ kind: "file", path: "odd.safetensors", file: source }, { sources });
  };
  assert.equal((await opened(file)).over, "unet");
  for (const [what, change, words] of REFUSED) await assert.rejects(opened(file.flatMap(change)), words, what);
  const flat = await openSdxlFolder(pathOf("golden/flat"));
  await assert.rejects(opened(file, flat), /E_CONTROL .*one cell of 4 pixels, and .*flat of 16/);
  const told = await run("inspect", SKETCH);
  assert.match(told, /this is a Control-LoRA: changes of 99 layers, rank 3 \(give it with --control\)/);
});
