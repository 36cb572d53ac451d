/** @file What is told of an adapter's file: kinds, ranks, families, trigger words, how it wants to be sampled; alphas in its metadata. */
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openAdapter } from "../../src/adapters/adapter.ts";
import { describeAdapter } from "../../src/adapters/description.ts";
import { followsAdvice, samplingAdvice } from "../../src/adapters/few-steps.ts";
import { runCli } from "../../src/cli/program.ts";
import { courseNamed } from "../../src/sampler/names.ts";
import { fakeContext } from "../node/fake-context.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { pairShapes, SDXL_NAMES, shapesFile } from "../support/adapter-file.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures/adapters", import.meta.url));
const KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k";

async function inspected(files: (folder: string) => void, ...line: string[]): Promise<string> {
  const cwd = mkdtempSync(join(tmpdir(), "solvay-adapters-"));
  files(cwd);
  const fake = fakeContext({ cwd });
  assert.equal(await runCli(["inspect", ...line], fake.context), 0, fake.err());
  return fake.out();
}

test("inspect: each kind by its name, layers and ranks", async () => {
  const expected = {
    lora: "this is an adapter: LoRA of 4 layers, rank 4",
    locon: "this is an adapter: LoRA of 4 layers, LoCon of 1 layer, rank 3",
    "dora-out": "this is an adapter: DoRA of 5 layers, rank 3",
    "loha-dora": "this is an adapter: DoRA (LoHa) of 5 layers, rank 3",
    lokr: "this is an adapter: LoKr of 5 layers, rank 2",
    "lokr-full": "this is an adapter: LoKr of 5 layers",
    glora: "this is an adapter: GLoRA of 5 layers, rank 3",
    "ia3-in": "this is an adapter: IA3 of 5 layers",
    boft: "this is an adapter: BOFT of 4 layers, rank 4",
    oft: "this is an adapter: OFT of 5 layers, rank 3 to 4",
    full: "this is an adapter: full difference of 5 layers",
    norm: "this is an adapter: norms of 1 layer",
    "peft-oft": "this is an adapter: OFT of 3 layers, rank 4",
  };
  for (const [name, line] of Object.entries(expected)) {
    const out = await inspected(
      (folder) => copyFileSync(join(FIXTURES, `${name}.safetensors`), join(folder, "a.safetensors")),
      "a.safetensors",
    );
    assert.deepEqual(out.split("\n").slice(-3, -2), [line], name);
  }
});

test("inspect: what it was made for, its words, and how it wants to be sampled", async () => {
  const captions = { "10_ohwx fox": { fox: 10, " fur": 4, snow: 4 }, "1_reg": { fox: 2, grass: 1, bad: "x" } };
  const metadata = {
    ss_tag_frequency: JSON.stringify(captions),
    ss_sd_model_name: "sd_xl_base_1.0.safetensors",
    "modelspec.trigger_phrase": "ohwx fox, in the snow",
    ss_trigger_words: "another",
    ss_long: "y".repeat(1000),
  };
  const tensors = [
    [`${KEY}.lora_down.weight`, [16, 2048]],
    [`${KEY}.lora_up.weight`, [640, 16]],
    ["lora_te1_x.lora_down.weight", [4, 768]],
  ] as const;
  const stored = tensors.map(([name, shape]) => ({
    name,
    dtype: "f16" as const,
    shape,
    bytes: new Uint8Array(2 * shape[0] * shape[1]),
  }));
  const write = (folder: string) =>
    writeFileSync(join(folder, "sdxl_lightning_8step_lora.safetensors"), encodeSafetensors(stored, metadata));
  const out = await inspected(write, "sdxl_lightning_8step_lora.safetensors");
  assert.deepEqual(out.split("\n").slice(-7, -2), [
    "this is an adapter for SDXL: LoRA of 2 layers, rank 4 to 16",
    "trained on: sd_xl_base_1.0.safetensors",
    "trigger words: ohwx fox, in the snow",
    "frequent in its captions: fox (12), fur (4), snow (4), grass (1)",
    "Lightning: it draws in few steps, with --sampler euler --schedule trailing --steps 8 --guidance 1",
  ]);
  assert.match(out, /^metadata ss_long: y{400} \.\.\. \(1000 characters\)$/m);
  const json = JSON.parse(await inspected(write, "sdxl_lightning_8step_lora.safetensors", "--json"));
  assert.deepEqual(json.adapter.kinds, { LoRA: 2 });
  assert.deepEqual([json.adapter.ranks, json.adapter.advice.steps], [[4, 16], 8]);
  assert.equal(json.metadata.ss_long.length, 1000);
});

test("files of other models, and models, are told apart", () => {
  const tensors = (root: string, width = 8) => [
    { name: `${root}.lora_down.weight`, shape: [4, width] },
    { name: `${root}.lora_up.weight`, shape: [8, 4] },
  ];
  const madeFor = (root: string, width?: number, metadata: [string, string][] = []) =>
    describeAdapter("x", tensors(root, width), new Map(metadata))?.madeFor;
  assert.equal(madeFor("lora_unet_double_blocks_0_img_attn_qkv"), "an adapter for Flux");
  assert.equal(madeFor(KEY, 768), "an adapter for Stable Diffusion 1.5");
  assert.equal(madeFor("lora_unet_x", 8, [["ss_base_model_version", "sdxl_base_v1-0"]]), "an adapter for SDXL");
  assert.equal(madeFor("lora_unet_x"), undefined);
  // What its tensors show counts before what it says, and the newer of two sayings before the older.
  const said = { "modelspec.architecture": "flux-1-dev/lora", ss_base_model_version: "sd_v1" };
  assert.equal(madeFor("lora_unet_x", 8, Object.entries(said)), "an adapter for Flux");
  assert.equal(madeFor(KEY, 1280, Object.entries(said)), "an adapter for SDXL's refiner");
  assert.equal(describeAdapter("x", [{ name: "conv_in.weight", shape: [4, 4, 3, 3] }], new Map()), undefined);
  for (const text of ["{", "[1]", '{"a":1}']) {
    assert.deepEqual(describeAdapter("x", tensors("y"), new Map([["ss_tag_frequency", text]]))?.tags, []);
  }
});

test("adapters for few steps are known by name, with samplers that there are", () => {
  const cases: readonly (readonly [string, readonly unknown[] | undefined])[] = [
    ["lcm-lora-sdxl.safetensors", ["LCM", "lcm", 4, 1]],
    ["LCM_SDXL.safetensors", ["LCM", "lcm", 4, 1]],
    ["sdxl_lightning_4step_lora.safetensors", ["Lightning", "euler", 4, 1]],
    ["Hyper-SDXL-8steps-lora.safetensors", ["Hyper-SD", "ddim", 8, 1]],
    ["Hyper-SDXL-1step-lora.safetensors", ["Hyper-SD", "tcd", 1, 1]],
    ["Hyper-SDXL-12steps-CFG-lora.safetensors", ["Hyper-SD", "ddim", 12, 5]],
    ["dmd2_sdxl_4step_lora_fp16.safetensors", ["DMD2", "lcm", 4, 1]],
    ["tcd-sdxl-lora", ["TCD", "tcd", 4, 1]],
    ["lightning storms.safetensors", undefined],
    ["calcmode.safetensors", undefined],
    ["hyperrealism.safetensors", undefined],
  ];
  for (const [name, expected] of cases) {
    const advice = samplingAdvice(name, new Map());
    assert.deepEqual(advice && [advice.title, advice.sampler, advice.steps, advice.guidanceScale], expected, name);
    if (advice) assert.equal(courseNamed(advice.sampler)?.sampler, advice.sampler);
  }
  const schedules = (name: string) => samplingAdvice(name, new Map())?.schedule;
  assert.deepEqual(["dmd2", "xl-lightning", "hyper-sdxl", "hyper-sdxl-cfg"].map(schedules), Array(4).fill("trailing"));
  assert.deepEqual(["lcm", "tcd", "hyper-sdxl-1step"].map(schedules), Array(3).fill(undefined));
  const dmd2 = samplingAdvice("x", new Map([["ss_output_name", "my dmd2 mix"]]))!;
  assert.equal(dmd2.title, "DMD2");
  const job = { sampler: "lcm", schedule: "trailing", steps: 4, guidance: 1 };
  assert.ok(followsAdvice(job, dmd2) && followsAdvice({ ...job, steps: 8, guidance: 2 }, dmd2));
  for (const other of [{ sampler: "euler" }, { schedule: "karras" }, { steps: 3 }, { steps: 30 }, { guidance: 5 }]) {
    assert.ok(!followsAdvice({ ...job, ...other }, dmd2), JSON.stringify(other));
  }
});

test("alphas in diffusers' metadata: the network's, a module's own, by the root of the rank", async () => {
  const module = "down_blocks.1.attentions.0.proj_in";
  const { down, up } = pairShapes([640, 640], 4);
  const scaleOf = async (settings: unknown, extra: [string, number[]][] = []) => {
    const shapes: [string, readonly number[]][] = [
      [`unet.${module}.lora_A.weight`, down],
      [`unet.${module}.lora_B.weight`, up],
    ];
    const metadata = { lora_adapter_metadata: typeof settings === "string" ? settings : JSON.stringify(settings) };
    const { adapter } = await openAdapter(shapesFile([...shapes, ...extra], metadata), SDXL_NAMES);
    const [change] = adapter.layers.get("unet")!.get(module)!;
    return change?.kind === "low-rank" && change.scale;
  };
  assert.equal(await scaleOf({ "unet.lora_alpha": 8, "unet.r": 4, "text_encoder.lora_alpha": 1 }), 2);
  assert.equal(await scaleOf({ "unet.lora_alpha": 8, "unet.use_rslora": true }), 4);
  assert.equal(await scaleOf({ "unet.lora_alpha": 8, "unet.alpha_pattern": { "attentions.0.proj_in": 2 } }), 0.5);
  assert.equal(await scaleOf({ "unet.lora_alpha": 8, "unet.alpha_pattern": { xproj_in: 2 } }), 2);
  // The end of a name begins behind a dot.
  assert.equal(await scaleOf({ "unet.lora_alpha": 8, "unet.alpha_pattern": { roj_in: 2 } }), 2);
  assert.equal(await scaleOf({ "text_encoder.lora_alpha": 8 }), 1);
  assert.equal(await scaleOf({ lora_alpha: 8 }), 2);
  // A tensor counts before the metadata; this one is 0, which stands for the rank.
  assert.equal(await scaleOf({ "unet.lora_alpha": 8 }, [[`unet.${module}.alpha`, []]]), 1);
  for (const bad of ["{", "[]", { "unet.lora_alpha": "8" }])
    await assert.rejects(scaleOf(bad), { code: "E_LORA_TENSOR" });
});
