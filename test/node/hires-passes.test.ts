/** @file Second passes with prompts and LoRAs of their own: each pass draws as a job that has them throughout, in any budget, and goes on from any step. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { decodePng } from "../../src/image/png.ts";
import type { DrawnState, Engine, GenerateJob } from "../../src/node.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { drawer } from "../support/adapters.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { sameBytes } from "../support/same.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
/** kohya's names, of the model's shapes. */
const LAYERS = {
  lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q: [24, 24],
  lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k: [24, 20],
  lora_te2_text_model_encoder_layers_0_self_attn_q_proj: [12, 12],
} as const;
const cwd = mkdtempSync(path.join(tmpdir(), "solvay-passes-"));

/** Of rank 2, scale 1. */
function loraFile(seed: number): string {
  const draw = drawer(seed);
  const tensor = (name: string, shape: readonly number[]) => {
    const bytes = new Uint8Array(Float32Array.from(draw(shape, 0.5)).buffer);
    return { name, dtype: "f32" as const, shape, bytes };
  };
  const file = path.join(cwd, `lora${seed}.safetensors`);
  const tensors = Object.entries(LAYERS).flatMap(([name, [out, inputs]]) => [
    tensor(`${name}.lora_down.weight`, [2, inputs]),
    tensor(`${name}.lora_up.weight`, [out, 2]),
  ]);
  writeFileSync(file, encodeSafetensors(tensors));
  return file;
}

const [fur, fog] = [loraFile(1), loraFile(2)];
/** Steps of each pass: the second's strength leaves half of its own. */
const STEPS = 2;
const JOB = {
  ...{ prompt: "a lake", seed: 1, steps: STEPS, width: 16, height: 16, sampler: "euler-a" },
  ...{ hiresScale: 2, hiresSteps: 2 * STEPS, hiresStrength: 0.5 },
} satisfies GenerateJob;
const LONG = `${"a tall tower, ".repeat(20)}at night`;

let engine: Engine;
before(async () => {
  engine = await openThreadlessEngine({
    ...{ backend: "reference", model: MODEL, loraDir: cwd },
    budgets: { vram: "1G", ram: "1G" },
  });
});
after(() => engine[Symbol.asyncDispose]());

interface Drawn {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** After each step, from the first on. */
  readonly states: readonly DrawnState[];
}

async function drawn(job: GenerateJob, from?: DrawnState): Promise<Drawn> {
  const states: DrawnState[] = [];
  let planned = { deviceBytes: 0, ramBytes: 0 };
  for await (const told of engine.generateMany([{ job, states: true, ...(from && { from }) }])) {
    if ("failure" in told) throw told.failure;
    const { event } = told;
    if (event.type === "plan") planned = event.plan.peak;
    if (event.type === "step" && event.state) states.push(event.state);
    if (event.type !== "image") continue;
    assert.ok(event.peakDeviceBytes <= planned.deviceBytes && event.peakRamBytes <= planned.ramBytes, "as planned");
    return { bytes: new Uint8Array(event.bytes), states };
  }
  throw new Error("no image");
}

const pixelsOf = async ({ bytes }: Drawn) => (await decodePng(bytes)).pixels;

const A1111 = { promptSyntax: "a1111" } as const;
/** A job, and the one that has in both passes what its second has. */
const CASES: readonly (readonly [what: string, job: Partial<GenerateJob>, throughout: Partial<GenerateJob>])[] = [
  ["a LoRA of its own", { hiresLoras: [{ file: fur, weight: 0.8 }] }, { loras: [{ file: fur, weight: 0.8 }] }],
  [
    "another LoRA, and the first's with another weight",
    { loras: [{ file: fog }], hiresLoras: [{ file: fur }, { file: fog, weight: 0.3 }] },
    { loras: [{ file: fur }, { file: fog, weight: 0.3 }] },
  ],
  ["no LoRA after one", { loras: [{ file: fog }], hiresLoras: [] }, {}],
  [
    "longer prompts",
    { ...A1111, hiresPrompt: LONG, hiresNegativePrompt: "dark" },
    { ...A1111, prompt: LONG, negativePrompt: "dark" },
  ],
  [
    "a prompt of two parts, with a LoRA",
    { ...A1111, prompt: "a<lora:lora2:1>", hiresPrompt: "a mill AND fog :0.5<lora:lora1:0.5>" },
    { ...A1111, prompt: "a mill AND fog :0.5<lora:lora1:0.5>" },
  ],
  // Steps count on, as A1111's do: [a:b:0.5] has changed before it, [a:b:1.5] and [a:b:3] change after its first.
  ["what has changed before it", { ...A1111, prompt: "[a:b:0.5]" }, { ...A1111, prompt: "b" }],
  ["what changes in its midst", { ...A1111, prompt: "[a:b:1.5]" }, { ...A1111, prompt: "[c:[a:b:3]:2]" }],
];

for (const [what, own, throughout] of CASES) {
  test(`${what}: the pass is that of a job that has it throughout, in any budget, from any step`, async () => {
    const job = { ...JOB, ...own };
    await engine.setBudgets({ vram: "1G" });
    const whole = await drawn(job);
    const first = whole.states[STEPS - 1]!;
    const other = { ...JOB, ...throughout };
    sameBytes(await pixelsOf(whole), await pixelsOf(await drawn(other, first)), "the second pass");
    // The first pass is another one.
    assert.notDeepEqual(await pixelsOf(await drawn(other)), await pixelsOf(whole));
    sameBytes((await drawn(job, whole.states[STEPS]!)).bytes, whole.bytes, "from its midst");
    const { peak } = await engine.plan(job);
    await engine.setBudgets({ vram: `${peak.deviceBytes - 1}` });
    sameBytes((await drawn(job)).bytes, whole.bytes, "in a smaller budget");
  });
}

test("told in the picture as A1111 does, and made again", async () => {
  const run = async (...line: string[]) => {
    const fake = fakeContext({ cwd });
    const rc = await runCli(line, { ...fake.context, openEngine: openThreadlessEngine });
    assert.equal(rc, 0, fake.err());
    return fake.err();
  };
  const small = ["--model", MODEL, "--backend", "reference", "--width", "16", "--height", "16", "--steps", "2"];
  const second = ["--hires-scale", "2", "--hires-prompt", "a mill, wide", "--hires-negative", "fog", "--hires-lora"];
  await run("generate", "a", ...small, "--seed", "1", ...second, `${fur}:0.5`, "--output", "a.png");
  const texts = await writtenTexts(readFileSync(path.join(cwd, "a.png")));
  const infotext = texts.find(({ keyword }) => keyword === "parameters")!.text;
  assert.match(infotext, /, Hires prompt: "a mill, wide", Hires negative prompt: fog.*, Hires upscale: 2\.0, /);
  assert.ok(infotext.includes(`, Hires LoRAs: "${fur}:0.5", `) && infotext.includes("Lora hashes: "), infotext);
  assert.match(await run("again", "a.png", "--model", MODEL), /The same file, byte for byte\.\n$/);
  const alone = ["generate", "a", ...small, "--hires-prompt", "b"];
  const fake = fakeContext({ cwd });
  assert.equal(await runCli(alone, { ...fake.context, openEngine: openThreadlessEngine }), 2);
  assert.match(fake.err(), /E_JOB hiresPrompt: there is no second pass\. Next: give hiresScale/);
});
