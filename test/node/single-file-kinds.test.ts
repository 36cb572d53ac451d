/** @file Kinds of single files: 8-bit weights, what a file says of its training, and what is no SDXL at all. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { fp8ToNumber } from "../../src/checkpoint/fp8.ts";
import { runCli } from "../../src/cli/program.ts";
import { decodePng } from "../../src/image/png.ts";
import type { OpenEngineOptions } from "../../src/node.ts";
import { f16ToNumber, numberToF16 } from "../../src/tensor/dtype.ts";
import { encodeSafetensors, type SafetensorsTensor } from "../safetensors-writer.ts";
import { sameBytes } from "../support/same.ts";
import { demoTensors, originalDemo, small } from "../support/single-file.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "solvay-kinds-"));
});
after(() => rm(folder, { recursive: true, force: true }));

async function written(
  name: string,
  tensors: readonly SafetensorsTensor[],
  metadata?: Readonly<Record<string, string>>,
) {
  const path = join(folder, name);
  await writeFile(path, encodeSafetensors(tensors, metadata));
  return path;
}

async function pixels(options: OpenEngineOptions, size = { width: 64, height: 64 }): Promise<Uint8Array> {
  await using engine = await openThreadlessEngine({ backend: "cpu", ...options });
  for await (const event of engine.generate({ prompt: "a lake at dawn", seed: 3, steps: 1, ...size })) {
    if (event.type === "image") return (await decodePng(Uint8Array.from(event.bytes))).pixels;
  }
  throw new Error("no image");
}

/** The byte of float8_e4m3fn that is nearest to a value. */
function nearestE4m3(): (value: number) => number {
  const values = Array.from({ length: 256 }, (_, byte) => [fp8ToNumber("F8_E4M3", byte), byte] as const)
    .filter(([value]) => Number.isFinite(value))
    .sort(([a], [b]) => a - b);
  return (value) => {
    let [low, high] = [0, values.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (values[middle]![0] <= value) low = middle;
      else high = middle;
    }
    return value - values[low]![0] <= values[high]![0] - value ? values[low]![1] : values[high]![1];
  };
}

/** A file whose header says F8_E4M3 where the writer was told i8: it knows no 8-bit floats. */
async function eightBit(name: string, tensors: readonly SafetensorsTensor[]): Promise<string> {
  const bytes = Buffer.from(encodeSafetensors(tensors));
  const headerBytes = Number(bytes.readBigUInt64LE());
  const json = bytes
    .toString("utf8", 8, 8 + headerBytes)
    .trimEnd()
    .replaceAll('"dtype":"I8"', '"dtype":"F8_E4M3"');
  const header = Buffer.from(json);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const path = join(folder, name);
  await writeFile(path, Buffer.concat([length, header, bytes.subarray(8 + headerBytes)]));
  return path;
}

test("8-bit weights, plain and scaled, draw what their values draw as wider weights, from the store as well", async () => {
  const nearest = nearestE4m3();
  const isMatrix = ({ name, shape }: SafetensorsTensor) =>
    shape.length === 2 && name.startsWith("model.diffusion_model.");
  const scale = Math.fround(0.013);
  const kinds = { plain: 1, scaled: scale };
  for (const [kind, factor] of Object.entries(kinds)) {
    // By an fp16 number's bits, and by a code: the model has millions of numbers. So each takes map(), not from(), which is slower.
    const codeOf = Uint8Array.from({ length: 2 ** 16 }, (_, bits) => nearest(f16ToNumber(bits) / factor));
    const numberOf = Float32Array.from({ length: 256 }, (_, code) =>
      Math.fround(fp8ToNumber("F8_E4M3", code) * factor),
    );
    const halfOf = Uint16Array.from(numberOf, numberToF16);
    const eights: SafetensorsTensor[] = [];
    const wides: SafetensorsTensor[] = [];
    for (const tensor of originalDemo()) {
      if (!isMatrix(tensor)) {
        eights.push(tensor);
        wides.push(tensor);
        continue;
      }
      const codes = new Uint8Array(new Uint16Array(tensor.bytes.slice().buffer).map((bits) => codeOf[bits]!));
      eights.push({ ...tensor, dtype: "i8", bytes: codes });
      if (kind === "scaled") {
        const bytes = new Uint8Array(Float32Array.of(scale).buffer);
        eights.push({ name: tensor.name.replace(/weight$/, "scale_weight"), dtype: "f32", shape: [], bytes });
        const values = new Float32Array(codes).map((code) => numberOf[code]!);
        wides.push({ ...tensor, dtype: "f32", bytes: new Uint8Array(values.buffer) });
      } else
        wides.push({ ...tensor, bytes: new Uint8Array(new Uint16Array(codes).map((code) => halfOf[code]!).buffer) });
    }
    if (kind === "scaled")
      eights.push({ name: "model.diffusion_model.scaled_fp8", dtype: "i8", shape: [2], bytes: new Uint8Array(2) });
    const model = await eightBit(`${kind}.safetensors`, eights);
    const expected = await pixels({ model: await written(`${kind}-wide.safetensors`, wides), config: DEMO });
    sameBytes(await pixels({ model, config: DEMO }), expected, kind);
    if (kind === "scaled") {
      const budgets = { vram: "240M", ram: "1G" };
      sameBytes(await pixels({ model, config: DEMO, budgets }), expected, "streamed");
      continue;
    }
    const store = join(folder, "store");
    const fake = fakeContext({ cwd: folder });
    assert.equal(
      await runCli(["import", model, "--config", DEMO, "--store", store, "--json"], fake.context),
      0,
      fake.err(),
    );
    const { id } = JSON.parse(fake.out().trim().split("\n").at(-1)!) as { id: string };
    sameBytes(await pixels({ model: `store:${id}`, store }), expected, "stored");
  }
});

test("markers, metadata and --prediction say what a model predicts, as its scheduler_config.json would", async () => {
  const tensors = originalDemo();
  const epsilon = await pixels({ model: DEMO });
  const asked = await pixels({ model: DEMO, prediction: "v_prediction" });
  assert.ok(asked.some((value, i) => value !== epsilon[i]));
  const marked = await written("marked.safetensors", [...tensors, small("v_pred", [])]);
  const told = await written("told.safetensors", tensors, { "modelspec.prediction_type": "v" });
  for (const model of [marked, told]) sameBytes(await pixels({ model, config: DEMO }), asked, model);
  sameBytes(await pixels({ model: marked, config: DEMO, prediction: "epsilon" }), epsilon, "what is asked holds");
  const zero = await written("zero.safetensors", [...tensors, small("v_pred", []), small("ztsnr", [])]);
  const rescaled = await pixels({ model: zero, config: DEMO });
  assert.ok(rescaled.some((value, i) => value !== asked[i]));
});

test("markers of EDM training make the folder that diffusers makes of such a file, whatever VAE is lent to it", async () => {
  const tensors = originalDemo();
  const mean = [-1.5, 1.75, -1.25, 2.5];
  const std = [8.5, 6, 6.5, 5.25];
  const cases = [
    {
      markers: [small("edm_mean", mean, [1, 4, 1, 1]), small("edm_std", std, [1, 4, 1, 1])],
      scheduler: { _class_name: "EDMDPMSolverMultistepScheduler", prediction_type: "epsilon" },
      vae: { latents_mean: mean, latents_std: std, scaling_factor: 0.5 },
    },
    {
      markers: [small("edm_vpred.sigma_max", [120], []), small("edm_vpred.sigma_min", [0.125], [])],
      scheduler: {
        _class_name: "EDMEulerScheduler",
        prediction_type: "v_prediction",
        sigma_min: 0.125,
        sigma_max: 120,
        sigma_data: 1,
        sigma_schedule: "exponential",
      },
      vae: {},
    },
  ];
  for (const [i, { markers, scheduler, vae }] of cases.entries()) {
    const model = join(folder, `edm-${i}`);
    await cp(DEMO, model, { recursive: true });
    await writeFile(join(model, "scheduler/scheduler_config.json"), JSON.stringify(scheduler));
    for (const [file, fields] of [
      ["vae/config.json", vae],
      ["model_index.json", { scheduler: ["diffusers", scheduler._class_name] }],
    ] as const) {
      const text = await readFile(join(model, file), "utf8");
      await writeFile(join(model, file), JSON.stringify({ ...JSON.parse(text), ...fields }));
    }
    const size = { width: 64, height: 64 };
    const expected = await pixels({ model }, size);
    const file = await written(`edm-${i}.safetensors`, [...tensors, ...markers]);
    sameBytes(await pixels({ model: file, config: DEMO }, size), expected);
    if (i === 0) sameBytes(await pixels({ model, vae: join(DEMO, "vae") }, size), expected);
  }
});

test("other training, other models, and networks by themselves are refused by what they are", async () => {
  const tensors = originalDemo();
  const named = (...names: string[]) => names.map((name) => small(name, [1]));
  const wide = (name: string, ...shape: number[]) =>
    small(name, new Array<number>(shape.reduce((a, b) => a * b)).fill(0), shape);
  const cases: readonly (readonly [readonly SafetensorsTensor[], RegExp])[] = [
    [
      [...tensors, small("edm_vpred.sigma_max", [Number.NaN])],
      /E_PREDICTION .*edm_vpred\.sigma_max doesn't hold numbers/,
    ],
    [
      [...tensors, small("edm_vpred.sigma_max", [0.001])],
      /E_SCHEDULER .*sigma_min 0\.002 is not below sigma_max 0\.001/,
    ],
    [[...tensors, ...named("edm_mean")], /E_PREDICTION .*has only one/],
    [[...tensors, ...named("edm_mean", "edm_std")], /latents_mean.*4 numbers/],
    [
      [wide("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 1, 768)],
      /Stable Diffusion 1 UNet/,
    ],
    [
      [wide("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 1, 1024)],
      /Stable Diffusion 2 UNet/,
    ],
    [[wide("input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", 1, 1280)], /an SDXL refiner's UNet/],
    [[wide("model.diffusion_model.input_blocks.0.0.weight", 1, 8, 1, 1)], /an InstructPix2Pix UNet/],
    [named("time_embedding.cond_proj.weight", "conv_in.weight"), /an LCM with its guidance built in/],
    [[...demoTensors("vae").values()], /a VAE by itself: give it with --vae/],
    [[...demoTensors("text_encoder").values()], /a text encoder by itself/],
    [named("something"), /a file without a UNet/],
    [[...tensors, ...named("model.diffusion_model.x.lora_down.weight")], /a LoRA or another adapter/],
  ];
  for (const [i, [list, words]] of cases.entries()) {
    const model = await written(`refused-${i}.safetensors`, list);
    await assert.rejects(pixels({ model, config: DEMO }), { message: words });
  }
});

test("inspect says what a file holds; verify holds it against SDXL; pack takes its UNet", async () => {
  const model = await written("whole.safetensors", [...originalDemo(), small("v_pred", []), small("betas", [1])]);
  const inspect = fakeContext({ cwd: folder });
  assert.equal(await runCli(["inspect", model], inspect.context), 0);
  assert.match(
    inspect.out(),
    /text_encoder: 52 tensors \(52 f16\)\ntext_encoder_2: 41 tensors \(41 f16\)\nvae: 184 tensors \(184 f16\)\nunet: 620 tensors \(620 f16\)\npassed over: 1 tensors .*\ntrained as: v_pred\n/,
  );
  const verify = fakeContext({ cwd: folder });
  assert.equal(await runCli(["verify", model], verify.context), 3);
  assert.match(verify.out(), /an SDXL's unet is not as wide as SDXL base's/);
  const pack = fakeContext({ cwd: folder });
  assert.equal(await runCli(["pack", model, "-o", "unet.lzr2"], pack.context), 0, pack.err());
  const packed = fakeContext({ cwd: folder });
  assert.equal(await runCli(["verify", "unet.lzr2", "--model", DEMO], packed.context), 0, packed.out());
});
