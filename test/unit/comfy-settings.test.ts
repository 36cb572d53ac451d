/** @file Graphs of ComfyUI, as its pictures hold them, read as settings: its default workflow and the ways in which people write others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { settingsOfComfy } from "../../src/job/comfy-settings.ts";

type Node = { class_type: string; inputs: Record<string, unknown> };
const node = (class_type: string, inputs: Record<string, unknown>): Node => ({ class_type, inputs });
const read = (graph: Record<string, Node>) => settingsOfComfy(JSON.stringify(graph))!;

/** ComfyUI's default workflow, for SDXL. */
const BASE: Readonly<Record<string, Node>> = {
  3: node("KSampler", {
    ...{ seed: 156680208700286, steps: 20, cfg: 8, sampler_name: "euler", scheduler: "normal", denoise: 1 },
    ...{ model: ["4", 0], positive: ["6", 0], negative: ["7", 0], latent_image: ["5", 0] },
  }),
  4: node("CheckpointLoaderSimple", { ckpt_name: "sd_xl_base_1.0.safetensors" }),
  5: node("EmptyLatentImage", { width: 1024, height: 768, batch_size: 1 }),
  6: node("CLIPTextEncode", { text: "beautiful scenery, bottle", clip: ["4", 1] }),
  7: node("CLIPTextEncode", { text: "text, watermark", clip: ["4", 1] }),
  8: node("VAEDecode", { samples: ["3", 0], vae: ["4", 2] }),
  9: node("SaveImage", { filename_prefix: "ComfyUI", images: ["8", 0] }),
};
const JOB = {
  ...{ prompt: "beautiful scenery, bottle", negativePrompt: "text, watermark", seed: 156680208700286, steps: 20 },
  ...{ guidance: 8, width: 1024, height: 768 },
};
const fieldsOf = (job: object) => Object.fromEntries(Object.entries(job).filter(([name]) => name in JOB));

test("the default workflow, and the same as a picture's whole text", () => {
  const { job, notes, tool, facts } = read(BASE);
  assert.deepEqual(fieldsOf(job), JOB);
  assert.deepEqual([notes, tool, facts.model], [[], "ComfyUI", "sd_xl_base_1.0.safetensors"]);
  assert.deepEqual(settingsOfComfy(JSON.stringify({ prompt: BASE, workflow: { nodes: [] } }))!.job, job);
});

test("a seed of 64 bits is read to its last digit, and NaN as Python writes it", () => {
  const text = JSON.stringify(BASE)
    .replace("156680208700286", "18446744073709551615")
    .replace('"ckpt_name"', '"is_changed":[NaN],"ckpt_name"');
  assert.equal(settingsOfComfy(text)!.job.seed, "18446744073709551615");
});

test("a second pass is told, and the first one read", () => {
  const { job, notes } = read({
    ...BASE,
    8: node("VAEDecode", { samples: ["11", 0], vae: ["4", 2] }),
    10: node("LatentUpscale", { samples: ["3", 0], width: 1536, height: 1152 }),
    11: node("KSampler", {
      ...{ seed: 1, steps: 14, cfg: 8, sampler_name: "euler", scheduler: "simple", denoise: 0.5 },
      ...{ model: ["4", 0], positive: ["6", 0], negative: ["7", 0], latent_image: ["10", 0] },
    }),
  });
  assert.deepEqual(fieldsOf(job), JOB);
  assert.ok(
    notes.some((note) => /second pass \(KSampler 11\)/.test(note)),
    `${notes}`,
  );
  assert.ok(
    notes.some((note) => /LatentUpscale 10/.test(note)),
    `${notes}`,
  );
});

test("sampling taken apart: SamplerCustomAdvanced with its noise, levels, guider and sampler", () => {
  const parts = {
    ...BASE,
    3: node("SamplerCustomAdvanced", {
      ...{ noise: ["20", 0], guider: ["21", 0], sampler: ["22", 0], sigmas: ["23", 0], latent_image: ["5", 0] },
    }),
    20: node("RandomNoise", { noise_seed: 156680208700286 }),
    21: node("CFGGuider", { cfg: 8, model: ["4", 0], positive: ["6", 0], negative: ["7", 0] }),
    22: node("KSamplerSelect", { sampler_name: "euler" }),
    23: node("BasicScheduler", { scheduler: "normal", steps: 20, denoise: 1, model: ["4", 0] }),
  };
  const { job, notes, facts } = read(parts);
  assert.deepEqual(fieldsOf(job), JOB);
  assert.deepEqual([notes, facts.model], [[], "sd_xl_base_1.0.safetensors"]);
  const basic = read({ ...parts, 21: node("BasicGuider", { model: ["4", 0], conditioning: ["6", 0] }) });
  assert.equal(basic.job.guidance, 1);
  assert.equal(basic.job.prompt, JOB.prompt);
  const custom = {
    ...BASE,
    3: node("SamplerCustom", {
      ...{ add_noise: true, noise_seed: 5, cfg: 8, model: ["4", 0], positive: ["6", 0], negative: ["7", 0] },
      ...{ sampler: ["22", 0], sigmas: ["24", 0], latent_image: ["5", 0] },
    }),
    22: parts[22],
    24: node("KarrasScheduler", { steps: 20, sigma_max: 14.6, sigma_min: 0.03, rho: 7 }),
  };
  assert.deepEqual(fieldsOf(read(custom).job), { ...JOB, seed: 5 });
  assert.ok(read(custom).notes.some((note) => /KarrasScheduler 24/.test(note)));
});

test("values typed in other nodes, LoRAs, a control net between, prompts of SDXL's encoder", () => {
  const sampler = BASE[3]!.inputs;
  const { job, notes } = read({
    ...BASE,
    3: node("KSamplerAdvanced", {
      ...sampler,
      ...{
        seed: undefined,
        noise_seed: ["30", 0],
        steps: ["31", 0],
        model: ["33", 0],
        positive: ["35", 0],
        negative: ["35", 1],
      },
    }),
    6: node("CLIPTextEncodeSDXL", { text_g: ["32", 0], text_l: ["32", 0], width: 1024, height: 768, clip: ["33", 1] }),
    30: node("Seed (rgthree)", { seed: 7 }),
    31: node("Reroute", { "": ["36", 0], value: ["36", 0] }),
    32: node("String Literal", { string: "beautiful scenery, bottle" }),
    33: node("LoraLoader", { lora_name: "fur.safetensors", strength_model: 0.7, model: ["4", 0], clip: ["4", 1] }),
    34: node("ControlNetLoader", { control_net_name: "canny" }),
    35: node("ControlNetApplyAdvanced", {
      positive: ["6", 0],
      negative: ["7", 0],
      control_net: ["34", 0],
      strength: 1,
    }),
    36: node("INTConstant", { value: 20 }),
  });
  assert.deepEqual(fieldsOf(job), { ...JOB, seed: 7 });
  assert.deepEqual(job.loras, [{ file: "fur.safetensors", unet: 0.7, te: 0 }]);
  for (const wanted of [/ControlNetApplyAdvanced 35/]) {
    assert.ok(
      notes.some((note) => wanted.test(note)),
      `${wanted} in ${notes}`,
    );
  }
});

test("a picture from a picture, a batch, two saved pictures: told", () => {
  const notesOf = (change: Record<string, Node>) => read({ ...BASE, ...change }).notes.join("; ");
  const from = { 5: node("VAEEncode", { pixels: ["40", 0] }), 40: node("LoadImage", { image: "a.png" }) };
  assert.match(notesOf(from), /begins from another picture/);
  assert.match(notesOf({ 5: node("EmptyLatentImage", { width: 512, height: 512, batch_size: 4 }) }), /batch of 4/);
  assert.match(notesOf({ 10: node("SaveImage", { images: ["8", 0] }) }), /several pictures/);
  assert.match(notesOf({ 3: node("KSampler", { ...BASE[3]!.inputs, denoise: 0.5 }) }), /denoise: 0.5/);
});

test("graphs that lead in circles, nowhere, or are of wrong types: notes, no end of work", () => {
  const circle = read({
    1: node("SaveImage", { images: ["2", 0] }),
    2: node("VAEDecode", { samples: ["3", 0] }),
    3: node("KSampler", {
      seed: ["3", 0],
      steps: "x",
      cfg: [],
      positive: ["4", 0],
      latent_image: ["3", 0],
      model: ["3", 0],
    }),
    4: node("ConditioningCombine", { conditioning_1: ["4", 0], conditioning_2: ["99", 0] }),
  });
  assert.deepEqual(circle.job, {});
  assert.ok(circle.notes.length > 0);
  assert.equal(settingsOfComfy("[1]"), undefined);
  assert.equal(settingsOfComfy('{"a":{"class_type":5,"inputs":{}}}'), undefined);
  // All nodes of each of many layers lead to all of the next.
  const layers = 60;
  const graph: Record<string, Node> = { s: node("SaveImage", { images: ["0-0", 0] }) };
  for (let layer = 0; layer < layers; layer++) {
    for (let i = 0; i < 20; i++) {
      const inputs = Object.fromEntries(Array.from({ length: 20 }, (_, j) => [`in${j}`, [`${layer + 1}-${j}`, 0]]));
      graph[`${layer}-${i}`] = node("Mix", inputs);
    }
  }
  assert.match(read(graph).notes.join(), /no sampler/);
});

test("of three samplers one after the other the one that begins is read, the others are told", () => {
  const pass = (from: string, steps: number) =>
    node("KSampler", { ...BASE[3]!.inputs, steps, latent_image: [from, 0] });
  const graph = { ...BASE, 50: pass("3", 11), 51: pass("50", 12), 8: node("VAEDecode", { samples: ["51", 0] }) };
  const { job, notes } = read(graph);
  assert.deepEqual(fieldsOf(job), JOB);
  for (const id of [50, 51])
    assert.ok(
      notes.some((note) => note.includes(`KSampler ${id}`)),
      `${id}: ${notes}`,
    );
});

test("LoRAs in the order in which the model passes them, each with both of its strengths", () => {
  const lora = (name: string, from: string, unet: number, te: number) =>
    node("LoraLoader", { lora_name: name, strength_model: unet, strength_clip: te, model: [from, 0], clip: [from, 1] });
  const { job, notes } = read({
    ...BASE,
    3: node("KSampler", { ...BASE[3]!.inputs, model: ["62", 0] }),
    60: lora("a", "4", 0.1, 1),
    61: lora("b", "60", 0.2, 2),
    62: lora("c", "61", -0.3, 0),
  });
  assert.deepEqual(job.loras, [
    { file: "a", unet: 0.1, te: 1 },
    { file: "b", unet: 0.2, te: 2 },
    { file: "c", unet: -0.3, te: 0 },
  ]);
  assert.deepEqual(notes, []);
});

test("CLIP's last layer: -2, SDXL's own, skips none, -3 one more; and a sampler that begins in the middle is told", () => {
  for (const [layer, skip] of [
    [-2, 0],
    [-3, 1],
    [-4, 2],
  ] as const) {
    const set = node("CLIPSetLastLayer", { stop_at_clip_layer: layer, clip: ["4", 1] });
    const text = node("CLIPTextEncode", { text: "beautiful scenery, bottle", clip: ["70", 0] });
    const { job, notes } = read({ ...BASE, 6: text, 70: set });
    assert.deepEqual([job.clipSkip, notes], [skip, []], String(layer));
  }
  for (const [start, told] of [
    [0, false],
    [1, true],
    [5, true],
  ] as const) {
    const { notes } = read({ ...BASE, 3: node("KSamplerAdvanced", { ...BASE[3]!.inputs, start_at_step: start }) });
    assert.equal(
      notes.some((note) => note.includes(`start_at_step: ${start}`)),
      told,
      notes.join(),
    );
  }
});
