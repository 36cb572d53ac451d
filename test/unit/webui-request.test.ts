/** @file A1111's requests as jobs: settings, the refiner, scripts read as data; what says nothing is listed, what would be another picture refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { webUiRequest } from "../../src/server/http/a1111/request.ts";
import { options, type Served } from "../../src/server/http/a1111/settings.ts";

const SERVED: Served = {
  ...{ model: "mill", models: ["mill", "lake"] },
  ...{ vae: "soft.safetensors", refiner: "fine", hasControls: true, hasAdapters: true, upscalers: ["4x-Sharp.pth"] },
};
const PLAIN: Served = {
  model: "mill",
  models: ["mill"],
  vae: undefined,
  refiner: undefined,
  hasControls: false,
  hasAdapters: false,
  upscalers: [],
};

const asked = (body: object, served = SERVED) => webUiRequest({ prompt: "x", ...body }, false, served);
const refused = (body: object, message: RegExp, served = SERVED) =>
  assert.throws(() => asked(body, served), { message }, JSON.stringify(body));

test("the refiner is asked for by its name, and where it takes over (E_MODEL where there is another or none)", () => {
  assert.equal(asked({ refiner_checkpoint: "fine", refiner_switch_at: 0.7 }).job.refinerStart, 0.7);
  assert.equal(asked({ refiner_checkpoint: "fine" }).job.refinerStart, undefined);
  assert.equal(asked({ refiner_checkpoint: "", refiner_switch_at: 0.7 }).job.refinerStart, 0.7);
  refused({ refiner_checkpoint: "None" }, /^E_REQUEST refiner_checkpoint: .*drawn by "fine"/);
  refused({ refiner_checkpoint: "other" }, /^E_MODEL refiner_checkpoint: Model not found .*allowed "fine"/);
  refused({ refiner_checkpoint: "fine" }, /^E_MODEL refiner_checkpoint/, PLAIN);
  const none = asked({ refiner_checkpoint: null, refiner_switch_at: 0.8 }, PLAIN);
  assert.deepEqual([none.job.refinerStart, none.ignored], [undefined, ["refiner_switch_at"]]);
});

test("settings that a request overrides are those of an allow-list, with what is served", () => {
  const settings = { sd_model_checkpoint: "mill", sd_vae: "soft.safetensors", CLIP_stop_at_last_layers: 3 };
  const { job, ignored } = asked({ override_settings: { ...settings, samples_format: "webp" } });
  assert.deepEqual([job.clipSkip, job.format, ignored], [1, "webp", []]);
  // SillyTavern for Forge, and what webuiapi sends for "the model's own".
  for (const settings of [{ forge_additional_modules: [] }, { sd_vae: "Automatic", CLIP_stop_at_last_layers: 0 }]) {
    assert.equal(asked({ override_settings: settings }).job.clipSkip, undefined);
  }
  assert.equal(asked({ override_settings: { sd_model_checkpoint: "lake" } }).model, "lake");
  assert.equal(asked({ override_settings: { sd_model_checkpoint: "" } }).model, undefined);
  refused({ override_settings: { sd_model_checkpoint: "lake" } }, /^E_MODEL .*allowed "mill"/, PLAIN);
  refused({ override_settings: { sd_model_checkpoint: "../mill" } }, /^E_MODEL sd_model_checkpoint: Model not found/);
  refused({ override_settings: { sd_vae: "/etc/passwd" } }, /^E_REQUEST sd_vae: .*allowed Automatic, soft/);
  refused({ override_settings: { forge_additional_modules: ["t5"] } }, /"forge_additional_modules" can't be changed/);
  refused({ override_settings: { __proto__: null, outdir_samples: "/etc" } }, /"outdir_samples" can't be changed/);
  refused({ override_settings: [1] }, /^E_REQUEST override_settings: an object is wanted/);
  assert.deepEqual([options(SERVED).sd_vae, options(PLAIN).sd_vae], ["soft.safetensors", "Automatic"]);
});

test("a second pass is enlarged by a network of the folder, named as A1111 lists it", () => {
  const hires = { enable_hr: true, hr_scale: 2, width: 64, height: 64 };
  for (const hr_upscaler of ["4x-Sharp", "4x-Sharp.pth"]) {
    assert.equal(asked({ ...hires, hr_upscaler }).job.hiresUpscaler, "4x-Sharp.pth");
  }
  assert.equal(asked({ ...hires, hr_upscaler: "Latent" }).job.hiresUpscaler, "latent");
  const second = asked({ ...hires, hr_prompt: "sharp", hr_negative_prompt: "dull" });
  assert.deepEqual([second.job.hiresPrompt, second.job.hiresNegativePrompt, second.ignored], ["sharp", "dull", []]);
  assert.equal("hiresPrompt" in asked({ ...hires, hr_prompt: "" }).job, false);
  refused({ ...hires, hr_upscaler: "constructor" }, /^E_REQUEST hr_upscaler: .*\(allowed Latent, .*, 4x-Sharp\)/);
  refused({ ...hires, hr_upscaler: "4x-Sharp" }, /^E_REQUEST hr_upscaler/, PLAIN);
});

test("units of ControlNet are a job's controls, with what says nothing to us by name", () => {
  const png = "iVBORw0KGgo=";
  const unit = { model: "diffusers_xl_canny [112a778d]", image: png };
  const controlNet = (...args: unknown[]) => ({ alwayson_scripts: { ControlNet: { args } } });
  const image = `data:image/png;base64,${png}`;
  // As webuiapi sends a unit, with its defaults.
  const whole = {
    ...{ ...unit, mask: null, module: "canny", weight: 0.8, resize_mode: "Resize and Fill", low_vram: false },
    ...{ processor_res: 512, threshold_a: 64, threshold_b: 64, guidance_start: 0.1, guidance_end: 0.9 },
    ...{ control_mode: 2, pixel_perfect: false, guessmode: null, hr_option: "High res only", enabled: true },
  };
  const { job, ignored } = asked(
    controlNet(whole, { ...unit, enabled: false }, null, { model: "None", module: "none" }),
  );
  assert.deepEqual(job.controls, [
    {
      file: "diffusers_xl_canny",
      image,
      weight: 0.8,
      start: 0.1,
      end: 0.9,
      guess: true,
      fit: "fill",
      pass: "second",
      preprocess: "canny",
    },
  ]);
  const start = "alwayson_scripts.ControlNet.";
  assert.deepEqual(ignored, [`${start}processor_res`]);
  // Forge's Union; a picture beside a mask that is none; without one it is the picture to begin with.
  const union = { model: "union", image: { image: png, mask: null }, union_control_type: "Soft Edge", module: "None" };
  assert.deepEqual(asked(controlNet(union)).job.controls, [{ file: "union", image, mode: "softedge", fit: "crop" }]);
  assert.deepEqual(asked(controlNet({ model: "union" })).job.controls, [{ file: "union", fit: "crop" }]);
  assert.deepEqual(asked({ alwayson_scripts: { controlnet: { args: { "0": union } } } }).job.controls?.length, 1);

  assert.deepEqual(asked(controlNet({ ...unit, enabled: false })).ignored, ["alwayson_scripts.ControlNet"]);
  assert.deepEqual([asked(controlNet()).ignored, asked(controlNet()).job.controls], [[], undefined]);
  refused(controlNet(unit), /started without a folder of ControlNets \(found "diffusers_xl_canny"\)/, PLAIN);
  refused(controlNet({ ...unit, module: "openpose_full" }), /module "openpose_full" is not here \(allowed none, canny/);
  refused(controlNet({ ...unit, control_mode: "My prompt is more important" }), /prompt is more important is not here/);
  const thresholds = { module: "canny", threshold_a: 30, threshold_b: -1 };
  assert.deepEqual(asked(controlNet({ ...unit, ...thresholds })).job.controls, [
    { file: "diffusers_xl_canny", image, fit: "crop", preprocess: "canny", low: 30 },
  ]);
  refused(controlNet({ ...unit, ...thresholds, threshold_b: 300 }), /threshold_b must be a number from 0 to 255/);
  refused(controlNet({ ...unit, mask: png }), /a unit's mask is not taken/);
  const fits = [0, "Just Resize", 1, "Scale to Fit (Inner Fit)", 2, "Envelope (Outer Fit)"].map(
    (mode) => asked(controlNet({ ...unit, resize_mode: mode })).job.controls?.[0]?.fit,
  );
  assert.deepEqual(fits, [undefined, undefined, "crop", "crop", "fill", "fill"]);
  refused(controlNet({ ...unit, resize_mode: "Tile" }), /resize_mode "tile" is not here \(allowed .*just resize/);
  refused(controlNet({ ...unit, weight: "1" }), /weight must be a number from 0 to 10/);
  refused(controlNet({ image: png, module: "canny" }), /names no model/);
  refused(controlNet({ ...unit, image: "http://127.0.0.1/a.png" }), /E_PICTURE controls.0.image/);
  refused(controlNet({ ...unit, model: "../x" }), /^E_JOB controls: .*by their names/);
  refused(controlNet("unit"), /a unit of ControlNet must be an object/);
  refused({ alwayson_scripts: { ControlNet: { args: "x" } } }, /the args of "ControlNet" must be a list/);
});

test("units of IP-Adapters are a job's ipAdapters, wherever the extension or Forge tells them by", () => {
  const image = "iVBORw0KGgo=";
  const units = (...args: unknown[]) => ({ alwayson_scripts: { ControlNet: { args } } });
  const unit = { module: "ip-adapter_clip_h", model: "ip-adapter-plus_sdxl_vit-h [f1f19f7d]", image };
  const url = `data:image/png;base64,${image}`;
  const { job, ignored } = asked(
    units(
      { ...unit, weight: 0.6, guidance_start: 0.1, guidance_end: 0.8, effective_region_mask: image, resize_mode: 1 },
      { module: "None", model: "ip-adapter_xl", image: { image, mask: null }, control_mode: "Balanced" },
      { module: "CLIP-ViT-H (IPAdapter)", model: "plus", input_image: image },
      { model: "edges", image },
    ),
  );
  assert.deepEqual(job.ipAdapters, [
    { file: "ip-adapter-plus_sdxl_vit-h", images: [url], masks: [url], weight: 0.6, start: 0.1, end: 0.8 },
    { file: "ip-adapter_xl", images: [url] },
    { file: "plus", images: [url] },
  ]);
  assert.deepEqual(
    [job.controls, ignored],
    [[{ file: "edges", image: url, fit: "crop" }], ["alwayson_scripts.ControlNet.resize_mode"]],
  );
  refused(units(unit), /started without a folder of IP-Adapters \(found "ip-adapter-plus_sdxl_vit-h"\)/, PLAIN);
  refused(units({ ...unit, module: "ip-adapter_face_id" }), /FaceID and the like read faces/);
  refused(units({ ...unit, module: "InsightFace+CLIP-H (IPAdapter)" }), /FaceID and the like read faces/);
  refused(units({ ...unit, model: "ip-adapter-faceid_sdxl" }), /FaceID and the like read faces/);
  refused(units({ ...unit, module: "ip-adapter_other" }), /module "ip-adapter_other" is not here/);
  refused(units({ ...unit, image: null }), /an IP-Adapter's unit has no image/);
  refused(units({ ...unit, model: "None" }), /an IP-Adapter's unit names no model/);
  refused(units({ ...unit, mask: image }), /is its effective_region_mask/);
  refused(units({ ...unit, control_mode: 2 }), /control_mode of an IP-Adapter/);
  refused(units({ ...unit, model: "../x" }), /^E_JOB ipAdapters: .*by their names/);
});

test("other scripts are refused where they would do something, and listed where they are switched off", () => {
  assert.deepEqual(asked({ alwayson_scripts: { ADetailer: { args: [false] } } }).ignored, [
    "alwayson_scripts.ADetailer",
  ]);
  refused({ alwayson_scripts: { ADetailer: { args: [true, true, { ad_model: "face_yolov8n.pt" }] } } }, /"ADetailer"/);
  refused({ script_name: "SD upscale" }, /^E_REQUEST script_name/);
});

test("what says nothing to us is listed by name, what says nothing at all isn't", () => {
  const neutral = {
    ...{ hr_checkpoint_name: "Use same checkpoint", hr_sampler_name: "Use same sampler", hr_prompt: "", styles: [] },
    ...{ hr_scheduler: "Use same scheduler", restore_faces: false, seed_resize_from_w: -1, tiling: null, eta: 0 },
  };
  assert.deepEqual(asked(neutral).ignored, []);
  const named = {
    tiling: true,
    restore_faces: true,
    hr_checkpoint_name: "b",
    s_churn: 0.2,
    url: "http://x",
    styles: ["a"],
  };
  assert.deepEqual(asked(named).ignored, Object.keys(named));
});
