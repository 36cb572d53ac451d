/** @file Each field of a request of A1111's, in the job's field that it stands for; and the `info` of the answer, in which clients look for what was drawn. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodePng } from "../../src/image/png.ts";
import { webUiAnswer } from "../../src/server/http/a1111/info.ts";
import { webUiRequest } from "../../src/server/http/a1111/request.ts";
import type { Served } from "../../src/server/http/a1111/settings.ts";

const SERVED: Served = {
  ...{ model: "mill", models: ["mill"], vae: undefined, refiner: undefined },
  ...{ hasControls: true, hasAdapters: true, upscalers: [] },
};
const PNG = "iVBORw0KGgo=";
const URL_OF_PNG = `data:image/png;base64,${PNG}`;
/** What a request comes to that says nothing but its prompt. */
const LEFT_OUT = { prompt: "x", promptSyntax: "a1111", steps: 50, guidance: 7, sampler: "euler" };

const ask = (body: object, fromPicture = false) => webUiRequest({ prompt: "x", ...body }, fromPicture, SERVED);
const jobOf = (body: object, fromPicture = false) => ({ ...ask(body, fromPicture).job });

test("each setting of txt2img has its field of the job, and A1111's own value where it is left out", () => {
  assert.deepEqual(jobOf({}), LEFT_OUT);
  const settings: readonly (readonly [object, object])[] = [
    [{ prompt: "a (lake:1.2)" }, { prompt: "a (lake:1.2)" }],
    [{ negative_prompt: "fog" }, { negativePrompt: "fog" }],
    [{ negative_prompt: "" }, {}],
    [{ seed: 7 }, { seed: 7 }],
    [
      { subseed: 9, subseed_strength: 0.25 },
      { subseed: 9, subseedStrength: 0.25 },
    ],
    [{ steps: 12 }, { steps: 12 }],
    [{ steps: null }, {}],
    [{ cfg_scale: 4.5 }, { guidance: 4.5 }],
    [
      { width: 128, height: 64 },
      { width: 128, height: 64 },
    ],
    [{ sampler_name: "Euler a" }, { sampler: "euler-a" }],
    [{ sampler_name: "Euler a", sampler_index: "Heun" }, { sampler: "euler-a" }],
    [{ sampler_name: "", sampler_index: "Heun" }, { sampler: "heun" }],
    [{ scheduler: "Karras" }, { schedule: "karras" }],
    [{ scheduler: "Automatic" }, {}],
    [{ scheduler: "automatic" }, {}],
    [{ clip_skip: 3 }, { clipSkip: 1 }],
    [{ clip_skip: 2 }, {}],
    [{ clip_skip: 3, override_settings: { CLIP_stop_at_last_layers: 5 } }, { clipSkip: 3 }],
    [{ override_settings: { samples_format: "jpg" } }, { format: "jpeg" }],
    // Of a second pass and of a picture to begin with, where there is none.
    [{ hr_scale: 3, hr_second_pass_steps: 5, hr_prompt: "y", denoising_strength: 0.3 }, {}],
    [{ init_images: [PNG], mask: PNG, mask_blur: 9, denoising_strength: 0.3 }, {}],
  ];
  for (const [body, job] of settings) assert.deepEqual(jobOf(body), { ...LEFT_OUT, ...job }, JSON.stringify(body));
});

test("a second pass has its own steps, prompts and strength, and a scale that its size in pixels comes before", () => {
  const size = { width: 64, height: 128 };
  const standing = { ...LEFT_OUT, ...size, hiresScale: 2, hiresStrength: 0.75, hiresUpscaler: "latent" };
  const passes: readonly (readonly [object, object])[] = [
    [{}, {}],
    [{ hr_scale: 1.5 }, { hiresScale: 1.5 }],
    [{ denoising_strength: 0.3 }, { hiresStrength: 0.3 }],
    [{ hr_second_pass_steps: 5 }, { hiresSteps: 5 }],
    [{ hr_second_pass_steps: 0, hr_steps: 6 }, { hiresSteps: 6 }],
    [{ hr_second_pass_steps: 5, hr_steps: 6 }, { hiresSteps: 5 }],
    [{ hr_upscaler: "Lanczos" }, { hiresUpscaler: "lanczos" }],
    [{ hr_upscaler: "Latent (nearest)" }, { hiresUpscaler: "latent-nearest" }],
    [
      { hr_prompt: "sharp", hr_negative_prompt: "dull" },
      { hiresPrompt: "sharp", hiresNegativePrompt: "dull" },
    ],
    // Pixels of the second picture: 96 / 64, and where the width says nothing 384 / 128.
    [{ hr_resize_x: 96, hr_resize_y: 384 }, { hiresScale: 1.5 }],
    [{ hr_resize_x: 0, hr_resize_y: 384 }, { hiresScale: 3 }],
    [{ hr_resize_x: 0, hr_resize_y: 0, hr_scale: 3 }, { hiresScale: 3 }],
  ];
  for (const [body, job] of passes) {
    assert.deepEqual(jobOf({ enable_hr: true, ...size, ...body }), { ...standing, ...job }, JSON.stringify(body));
  }
  // A picture to begin with has no second pass in A1111's img2img.
  const begun = { ...LEFT_OUT, initImage: URL_OF_PNG, strength: 0.75 };
  assert.deepEqual(jobOf({ enable_hr: true, hr_scale: 2, init_images: [PNG] }, true), begun);
});

test("img2img: the picture, how much of it is drawn anew, and where; the mask's other way is told apart", () => {
  const begun = { ...LEFT_OUT, initImage: URL_OF_PNG, strength: 0.75 };
  const mask = { maskImage: URL_OF_PNG, maskBlur: 4 };
  const pictures: readonly (readonly [object, object])[] = [
    [{}, {}],
    [{ mask: null, mask_blur: 9 }, {}],
    [{ mask: "", mask_blur: 9 }, {}],
    [{ denoising_strength: 0.3 }, { strength: 0.3 }],
    [{ mask: PNG }, mask],
    [
      { mask: URL_OF_PNG, mask_blur: 0, denoising_strength: 1 },
      { ...mask, maskBlur: 0, strength: 1 },
    ],
    // Base64 with line breaks, as many programs write it.
    [{ init_images: [`${PNG.slice(0, 11)}\r\n${PNG.slice(11)}`] }, {}],
    [{ init_images: ["/9j/AAAA"] }, { initImage: "data:image/jpeg;base64,/9j/AAAA" }],
    [{ init_images: ["UklGRAAA"] }, { initImage: "data:image/webp;base64,UklGRAAA" }],
  ];
  for (const [body, job] of pictures) {
    const asked = { init_images: [PNG], ...body };
    assert.deepEqual(jobOf(asked, true), { ...begun, ...job }, JSON.stringify(body));
  }
  for (const [given, isInverted] of [
    [undefined, false],
    [0, false],
    [1, true],
    [true, true],
  ] as const) {
    const body = { init_images: [PNG], mask: PNG, inpainting_mask_invert: given };
    assert.equal(ask(body, true).invertMask, isInverted, String(given));
    assert.equal(ask(body).invertMask, false);
  }
  for (const init_images of [undefined, [], "x"])
    assert.throws(() => ask({ init_images }, true), { subject: "init_images" });
  assert.throws(() => ask({ init_images: [PNG, PNG] }, true), { subject: "init_images", message: /one picture/ });
});

test("what would be drawn otherwise by A1111 is named, what is so anyway isn't", () => {
  const { OURS, others } = {
    OURS: { inpainting_fill: 1, resize_mode: 0, inpaint_full_res: false, inpaint_full_res_padding: 0 },
    others: { inpainting_fill: 2, resize_mode: 1, inpaint_full_res: true, inpaint_full_res_padding: 32 },
  };
  assert.deepEqual(ask({ init_images: [PNG], ...OURS }, true).ignored, []);
  assert.deepEqual(ask({ init_images: [PNG], ...others }, true).ignored, Object.keys(others));
  assert.deepEqual(ask({ inpainting_fill: 1 }).ignored, ["inpainting_fill"]);
  const anyway = { save_images: true, do_not_save_grid: true, force_task_id: "t", comments: { a: 1 }, styles: [] };
  assert.deepEqual(ask(anyway).ignored, []);
  assert.deepEqual(ask({ hr_sampler_name: "Heun", firstphase_width: 64 }).ignored, [
    "hr_sampler_name",
    "firstphase_width",
  ]);
});

test("so many pictures as batches of a size, 8 in one and 16 in all; sent along unless that is not wanted", () => {
  const counts: readonly (readonly [object, number])[] = [
    [{}, 1],
    [{ batch_size: 3 }, 3],
    [{ n_iter: 3 }, 3],
    [{ batch_size: 2, n_iter: 3 }, 6],
    [{ batch_size: 8, n_iter: 2 }, 16],
    [{ n_iter: 16 }, 16],
  ];
  for (const [body, count] of counts) assert.equal(ask(body).count, count, JSON.stringify(body));
  for (const body of [{ batch_size: 9 }, { n_iter: 17 }, { batch_size: 0 }, { n_iter: 1.5 }, { batch_size: "2" }]) {
    assert.throws(() => ask(body), { code: "E_REQUEST", subject: Object.keys(body)[0] });
  }
  assert.throws(() => ask({ batch_size: 8, n_iter: 3 }), { subject: "n_iter", message: /24 pictures/ });
  const sent = [undefined, null, true, false].map((send_images) => ask({ send_images }).sendImages);
  assert.deepEqual(sent, [true, true, true, false]);
});

test("a unit of ControlNet: each of its settings by name and by number, old ones included", () => {
  const unit = { model: "edges [0123abcd]", image: PNG };
  const standing = { file: "edges", image: URL_OF_PNG, fit: "crop" };
  const units: readonly (readonly [object, object])[] = [
    [{}, {}],
    // Only the beginning of a hash at the end is none of the name.
    [{ model: "edges [0123abcd] b" }, { file: "edges [0123abcd] b" }],
    [{ image: undefined, input_image: PNG }, {}],
    [{ weight: 0 }, { weight: 0 }],
    [{ guidance_start: 0.25 }, { start: 0.25 }],
    [{ guidance_start: 0, guidance_end: 0.5 }, { end: 0.5 }],
    [{ weight: null, guidance_start: null, guidance_end: null }, {}],
    [{ guessmode: true }, { guess: true }],
    [{ control_mode: "ControlNet is more important" }, { guess: true }],
    [{ control_mode: 0 }, {}],
    [{ hr_option: "Low res only" }, { pass: "first" }],
    [{ hr_option: 1 }, { pass: "first" }],
    [{ hr_option: "High res only" }, { pass: "second" }],
    [{ hr_option: 2 }, { pass: "second" }],
    [{ hr_option: "Both" }, {}],
    ...Object.entries({
      ...{ OpenPose: "openpose", Depth: "depth", "Soft Edge": "softedge", "Hard Edge": "canny" },
      ...{ "Normal Map": "normal", Segmentation: "segment", Tile: "tile", Inpaint: "inpaint" },
    }).map(([name, mode]) => [{ union_control_type: name }, { mode }] as const),
    ...Object.entries({
      ...{ canny: "canny", threshold: "threshold", tile_resample: "tile", invert: "invert" },
      ...{ "invert (from white bg & black line)": "invert", recolor_luminance: "grey" },
    }).map(([module, preprocess]) => [{ module }, { preprocess }] as const),
    [
      { module: "canny", threshold_a: 30, threshold_b: 90 },
      { preprocess: "canny", low: 30, high: 90 },
    ],
    [
      { module: "threshold", threshold_a: 30, threshold_b: 90 },
      { preprocess: "threshold", low: 30 },
    ],
    [{ module: "tile_resample", threshold_a: 1, threshold_b: 1 }, { preprocess: "tile" }],
    [{ threshold_a: 30, threshold_b: 90 }, {}],
  ];
  for (const [more, control] of units) {
    const { controls } = ask({ alwayson_scripts: { ControlNet: { args: [{ ...unit, ...more }] } } }).job;
    assert.deepEqual(controls, [{ ...standing, ...control }], JSON.stringify(more));
  }
  const masked = [{ mask: PNG }, { effective_region_mask: PNG }, { image: { image: PNG, mask: PNG } }];
  for (const more of masked) {
    for (const module of ["none", "ip-adapter-auto"]) {
      if (module !== "none" && "effective_region_mask" in more) continue;
      const args = [{ ...unit, module, ...more }];
      assert.throws(
        () => ask({ alwayson_scripts: { ControlNet: { args } } }),
        { message: /mask/ },
        JSON.stringify(more),
      );
    }
  }
});

test("another script is refused whatever its args say, unless each is off", () => {
  const asked = (args: unknown) => ask({ alwayson_scripts: { Refine: { args } } });
  for (const args of [[true], [{ enabled: true }], [{}], [false, { strength: 1 }], { "0": 5 }, ["on"]]) {
    assert.throws(() => asked(args), { subject: "alwayson_scripts" }, JSON.stringify(args));
  }
  for (const args of [[{ enabled: false }], [false, null, ""], { "0": 0 }]) {
    assert.deepEqual(asked(args).ignored, ["alwayson_scripts.Refine"], JSON.stringify(args));
  }
});

test("the info of an answer tells of the pictures that were drawn, each with its own seed, and of what was not done", async () => {
  const infotext = (seed: number) =>
    `a mill\nNegative prompt: fog\nSteps: 3, Sampler: Euler a, CFG scale: 4, Seed: ${seed}, Size: 16x8, Model hash: 11, Model: mill, VAE hash: 22, VAE: soft, Denoising strength: 0.5, Clip skip: 3, Hires upscale: 2, Version: v`;
  const records: object[] = [];
  const files = new Map<string, object>();
  for (const seed of [5, 6]) {
    const text = [{ keyword: "parameters", text: infotext(seed) }];
    const bytes = await encodePng({ width: 16, height: 8, rgb: new Uint8Array(384).fill(seed), text });
    files.set(`${seed}`, { asset: { width: 16, height: 8 }, bytes });
    const job = { prompt: `a mill ${seed}`, negativePrompt: `fog ${seed}`, seed, subseed: seed + 10 };
    records.push({ asset: `${seed}`, job, createdAt: "2026-11-26T14:05:09.123Z" });
  }
  const services = { assets: { read: async (sha256: string) => files.get(sha256) } };
  const body = { ...{ prompt: "a {mill}", negative_prompt: "fog", seed: -1, steps: 3, cfg_scale: 4, batch_size: 2 } };
  const more = { sampler_name: "Euler a", clip_skip: 3, subseed_strength: 0.5, width: 64, height: 64, tiling: true };
  const hires = { enable_hr: true, denoising_strength: 0.5 };
  const answered = async (given: object, jobs = records, fromPicture = false) => {
    const request = webUiRequest(given as Record<string, unknown>, fromPicture, SERVED);
    const answer = await webUiAnswer(services as never, jobs as never, given as never, request, "mill");
    return {
      images: answer.images as string[],
      parameters: answer.parameters,
      info: JSON.parse(String(answer.info)) as Record<string, unknown>,
    };
  };
  const { images, parameters, info } = await answered({ ...body, ...more, ...hires });
  assert.deepEqual(
    images.map((text) => Buffer.from(text, "base64").equals(Buffer.alloc(0))),
    [false, false],
  );
  assert.notEqual(images[0], images[1]);
  assert.deepEqual(parameters, { ...body, ...more, ...hires });
  const { version, ...told } = info;
  assert.match(String(version), /^Solvay /);
  assert.deepEqual(told, {
    ...{ prompt: "a {mill}", all_prompts: ["a mill 5", "a mill 6"] },
    ...{ negative_prompt: "fog", all_negative_prompts: ["fog 5", "fog 6"] },
    ...{ seed: 5, all_seeds: [5, 6], subseed: 15, all_subseeds: [15, 16], subseed_strength: 0.5 },
    ...{ width: 16, height: 8, sampler_name: "Euler a", cfg_scale: 4, steps: 3, batch_size: 2 },
    ...{ restore_faces: false, face_restoration_model: null },
    ...{ sd_model_name: "mill", sd_model_hash: "11", sd_vae_name: "soft", sd_vae_hash: "22" },
    ...{ seed_resize_from_w: -1, seed_resize_from_h: -1, denoising_strength: 0.5 },
    ...{ extra_generation_params: { "Hires upscale": "2" }, index_of_first_image: 0 },
    ...{ infotexts: [infotext(5), infotext(6)], styles: [], job_timestamp: "20261126140509", clip_skip: 3 },
    ...{ is_using_inpainting_conditioning: false, ignored: ["tiling"] },
  });
  const kept = await answered({ ...body, send_images: false });
  assert.deepEqual([kept.images, (kept.info.infotexts as string[]).length, kept.info.clip_skip], [[], 2, 1]);
  const begun = await answered({ ...body, init_images: [PNG], denoising_strength: 0.25 }, records, true);
  assert.equal(begun.info.denoising_strength, 0.25);
  // All of them were interrupted.
  const none = await answered({ ...body, seed: 3 }, []);
  assert.deepEqual([none.images, none.info.seed, none.info.all_seeds, none.info.infotexts], [[], -1, [], []]);
});
