/** @file The demo model as single files: one picture to the byte from folder, file and store; parts from elsewhere; what is refused. */
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { decodePng } from "../../src/image/png.ts";
import type { OpenEngineOptions } from "../../src/node.ts";
import { encodeSafetensors, type SafetensorsTensor } from "../safetensors-writer.ts";
import { sameBytes } from "../support/same.ts";
import { demoTensors, originalDemo, small, widened } from "../support/single-file.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));
const JOB = { prompt: "a lake at dawn", seed: 3, steps: 1, width: 64, height: 64 };
const JUNK = [
  small("model_ema.decay", [0.99]),
  small("conditioner.embedders.0.transformer.text_model.embeddings.position_ids", [0, 1, 2]),
  small("cond_stage_model.logit_scale", [1]),
  small("conditioner.embedders.1.model.logit_scale", [1]),
  small("alphas_cumprod", [0.5]),
  small("betas", [0.5]),
  small("denoiser.sigmas", [0.5]),
];

let folder: string;
let expected: Uint8Array;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "solvay-single-"));
  expected = (await picture({ model: DEMO })).pixels;
});
after(() => rm(folder, { recursive: true, force: true }));

async function written(name: string, tensors: readonly SafetensorsTensor[]): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, encodeSafetensors(tensors));
  return path;
}

/** Of the PNG, whose record names the model. */
async function picture(options: OpenEngineOptions): Promise<{ pixels: Uint8Array; notes: string[] }> {
  const notes: string[] = [];
  await using engine = await openThreadlessEngine({
    backend: "cpu",
    ...options,
    onEvent: (event) => void (event.type === "note" && notes.push(event.text)),
  });
  for await (const event of engine.generate(JOB)) {
    if (event.type === "image") return { pixels: (await decodePng(Uint8Array.from(event.bytes))).pixels, notes };
  }
  throw new Error("no image");
}

test("original layout, fused and transposed, in fp16 and in fp32, with what training leaves: the folder's picture", async () => {
  const tensors = originalDemo();
  const half = await written("half.safetensors", [...JUNK, ...tensors]);
  const full = await written("full.safetensors", widened(tensors));
  for (const model of [half, full]) {
    for (const vram of ["4G", "240M"]) {
      const { pixels, notes } = await picture({ model, config: DEMO, budgets: { vram, ram: "1G" } });
      sameBytes(pixels, expected, `${model} ${vram}`);
      assert.deepEqual(notes, []);
    }
  }
});

test("UNets under other prefixes, and diffusers' own names in one file", async () => {
  const tensors = originalDemo();
  const renamed = (change: (name: string) => string) => tensors.map((one) => ({ ...one, name: change(one.name) }));
  const folders = ["unet", "vae", "text_encoder", "text_encoder_2"];
  const files = {
    short: renamed((name) => name.replace(/^model\.diffusion_model\./, "diffusion_model.")),
    bare: renamed((name) => name.replace(/^model\.diffusion_model\./, "")),
    diffusers: folders.flatMap((of) =>
      [...demoTensors(of).values()].map((one) => ({ ...one, name: `${of}.${one.name}` })),
    ),
  };
  for (const [name, list] of Object.entries(files)) {
    const model = await written(`${name}.safetensors`, list);
    sameBytes((await picture({ model, config: DEMO })).pixels, expected, name);
  }
});

test("a file without VAE or text encoders takes them from the base model, and says so", async () => {
  const unet = originalDemo().filter(({ name }) => name.startsWith("model.diffusion_model."));
  const model = await written("unet.safetensors", unet);
  const { pixels, notes } = await picture({ model, base: DEMO });
  sameBytes(pixels, expected, "with a base");
  assert.deepEqual(
    notes,
    ["first text encoder", "second text encoder", "VAE"].map(
      (part) => `the file has no ${part}; that of ${DEMO} is used`,
    ),
  );
  await assert.rejects(picture({ model, config: DEMO }), {
    code: "E_MISSING",
    message:
      /unet\.safetensors: it has no first text encoder, and the base model stabilityai.* is not here\. Next: fetch/,
  });
  const noVae = await written(
    "no-vae.safetensors",
    originalDemo().filter(({ name }) => !name.startsWith("first_stage_model.")),
  );
  await assert.rejects(picture({ model: noVae, config: DEMO }), { message: /it has no VAE.*--vae/ });
});

test("another VAE: from a file in either layout, from its folder, from a model's folder", async () => {
  const tensors = originalDemo();
  const noVae = await written(
    "for-vae.safetensors",
    tensors.filter(({ name }) => !name.startsWith("first_stage_model.")),
  );
  const original = tensors.filter(({ name }) => name.startsWith("first_stage_model."));
  const bare = original.map((one) => ({ ...one, name: one.name.replace("first_stage_model.", "") }));
  const places = [
    await written("vae-prefixed.safetensors", original),
    await written("vae-bare.safetensors", bare),
    await written("vae-diffusers.safetensors", [...demoTensors("vae").values()]),
    join(DEMO, "vae"),
    DEMO,
  ];
  const config = join(folder, "config");
  await mkdir(config);
  await cp(DEMO, config, { recursive: true, filter: (from) => !from.endsWith(".safetensors") });
  for (const vae of places) sameBytes((await picture({ model: noVae, config, vae })).pixels, expected, vae);
  // Over a folder: a decoder whose last bias differs gives another picture.
  const brighter = [...demoTensors("vae").values()].map((one) =>
    one.name === "decoder.conv_out.bias" ? small(one.name, [0.5, 0.5, 0.5]) : one,
  );
  const vae = await written("brighter.safetensors", brighter);
  const { pixels } = await picture({ model: DEMO, vae });
  assert.ok(pixels.some((value, i) => value !== expected[i]));
  sameBytes((await picture({ model: noVae, config, vae })).pixels, pixels, "over file and folder");
});

test("imported, the same picture; the store needs neither file nor config", async () => {
  const half = await written("imported.safetensors", [...JUNK, ...originalDemo()]);
  const store = join(folder, "store");
  const fake = fakeContext({ cwd: folder });
  assert.equal(
    await runCli(["import", half, "--config", DEMO, "--store", store, "--json"], fake.context),
    0,
    fake.err(),
  );
  const { id } = JSON.parse(fake.out().trim().split("\n").at(-1)!) as { id: string };
  await rm(half);
  sameBytes((await picture({ model: `store:${id}`, store })).pixels, expected, "stored");
});

test("what has no place is refused, each time with what to do", async () => {
  const tensors = originalDemo();
  const file = await written("whole.safetensors", tensors);
  const refused = async (name: string, list: readonly SafetensorsTensor[], error: object) => {
    const model = await written(name, list);
    await assert.rejects(picture({ model, config: DEMO }), error);
  };
  await assert.rejects(picture({ model: file }), {
    code: "E_CONFIG",
    message: /not as wide as SDXL base's.*--config DIR/s,
  });
  await assert.rejects(picture({ model: DEMO, config: DEMO }), {
    code: "E_USAGE",
    message: /--config is for a model in a single file/,
  });
  const [first, second] = tensors.filter(({ shape }) => shape.length === 4) as [SafetensorsTensor, SafetensorsTensor];
  const swapped = tensors.map((one) => {
    if (one === first) return { ...second, name: first.name };
    return one === second ? { ...first, name: second.name } : one;
  });
  await refused("swapped.safetensors", swapped, { code: "E_SCHEMA", message: /shape \[.*\] expected \[/ });
  await refused(
    "missing.safetensors",
    tensors.filter((one) => one !== first),
    { code: "E_SCHEMA", message: /1 tensors are missing/ },
  );
  const both = [...tensors, ...[...demoTensors("unet").values()].map((one) => ({ ...one, name: `unet.${one.name}` }))];
  await refused("both.safetensors", both, { code: "E_DUP_KEY", message: /are both "/ });
  const fused = tensors.find(({ name }) => name.endsWith("in_proj_bias"))!;
  const cut = { ...fused, shape: [fused.shape[0]! - 1], bytes: fused.bytes.subarray(2) };
  await refused(
    "cut.safetensors",
    tensors.map((one) => (one === fused ? cut : one)),
    { code: "E_SCHEMA" },
  );
});
