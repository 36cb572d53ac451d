/** @file Samplers and schedules of InvokeAI, Fooocus, NovelAI, SwarmUI and Draw Things, by the names that they write into pictures. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { settingsOfJson } from "../../src/job/json-settings.ts";

const FOOOCUS = { base_model: "m", prompt: "x", guidance_scale: 4 };
const NOVELAI = { uc: "", prompt: "x", scale: 5 };
const SWARM = { prompt: "x", cfgscale: 7, model: "m" };
const DRAW_THINGS = { c: "x", uc: "", scale: 4 };

for (const [written, sampler, schedule] of [
  [{ positive_prompt: "x", cfg_scale: 7, scheduler: "dpmpp_2m_sde_k" }, "dpmpp-2m-sde karras", undefined],
  [{ positive_prompt: "x", cfg_scale: 7, scheduler: "euler_a" }, "euler-a", undefined],
  [{ ...FOOOCUS, sampler: "dpmpp_2m_sde_gpu", scheduler: "karras" }, "dpmpp-2m-sde", "karras"],
  [{ ...NOVELAI, sampler: "k_euler_ancestral", noise_schedule: "native" }, "euler-a", undefined],
  [{ ...NOVELAI, sampler: "k_dpmpp_2m", noise_schedule: "exponential" }, "dpmpp-2m", "exponential"],
  [{ ...SWARM, sampler: "dpmpp_3m_sde_gpu", scheduler: "sgm_uniform" }, "dpmpp-3m-sde", "sgm-uniform"],
  [{ ...DRAW_THINGS, sampler: "DPM++ 2M Karras" }, "dpmpp-2m karras", undefined],
  [{ ...DRAW_THINGS, sampler: "DPM++ 2M AYS" }, "dpmpp-2m align-your-steps", undefined],
  [{ ...DRAW_THINGS, sampler: "Euler A Trailing" }, "euler-a trailing", undefined],
] as const) {
  test(JSON.stringify(written), () => {
    const { job, notes } = settingsOfJson(JSON.stringify(written))!;
    assert.deepEqual([job.sampler, job.schedule, notes], [sampler, schedule, []]);
  });
}

test("what has no equal here is said", () => {
  const { job, notes } = settingsOfJson(JSON.stringify({ ...FOOOCUS, sampler: "restart", scheduler: "turbo" }))!;
  assert.deepEqual([job.sampler, job.schedule, notes.length], [undefined, undefined, 2]);
  assert.match(notes[0]!, /^sampler must be one of .* \(found "restart"\): left out$/);
});
