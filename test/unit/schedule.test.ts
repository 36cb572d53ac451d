/** @file Schedules and scheduler configurations against diffusers' EulerDiscreteScheduler. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseSchedulerConfig, scheduleTypeName } from "../../src/checkpoint/scheduler-config.ts";
import { ArtifactError, UsageError } from "../../src/errors.ts";
import { noiseSchedule } from "../../src/sampler/schedule.ts";
import { spacedTimesteps } from "../../src/sampler/spacing.ts";

interface Row {
  readonly config: Record<string, unknown>;
  readonly steps: number;
  readonly count: number;
  readonly timesteps: readonly (readonly [number, number])[];
  readonly sigmas: readonly (readonly [number, number])[];
  readonly init: number;
}

const path = new URL("../../fixtures/schedule/golden.json", import.meta.url);
const { schedules } = JSON.parse(readFileSync(path, "utf8")) as { schedules: Row[] };

/**
 * torch takes its square roots from MKL, within one rounding of fp32 but not always the nearest, and numpy its fp32
 * logarithms from kernels of its own. Rescaling to a zero signal-to-noise ratio subtracts such roots.
 */
const SIGMA_RELATIVE = 2.4e-7;
const RESCALED_RELATIVE = 1e-5;
/** Where a timestep is looked up by its noise level, those roundings are divided by the slope of the schedule. */
const LOOKED_UP_ABSOLUTE = 1e-4;
const RESCALED_LOOKED_UP_ABSOLUTE = 2e-3;

function close(found: number, wanted: number, tolerance: number, what: string): void {
  assert.ok(Math.abs(found - wanted) <= tolerance, `${what}: ${found} is not ${wanted} within ${tolerance}`);
}

for (const config of new Set(schedules.map((row) => JSON.stringify(row.config)))) {
  test(`schedule of ${config.slice(0, 200)}`, () => {
    for (const row of schedules.filter((candidate) => JSON.stringify(candidate.config) === config)) {
      const { config: parsed } = parseSchedulerConfig(config);
      const found = noiseSchedule(parsed, row.steps);
      const relative = parsed.rescaleBetasZeroSnr ? RESCALED_RELATIVE : SIGMA_RELATIVE;
      const lookedUp = parsed.rescaleBetasZeroSnr ? RESCALED_LOOKED_UP_ABSOLUTE : LOOKED_UP_ABSOLUTE;
      const continuous = parsed.timestepType === "continuous" && parsed.predictionType === "v_prediction";
      const timestep = continuous ? SIGMA_RELATIVE : parsed.sigmaSpacing === "timesteps" ? 0 : lookedUp;
      assert.equal(found.timesteps.length, row.count);
      assert.equal(found.sigmas.length, row.count + 1);
      for (const [at, sigma] of row.sigmas) {
        close(found.sigmas[at]!, sigma, relative * sigma, `sigma ${at} of ${row.steps}`);
      }
      for (const [at, t] of row.timesteps) close(found.timesteps[at]!, t, timestep, `timestep ${at} of ${row.steps}`);
      close(found.initNoiseSigma, row.init, relative * row.init, "initNoiseSigma");
      // What the model is told follows from the level alone.
      found.timesteps.forEach((told, at) => {
        assert.equal(found.timestepOf(found.sigmas[at]!, at), told, `level ${at} of ${row.steps}`);
      });
    }
  });
}

test("every class of diffusers that is read has its own sampler", () => {
  const samplerOf = (name: string, more = {}) =>
    parseSchedulerConfig(JSON.stringify({ _class_name: `${name}Scheduler`, ...more })).sampler;
  assert.equal(samplerOf("DDPM"), "ddpm");
  assert.equal(samplerOf("DEISMultistep"), "deis");
  assert.equal(samplerOf("DPMSolverSinglestep", { algorithm_type: "sde-dpmsolver++" }), "dpmpp-singlestep");
  assert.equal(samplerOf("DPMSolverMultistep", { algorithm_type: "sde-dpmsolver++" }), "dpmpp-2m-sde");
  assert.equal(samplerOf("EulerDiscrete"), "euler");
});

/** A DPM-Solver's configuration with SDXL's betas. */
function dpm(fields: object): string {
  const betas = { beta_schedule: "scaled_linear", beta_start: 0.00085, beta_end: 0.012 };
  return JSON.stringify({ _class_name: "DPMSolverMultistepScheduler", ...betas, ...fields });
}

test("Karras' levels go by the model's own exponent", () => {
  const edm = { _class_name: "EDMEulerScheduler", sigma_min: 1, sigma_max: 81, rho: 4 };
  // The fourth roots are 3 and 1; half way lies 2.
  const { sigmas } = noiseSchedule(parseSchedulerConfig(JSON.stringify(edm)).config, 3);
  [81, 16, 1, 0].forEach((sigma, at) => void close(sigmas[at]!, sigma, 1e-5, `sigma ${at}`));
});

test("as many steps as there are places for them, and not one more", () => {
  // Of 1000 training steps; a DPM-Solver's have an interval more unless they trail.
  const most = [
    ["k", "linspace", 10_000],
    ["kdpm2", "linspace", 10_000],
    ...(["leading", "trailing"] as const).map((spacing) => ["k", spacing, 1000] as const),
    ...(["linspace", "leading", "trailing"] as const).map((spacing) => ["ddim", spacing, 1000] as const),
    ...(["linspace", "leading"] as const).map((spacing) => ["dpm", spacing, 999] as const),
    ["dpm", "trailing", 1000],
  ] as const;
  const { config } = parseSchedulerConfig("{}");
  for (const [placement, timestepSpacing, steps] of most) {
    const spaced = { ...config, timestepSpacing };
    const timesteps = spacedTimesteps(spaced, placement, steps);
    assert.equal(timesteps.length, steps, `${placement} ${timestepSpacing}`);
    assert.ok(timesteps.every((t, at) => t >= 0 && t <= 1000 && (at === 0 || t < timesteps[at - 1]!)));
    assert.throws(() => spacedTimesteps(spaced, placement, steps + 1), { code: "E_STEPS" });
    assert.throws(() => spacedTimesteps(spaced, placement, 0), { code: "E_STEPS" });
  }
});

test("a solver is the one that its settings ask for; what a class doesn't know is passed over", () => {
  const { config, sampler } = parseSchedulerConfig(dpm({}));
  const standing = { solverOrder: 2, solverType: "midpoint", lowerOrderFinal: true, eulerAtFinal: false };
  assert.deepEqual([sampler, config.solver], ["dpmpp-2m", standing]);
  const solver = { algorithm_type: "sde-dpmsolver++", solver_order: 3, euler_at_final: true, predict_x0: false };
  const sde = parseSchedulerConfig(dpm(solver));
  assert.equal(sde.sampler, "dpmpp-2m-sde");
  assert.deepEqual(sde.config, {
    ...config,
    solver: { ...standing, solverOrder: 3, eulerAtFinal: true, stochastic: true },
  });
  assert.deepEqual(parseSchedulerConfig(dpm({ lambda_min_clipped: -5.1 })).config, config);
  const json = dpm({ variance_type: null }).replace("null", 'null,"lambda_min_clipped":-Infinity');
  assert.deepEqual(parseSchedulerConfig(json).config, config);
  const euler = '{"_class_name":"EulerDiscreteScheduler","use_flow_sigmas":true,"use_lu_lambdas":true}';
  assert.deepEqual(parseSchedulerConfig(euler), parseSchedulerConfig("{}"));
});

test("the class that the pipeline names is the one that runs, whatever the file says: its sampler, its betas, its fields", () => {
  const names = ["EulerDiscrete", "HeunDiscrete", "DDIM", "UniPCMultistep"].map((name) => `${name}Scheduler`);
  const fields = { use_karras_sigmas: true, timestep_spacing: "trailing", rescale_betas_zero_snr: true };
  for (const [i, name] of names.entries()) {
    const other = names[(i + 1) % names.length]!;
    const written = JSON.stringify({ ...fields, _class_name: other });
    const own = parseSchedulerConfig(JSON.stringify({ ...fields, _class_name: name }));
    assert.deepEqual(parseSchedulerConfig(written, "x", name), own, name);
    assert.notDeepEqual(parseSchedulerConfig(written, "x"), own, name);
  }
});

test("where a file is silent, the betas are those of the class that it names", () => {
  const betas = (name: string) => {
    const { betaStart, betaEnd } = parseSchedulerConfig(`{"_class_name":"${name}Scheduler"}`).config;
    return [betaStart, betaEnd];
  };
  for (const name of ["HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSDE"]) {
    assert.deepEqual(betas(name), [0.00085, 0.012], name);
  }
  for (const name of ["DDIM", "EulerDiscrete", "UniPCMultistep"]) assert.deepEqual(betas(name), [0.0001, 0.02], name);
});

test("what is not supported is a UsageError that names it", () => {
  const bad: [string, RegExp][] = [
    ['{"_class_name":"FlowMatchEulerDiscreteScheduler"}', /FlowMatchEulerDiscreteScheduler is not supported/],
    [dpm({ algorithm_type: "dpmsolver" }), /algorithm_type is not supported \(found dpmsolver, allowed dpmsolver\+\+/],
    ['{"_class_name":"DDPMScheduler","variance_type":"learned"}', /variance_type is not supported \(found learned/],
    [dpm({ thresholding: true }), /thresholding is not supported/],
    ['{"_class_name":"PNDMScheduler"}', /skip_prk_steps false is not supported/],
    ['{"_class_name":"UniPCMultistepScheduler","predict_x0":false}', /predict_x0 false is not supported/],
    ['{"_class_name":"UniPCMultistepScheduler","solver_p":{}}', /solver_p is not supported/],
    ['{"_class_name":"UniPCMultistepScheduler","lower_order_final":false}', /lower_order_final false .* no last step/],
    [
      '{"_class_name":"UniPCMultistepScheduler","use_karras_sigmas":true,"final_sigmas_type":"sigma_min"}',
      /final_sigmas_type sigma_min with use_karras_sigmas/,
    ],
    ...["DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep", "UniPCMultistep"].map(
      (name): [string, RegExp] => [
        `{"_class_name":"${name}Scheduler","use_flow_sigmas":true}`,
        /use_flow_sigmas is not supported/,
      ],
    ),
    ['{"_class_name":"DPMSolverMultistepScheduler","use_lu_lambdas":true}', /use_lu_lambdas is not supported/],
    // Of SDXL's levels the highest has -2.682 (diffusers' lambda_t); of a cosine's -9.918.
    [dpm({ lambda_min_clipped: -2.6 }), /lambda_min_clipped -2.6 cuts off the highest noise levels/],
    [dpm({ lambda_min_clipped: -5.1, beta_schedule: "squaredcos_cap_v2" }), /lambda_min_clipped -5.1 cuts off/],
  ];
  for (const [json, message] of bad) {
    assert.throws(
      () => parseSchedulerConfig(json),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  }
});

test("a malformed configuration is an ArtifactError that names the field", () => {
  const bad: [string, RegExp][] = [
    ["[", /not JSON/],
    ["[]", /the root is not a JSON object/],
    ['{"beta_schedule":"sigmoid"}', /beta_schedule is not usable \(found "sigmoid", allowed linear, scaled_linear/],
    ['{"prediction_type":"flow"}', /prediction_type/],
    ['{"num_train_timesteps":1e9}', /num_train_timesteps is not usable \(found 1000000000, allowed an integer/],
    ['{"beta_start":"a"}', /beta_start/],
    ['{"steps_offset":-1}', /steps_offset/],
    ['{"sigma_max":0}', /sigma_max/],
    ['{"trained_betas":[0.1,2]}', /trained_betas is not a list/],
    ['{"use_karras_sigmas":"yes"}', /use_karras_sigmas/],
    [dpm({ lambda_min_clipped: "no" }), /lambda_min_clipped is not usable/],
    ['{"sigma_max":Infinity}', /sigma_max is not usable \(found Infinity/],
    ['{"use_karras_sigmas":true,"use_exponential_sigmas":true}', /both use_karras_sigmas and/],
    [dpm({ solver_order: 4 }), /solver_order/],
    ['{"_class_name":"UniPCMultistepScheduler","disable_corrector":["a"]}', /disable_corrector is not usable/],
    ['{"_class_name":"LCMScheduler","original_inference_steps":0}', /original_inference_steps/],
  ];
  for (const [json, message] of bad) {
    assert.throws(
      () => parseSchedulerConfig(json, "s.json"),
      (error) => error instanceof ArtifactError && error.subject === "s.json" && message.test(error.message),
      json,
    );
  }
});

test("steps that can't be placed are refused", () => {
  const { config } = parseSchedulerConfig('{"timestep_spacing":"leading"}');
  for (const steps of [0, -1, 1.5, Number.NaN, 1001]) assert.throws(() => noiseSchedule(config, steps), UsageError);
  assert.equal(noiseSchedule(config, 1000).timesteps.length, 1000);
});

test("a schedule has the name that A1111 gives it", () => {
  const name = (json: string): string => scheduleTypeName(parseSchedulerConfig(json).config);
  assert.equal(name("{}"), "Uniform");
  assert.equal(name('{"timestep_spacing":"leading"}'), "DDIM");
  assert.equal(name('{"timestep_spacing":"trailing"}'), "SGM Uniform");
  assert.equal(name('{"timestep_spacing":"trailing","use_karras_sigmas":true}'), "Karras");
  assert.equal(name('{"use_exponential_sigmas":true}'), "Exponential");
});

test("between its levels the model is told an interpolated timestep, and at the next step's level that step's", () => {
  const { config } = parseSchedulerConfig('{"timestep_spacing":"leading","beta_schedule":"scaled_linear"}');
  const { sigmas, timesteps, timestepOf } = noiseSchedule(config, 10);
  assert.equal(timestepOf(sigmas[4]!, 3), timesteps[4]);
  const between = timestepOf(Math.sqrt(sigmas[3]! * sigmas[4]!), 3);
  assert.ok(between < timesteps[3]! && between > timesteps[4]!, `${between}`);
});

test("half a training step is rounded to the even one, as numpy does", () => {
  const { config } = parseSchedulerConfig('{"timestep_spacing":"trailing"}');
  // diffusers' EulerDiscreteScheduler(timestep_spacing="trailing").set_timesteps(16).
  const wanted = [999, 937, 874, 811, 749, 687, 624, 561, 499, 437, 374, 311, 249, 187, 124, 61];
  assert.deepEqual([...noiseSchedule(config, 16).timesteps], wanted);
});

test("beyond its levels the model is told the nearest training step: at no noise the first, above all the last", () => {
  const { config } = parseSchedulerConfig(
    '{"timestep_spacing":"leading","beta_schedule":"scaled_linear","beta_start":0.00085,"beta_end":0.012}',
  );
  const { sigmas, timestepOf } = noiseSchedule(config, 4);
  assert.equal(sigmas[4], 0);
  // diffusers' _sigma_to_t of 0.001 and of 20.
  assert.equal(timestepOf(sigmas[4]!, 3), 0);
  assert.equal(timestepOf(0.001, 1), 0);
  assert.equal(timestepOf(20, 0), 999);
});
