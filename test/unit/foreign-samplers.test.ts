/** @file Settings that InvokeAI, Fooocus, NovelAI, SwarmUI and Draw Things write into pictures, samplers and schedules by their names among them. */
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

test("all that is told of a picture is read, in each program's own words", () => {
  const job = { prompt: "a lake", negativePrompt: "fog", seed: 7, steps: 12, guidance: 4.5, width: 1024, height: 768 };
  const size = { width: 1024, height: 768 };
  const common = { seed: 7, steps: 12 };
  const swarm = {
    ...{ prompt: "a lake", negativeprompt: "fog", cfgscale: 4.5, ...common, ...size },
    ...{ model: "m", swarm_version: "0.9.6" },
  };
  const cases = {
    InvokeAI: [
      { positive_prompt: "a lake", negative_prompt: "fog", cfg_scale: 4.5, ...common, ...size, model: { name: "m" } },
      { model: "m" },
    ],
    Fooocus: [
      {
        ...{ prompt: "a lake", negative_prompt: "fog", guidance_scale: 4.5, ...common, resolution: "(1024, 768)" },
        ...{ base_model: "m", base_model_hash: "0123456789" },
      },
      { model: "m", modelHash: "0123456789" },
    ],
    NovelAI: [{ prompt: "a lake", uc: "fog", scale: 4.5, ...common, ...size }, {}],
    SwarmUI: [
      { sui_image_params: swarm, sui_extra_data: { date: "today" } },
      { model: "m", version: "0.9.6" },
    ],
    "Draw Things": [{ c: "a lake", uc: "fog", scale: 4.5, ...common, size: "1024x768", model: "m" }, { model: "m" }],
  } as const;
  for (const [tool, [written, facts]] of Object.entries(cases)) {
    const read = settingsOfJson(JSON.stringify(written))!;
    assert.deepEqual([read.tool, read.job, read.facts, read.notes], [tool, job, facts, []]);
  }
  assert.equal(settingsOfJson(JSON.stringify(swarm))!.tool, "SwarmUI");
  assert.equal(settingsOfJson('{"prompt":"a lake"}'), undefined);
});
