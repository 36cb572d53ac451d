/** @file Samplers and schedules by the names that people use: ours, A1111's, ComfyUI's, diffusers'; joint names taken apart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { JOB_FIELDS } from "../../src/job/fields.ts";
import { checkJob } from "../../src/job/schema.ts";
import { valueFromText } from "../../src/job/text.ts";
import { SAMPLERS } from "../../src/sampler/samplers.ts";
import { SCHEDULES } from "../../src/sampler/schedules.ts";

const said = (job: object): object => {
  const { prompt: _, ...rest } = checkJob({ prompt: "", ...job });
  return rest;
};

const NAMES: readonly (readonly [string, object])[] = [
  ["euler", { sampler: "euler" }],
  ["Euler", { sampler: "euler" }],
  ["k_euler", { sampler: "euler" }],
  ["sample_euler", { sampler: "euler" }],
  ["EulerDiscreteScheduler", { sampler: "euler" }],
  ["eulerdiscrete", { sampler: "euler" }],
  ["Euler Karras", { sampler: "euler", schedule: "karras" }],
  ["k_euler_ka", { sampler: "euler", schedule: "karras" }],
  ["Euler Exponential", { sampler: "euler", schedule: "exponential" }],
  ["Euler a", { sampler: "euler-a" }],
  ["k_euler_a", { sampler: "euler-a" }],
  ["euler_ancestral", { sampler: "euler-a" }],
  ["DPM++ 2M Karras", { sampler: "dpmpp-2m", schedule: "karras" }],
  ["DPM++ 2M SDE Karras", { sampler: "dpmpp-2m-sde", schedule: "karras" }],
  ["k_dpmpp_2m_ka", { sampler: "dpmpp-2m", schedule: "karras" }],
  ["dpmpp_2m_sde", { sampler: "dpmpp-2m-sde" }],
  ["dpmpp_2m_sde_gpu", { sampler: "dpmpp-2m-sde" }],
  ["DPM++ SDE", { sampler: "dpmpp-sde" }],
  ["DPM++ 2S a Karras", { sampler: "dpmpp-2s-a", schedule: "karras" }],
  ["DPM++ 3M SDE Exponential", { sampler: "dpmpp-3m-sde", schedule: "exponential" }],
  ["DPM2 a", { sampler: "dpm2-a" }],
  ["DPMSolverMultistepScheduler", { sampler: "dpmpp-2m" }],
  ["uni_pc_bh2", { sampler: "unipc" }],
  ["PLMS", { sampler: "pndm" }],
  ["DDIM", { sampler: "ddim" }],
  ["DDPM", { sampler: "ddpm" }],
  ["deis", { sampler: "deis" }],
  ["DEIS Karras", { sampler: "deis", schedule: "karras" }],
  ["dpmpp_2s", { sampler: "dpmpp-singlestep" }],
  ["LCM SGM Uniform", { sampler: "lcm", schedule: "sgm-uniform" }],
];

for (const [text, course] of NAMES) {
  test(`"${text}" is ${JSON.stringify(course)}, as a sampler and as a joint name`, () => {
    assert.deepEqual(said({ sampler: text }), course);
    assert.deepEqual(said({ scheduler: text }), course);
  });
}

test("every sampler and schedule answers to its own name, its title and its aliases, whatever their capitals", () => {
  for (const [name, { title, diffusers, aliases }] of Object.entries(SAMPLERS)) {
    for (const text of [name, title, title.toUpperCase(), ...diffusers, ...aliases]) {
      assert.deepEqual(said({ sampler: text }), { sampler: name }, text);
    }
  }
  for (const [name, { title, aliases }] of Object.entries(SCHEDULES)) {
    for (const text of [name, title, title.toLowerCase(), ...aliases]) {
      assert.deepEqual(said({ schedule: text }), { schedule: name }, text);
    }
  }
});

test("a joint name agrees with what is named beside it, or is refused", () => {
  assert.deepEqual(said({ scheduler: "Euler Karras", sampler: "euler" }), { sampler: "euler", schedule: "karras" });
  assert.deepEqual(said({ scheduler: "karras" }), { schedule: "karras" });
  assert.deepEqual(said({ schedule: "sgm_uniform" }), { schedule: "sgm-uniform" });
  assert.deepEqual(said({ schedule: "DDIM" }), { schedule: "leading" });
  assert.deepEqual(said({ scheduler: "karras", schedule: "default" }), { schedule: "karras" });
  assert.throws(
    () => said({ scheduler: "Euler Karras", schedule: "exponential" }),
    /E_JOB schedule: two different ones are named \(found exponential and karras/,
  );
});

test("an unknown name is answered with the list and the nearest", () => {
  assert.throws(
    () => said({ sampler: "eulr" }),
    /E_JOB sampler: one of euler, .* is wanted \(found a string "eulr"; nearest is euler\)/,
  );
  assert.throws(
    () => valueFromText(JOB_FIELDS.schedule.kind, "--schedule", "karas"),
    /E_USAGE: --schedule must be one of default, .* \(found "karas"; nearest is karras\)\. Next: give --schedule one of these names\./,
  );
  const refusal = (text: string) => {
    let told = "";
    assert.throws(
      () => valueFromText(JOB_FIELDS.sampler.kind, "--sampler", text),
      (error: Error) => {
        told = error.message.slice(error.message.indexOf("(found"));
        return true;
      },
    );
    return /; nearest is (.*)\)/.exec(told)?.[1];
  };
  // Two neighbours that changed places are one slip, and so are letters put in, left out or exchanged.
  for (const [text, near] of [
    ["uelre", "euler"],
    ["hune", "heun"],
    ["dpmpp-2m-sd", "dpmpp-2m-sde"],
    ["DPM++ 3M", "dpmpp-3m-sde"],
    ["pddm", "pndm"],
    ["lsm", "lms"],
    ["euler-ancestrl", "euler-a"],
  ] as const)
    assert.equal(refusal(text), near, text);
  for (const text of ["foo", "abm", "ulreee", "sampler", "x", "karras", ""])
    assert.equal(refusal(text), undefined, text);
  assert.throws(() => said({ sampler: "karras" }), /E_JOB sampler/);
  assert.throws(() => said({ sampler: "x".repeat(1e6) }), /E_JOB sampler/);
  assert.throws(() => said({ sampler: "" }), /E_JOB sampler/);
});
