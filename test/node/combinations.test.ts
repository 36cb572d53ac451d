/**
 * @file What users put together, drawn at random: ControlNets of all kinds, LoRAs of two passes, an IP-Adapter, a second pass, pictures to begin with, masks, a part, a refiner.
 * Each picture is the same to the byte with all the memory and with the least, made from what it says of itself, and from any step on.
 */
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { ControlUse } from "../../src/job/control-use.ts";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import type { IpAdapterUse } from "../../src/job/ip-adapter-use.ts";
import type { GenerateJob } from "../../src/job/job.ts";
import type { LoraUse } from "../../src/job/lora-use.ts";
import { settingsOfSolvayJson } from "../../src/job/solvay-record.ts";
import type { Engine } from "../../src/node.ts";
import type { SamplerState } from "../../src/sampler/sampler.ts";
import { encodeSafetensors, type SafetensorsTensor } from "../safetensors-writer.ts";
import { drawer } from "../support/adapters.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { sameBytes } from "../support/same.ts";
import { seededRandom } from "../support/seed.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

const pathOf = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const pictureOf = (name: string) => pathOf(`from-pictures/${name}.png`);

const random = seededRandom();
const pick = <Item>(...items: readonly Item[]): Item => items[Math.floor(random() * items.length)]!;
/** `fields`, or nothing. */
const maybe = <Fields extends object>(share: number, fields: () => Fields) => (random() < share ? fields() : {});
const some = <Item>(most: number, make: () => Item) => Array.from({ length: Math.floor(random() * (most + 1)) }, make);

const numbers = drawer(9);
function f32(name: string, ...shape: readonly number[]): SafetensorsTensor {
  return { name, dtype: "f32", shape, bytes: new Uint8Array(Float32Array.from(numbers(shape, 0.3)).buffer) };
}

/** A LoRA of low rank, full differences and norms, of layers that Control-LoRAs change as well, and of a text encoder. */
const MOSS = path.join(mkdtempSync(path.join(tmpdir(), "solvay-combinations-")), "moss.safetensors");
const QUERY = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj";
const MOSS_TENSORS = [
  ...[f32("unet.mid_block.resnets.0.conv1.lora_A.weight", 2, 36, 3, 3)],
  ...[f32("unet.mid_block.resnets.0.conv1.lora_B.weight", 36, 2, 1, 1)],
  ...[f32("unet.conv_in.lora_A.weight", 2, 4, 3, 3), f32("unet.conv_in.lora_B.weight", 12, 2, 1, 1)],
  f32("lora_unet_mid_block_resnets_1_conv2.diff", 36, 36, 3, 3),
  f32("lora_unet_mid_block_resnets_1_conv2.diff_b", 36),
  ...[
    f32("lora_unet_down_blocks_1_resnets_0_norm1.diff", 12),
    f32("lora_unet_down_blocks_1_resnets_0_norm1.diff_b", 12),
  ],
  ...[f32(`${QUERY}.lora_down.weight`, 2, 24), f32(`${QUERY}.lora_up.weight`, 24, 2)],
];

const NETS = ["sketch.safetensors", "edges", "lines.safetensors", "light.safetensors", "union", "features"];

/** `begins`: with a picture, which controls look at where they have none. `twice`: the job has a second pass. */
function control(begins: boolean, twice: boolean): ControlUse {
  const net = pick(...NETS);
  return {
    file: pathOf(`controls/${net}`),
    ...maybe(begins ? 0.6 : 1, () => ({ image: pictureOf(pick("init", "soft")) })),
    ...maybe(0.5, () => ({ weight: pick(0.3, 0.75, 1.5) })),
    ...maybe(0.3, () => ({ start: pick(0.1, 0.3) })),
    ...maybe(0.3, () => ({ end: pick(0.5, 0.8) })),
    ...maybe(net === "features" ? 0 : 0.25, () => ({ guess: true })),
    ...maybe(net === "union" ? 1 : 0, () => ({ mode: pick("depth", "canny", "7") })),
    ...maybe(twice ? 0.4 : 0, () => ({ pass: pick("first", "second") })),
    ...maybe(0.2, () => ({ preprocess: pick("canny", "invert", "grey", "threshold", "tile") })),
  };
}

function lora(): LoraUse {
  return {
    file: pick(pathOf("controls/fur.safetensors"), MOSS),
    ...maybe(0.7, () => ({ weight: pick(0.5, 0.8, -0.4) })),
    ...maybe(0.4, () => ({ from: 0.3 })),
    ...maybe(0.3, () => ({ to: 0.7 })),
  };
}

function imagePrompt(): IpAdapterUse {
  const images = ["soft", ...some(1, () => "init")].map(pictureOf);
  return {
    file: pathOf(`image-prompts/${pick("base.safetensors", "plus.bin")}`),
    encoder: pathOf("image-prompts/image_encoder"),
    images,
    ...maybe(0.5, () => ({ masks: images.map(() => pictureOf("mask")) })),
    ...maybe(0.5, () => ({ weight: 0.6 })),
    ...maybe(0.3, () => ({ end: 0.5 })),
  };
}

function drawnJob(refines: boolean): GenerateJob {
  const begins = random() < 0.4;
  const twice = !begins && random() < 0.5;
  const controls = [control(begins, twice), ...some(1, () => control(begins, twice))];
  // A T2I-Adapter's sides are multiples of 16.
  const wide = controls.some(({ file }) => file.endsWith("features"));
  return {
    ...{ prompt: "a mill", seed: Math.floor(random() * 1e6), steps: refines ? 6 : pick(2, 3), guidance: pick(1, 3) },
    ...{ width: pick(16, 32), height: pick(16, 32) },
    controls,
    ...maybe(0.5, () => ({ negativePrompt: "fog" })),
    ...maybe(0.5, () => ({ sampler: pick("dpmpp-2m", "euler-a", "heun", "ddim", "lcm", "dpmpp-sde") })),
    ...maybe(0.2, () => ({ promptSyntax: "a1111" as const, prompt: "a (mill:1.2) [fog:rain:0.5] AND a lake" })),
    ...maybe(begins ? 1 : 0, () => ({ initImage: pictureOf("init"), strength: refines ? 0.9 : pick(0.7, 0.9) })),
    ...maybe(begins ? 0.5 : 0, () =>
      pick<Partial<GenerateJob>>({ maskImage: pictureOf("mask"), maskBlur: pick(1, 4) }, { detail: "20,20,30,20" }),
    ),
    ...maybe(0.6, () => ({ loras: [lora(), ...some(1, lora)] })),
    ...maybe(twice ? 1 : 0, () => ({
      hiresScale: wide ? 2 : pick(1.5, 2),
      hiresStrength: refines ? 1 : pick(0.5, 1),
      hiresSteps: refines ? 6 : 2,
    })),
    ...maybe(twice ? 0.5 : 0, () => ({ hiresUpscaler: "lanczos" })),
    ...maybe(twice ? 0.5 : 0, () => ({ hiresLoras: some(2, lora) })),
    ...maybe(0.35, () => ({ ipAdapters: [imagePrompt(), ...some(1, imagePrompt)] })),
    ...maybe(refines ? 1 : 0, () => ({ refinerStart: 0.5 })),
    ...maybe(0.2, () => ({ subseed: 5, subseedStrength: 0.3 })),
  };
}

async function drawn(engine: Engine, job: GenerateJob, from?: SamplerState) {
  const states: SamplerState[] = [];
  let planned = 0;
  for await (const event of engine.generate(job, { states: true, ...(from && { from }) })) {
    if (event.type === "plan") planned = event.plan.peak.deviceBytes;
    if (event.type === "step") states.push(event.state!);
    if (event.type !== "image") continue;
    assert.ok(event.peakDeviceBytes <= planned, `${event.peakDeviceBytes} of ${planned} bytes`);
    return { png: new Uint8Array(event.bytes), states };
  }
  throw new Error("the job ended without a picture");
}

const pixels = (png: Uint8Array) => Buffer.from(png).subarray(Buffer.from(png).indexOf("IDAT")).toString("base64");

/** What refuses the job says how much it needs; its text is rounded. */
async function leastBytes(engine: Engine, job: GenerateJob): Promise<number> {
  await engine.setBudgets({ vram: "1K" });
  const told = await drawn(engine, job).then(
    () => "",
    (error: Error) => error.message,
  );
  const [, count, unit] = /needs ([\d.]+) ([KM])iB at least/.exec(told) ?? [];
  assert.ok(count, told);
  return Math.ceil(Number(count) * (unit === "K" ? 2 ** 10 : 2 ** 20) * 1.06);
}

async function requireSameHoweverDrawn(engine: Engine, job: GenerateJob): Promise<void> {
  await engine.setBudgets({ vram: "1G" });
  const { png, states } = await drawn(engine, job);
  const texts = new Map((await writtenTexts(Buffer.from(png))).map(({ keyword, text }) => [keyword, text]));
  const record = settingsOfSolvayJson(texts.get("solvay")!)!.job as GenerateJob;
  for (const [name, value] of Object.entries(job)) assert.deepEqual(record[name as keyof GenerateJob], value, name);
  await engine.setBudgets({ vram: String(await leastBytes(engine, record)) });
  const last = states.length > 1 ? states[Math.floor(random() * (states.length - 1))] : undefined;
  sameBytes((await drawn(engine, record, last)).png, png);
  if (searched(true, false)) return;
  sameBytes((await drawn(engine, record)).png, png);
  // A1111's words have no schedule of the model's own, and pictures to begin with are not in them.
  const { schedule: _, ...told } = settingsOfInfotext(texts.get("parameters")!)!.job;
  const { initImage, maskImage } = job;
  const shown = { ...told, ...(initImage && { initImage }), ...(maskImage && { maskImage }) };
  assert.equal(pixels((await drawn(engine, shown as GenerateJob)).png), pixels(png));
}

for (const refines of searched([false], [false, true])) {
  test(`together${refines ? ", with a refiner" : ""}: the same picture in any budget, from its record and from any step`, async () => {
    writeFileSync(MOSS, encodeSafetensors(MOSS_TENSORS));
    const refiner = refines ? { refiner: pathOf("from-pictures/refiner") } : {};
    await using engine = await openThreadlessEngine({ model: pathOf("golden/deep"), backend: "reference", ...refiner });
    for (let i = 0; i < searched(1, refines ? 15 : 40); i++) {
      const job = drawnJob(refines);
      await requireSameHoweverDrawn(engine, job).catch((error: Error) => {
        throw new Error(`${JSON.stringify(job)}: ${error.message}`, { cause: error });
      });
    }
  });
}
