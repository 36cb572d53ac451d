/** @file A1111's requests as jobs: settings, the refiner, scripts read as data; what says nothing is listed, what would be another picture refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { webUiRequest } from "../../src/server/http/a1111/request.ts";
import { options, type Served } from "../../src/server/http/a1111/settings.ts";

const SERVED: Served = {
  ...{ model: "mill", models: ["mill", "lake"] },
  ...{ vae: "soft.safetensors", refiner: "fine" },
};
const PLAIN: Served = { model: "mill", models: ["mill"], vae: undefined, refiner: undefined };

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

test("scripts are read as data: units of ControlNet by what they ask for, what is switched off by its name", () => {
  const unit = { module: "canny", model: "diffusers_xl_canny [112a778d]", weight: 1, image: "iVBORw0KGgo" };
  const controlNet = (args: unknown) => ({ alwayson_scripts: { ControlNet: { args } } });
  refused(controlNet([unit]), /"ControlNet" \("diffusers_xl_canny \[112a778d\]" by "canny"\) is not here/);
  refused(controlNet([{ ...unit, enabled: false }, unit]), /"ControlNet" \("diffusers_xl_canny/);
  refused(controlNet({ "0": unit }), /is not here/);
  refused(controlNet(["unit"]), /a unit of ControlNet must be an object/);
  refused(controlNet("x"), /the args of "ControlNet" must be a list/);
  const off = [{ ...unit, enabled: false }, null, { model: "None", module: "none" }];
  assert.deepEqual(asked(controlNet(off)).ignored, ["alwayson_scripts.ControlNet"]);
  assert.deepEqual(asked(controlNet([])).ignored, []);
  refused({ alwayson_scripts: { ADetailer: { args: [true, true, { ad_model: "face_yolov8n.pt" }] } } }, /"ADetailer"/);
  refused({ script_name: "SD upscale" }, /^E_REQUEST script_name/);
});

test("what says nothing to us is listed by name, what says nothing at all isn't", () => {
  const neutral = {
    ...{ hr_checkpoint_name: "Use same checkpoint", hr_sampler_name: "Use same sampler", hr_prompt: "", styles: [] },
    ...{ hr_scheduler: "Use same scheduler", restore_faces: false, seed_resize_from_w: -1, tiling: null, eta: 0 },
  };
  assert.deepEqual(asked(neutral).ignored, []);
  const named = { tiling: true, restore_faces: true, hr_prompt: "sharp", s_churn: 0.2, url: "http://x", styles: ["a"] };
  assert.deepEqual(asked(named).ignored, Object.keys(named));
});
