/** @file What suits models of the kinds that their names tell: all of it is a job's, by names that the job's table knows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkJob } from "../../src/job/schema.ts";
import { modelAdvice } from "../../src/server/http/api/model-advice.ts";

test("a model's name tells how it wants to be sampled", () => {
  const found = (name: string) => {
    const { kind, advice } = modelAdvice(name);
    // Nothing that a job would refuse.
    checkJob({ prompt: "", ...advice });
    return [kind, advice.steps, advice.guidance, advice.guidanceRescale];
  };
  assert.deepEqual(found("/models/sd_xl_turbo_1.0_fp16.safetensors"), ["Turbo", 4, 1, undefined]);
  assert.deepEqual(found("DreamShaperXL_Turbo_v2_1.safetensors"), ["Turbo", 6, 2, undefined]);
  assert.deepEqual(found("juggernautXL_v9Rdphoto2Lightning.safetensors"), ["Lightning", 6, 1.5, undefined]);
  assert.deepEqual(found("C:\\models\\sdxl_lightning_8step.safetensors"), ["Lightning", 8, 1, undefined]);
  assert.deepEqual(found("noobaiXLNAIXL_vPred10Version.safetensors"), ["v-prediction", undefined, 5, 0.7]);
  assert.deepEqual(modelAdvice("stabilityai/stable-diffusion-xl-base-1.0"), { advice: {} });
});
