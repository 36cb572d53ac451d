/**
 * @file Fields of scheduler_config.json: what stands where a file is silent (defaults of diffusers 0.42, read off by
 * inspect.signature(Class.__init__)), and where a field that is written goes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSchedulerConfig } from "../../src/checkpoint/scheduler-config.ts";
import type { SchedulerConfig } from "../../src/sampler/training.ts";

const parsed = (name: string, fields: object = {}) =>
  parseSchedulerConfig(JSON.stringify({ _class_name: `${name}Scheduler`, ...fields })).config;

const EULER: SchedulerConfig = {
  numTrainTimesteps: 1000,
  betaStart: 0.0001,
  betaEnd: 0.02,
  betaSchedule: "linear",
  trainedBetas: undefined,
  predictionType: "epsilon",
  interpolationType: "linear",
  sigmaSpacing: "timesteps",
  sigmaMin: undefined,
  sigmaMax: undefined,
  timestepSpacing: "linspace",
  timestepType: "discrete",
  stepsOffset: 0,
  rescaleBetasZeroSnr: false,
  finalSigmasType: "zero",
  solver: {},
};
const MULTISTEP = { solverOrder: 2, solverType: "midpoint", lowerOrderFinal: true } as const;
const OWN_BETAS = { betaStart: 0.00085, betaEnd: 0.012 };
const LEADING = { timestepSpacing: "leading" } as const;
const CLIPPED = { clipRange: 1 };
const CONSISTENCY: Partial<SchedulerConfig> = {
  ...{ ...OWN_BETAS, ...LEADING, betaSchedule: "scaled_linear" },
  solver: { originalInferenceSteps: 50, timestepScaling: 10 },
};
const EDM: Partial<SchedulerConfig> = {
  ...{ sigmaSpacing: "karras", sigmaMin: 0.002, sigmaMax: 80 },
  edm: { sigmaData: 0.5, rho: 7 },
};

const SILENT: Readonly<Record<string, Partial<SchedulerConfig>>> = {
  EulerDiscrete: {},
  EulerAncestralDiscrete: {},
  LMSDiscrete: {},
  HeunDiscrete: OWN_BETAS,
  KDPM2Discrete: OWN_BETAS,
  KDPM2AncestralDiscrete: OWN_BETAS,
  DPMSolverSDE: OWN_BETAS,
  DPMSolverMultistep: { solver: { ...MULTISTEP, eulerAtFinal: false } },
  DPMSolverSinglestep: { solver: { ...MULTISTEP, lowerOrderFinal: false } },
  DEISMultistep: { solver: MULTISTEP },
  UniPCMultistep: { solver: { ...MULTISTEP, solverType: "bh2", disableCorrector: [] } },
  DDIM: { ...LEADING, solver: CLIPPED },
  DDPM: { ...LEADING, solver: CLIPPED },
  LCM: CONSISTENCY,
  TCD: CONSISTENCY,
  EDMEuler: EDM,
  EDMDPMSolverMultistep: { ...EDM, solver: { ...MULTISTEP, eulerAtFinal: false } },
};

for (const [name, own] of Object.entries(SILENT)) {
  test(`${name}: what stands where a file is silent`, () => assert.deepEqual(parsed(name), { ...EULER, ...own }));
}

type Change = (config: SchedulerConfig) => unknown;
/** Fields of a file, by class, and what they change of what the silent file gives. */
const WRITTEN: readonly (readonly [name: string, fields: object, of: Change, value: unknown])[] = [
  ["EulerDiscrete", { num_train_timesteps: 500 }, (c) => c.numTrainTimesteps, 500],
  [
    "EulerDiscrete",
    { trained_betas: [0.1, 0.2, 0.3] },
    (c) => [c.numTrainTimesteps, c.trainedBetas],
    [3, [0.1, 0.2, 0.3]],
  ],
  ["EulerDiscrete", { beta_start: 0.001, beta_end: 0.03 }, (c) => [c.betaStart, c.betaEnd], [0.001, 0.03]],
  ["LCM", { beta_start: 0.001, beta_end: 0.03 }, (c) => [c.betaStart, c.betaEnd], [0.001, 0.03]],
  ["EulerDiscrete", { beta_schedule: "squaredcos_cap_v2" }, (c) => c.betaSchedule, "squaredcos_cap_v2"],
  ["LCM", { beta_schedule: "linear" }, (c) => c.betaSchedule, "linear"],
  ["EulerDiscrete", { prediction_type: "sample" }, (c) => c.predictionType, "sample"],
  ["EulerDiscrete", { interpolation_type: "log_linear" }, (c) => c.interpolationType, "log_linear"],
  ["EulerDiscrete", { timestep_type: "continuous" }, (c) => c.timestepType, "continuous"],
  ["EulerDiscrete", { sigma_min: 0.1, sigma_max: 9 }, (c) => [c.sigmaMin, c.sigmaMax], [0.1, 9]],
  ["UniPCMultistep", { sigma_min: 0.1, sigma_max: 9 }, (c) => [c.sigmaMin, c.sigmaMax], [0.1, 9]],
  ["DDIM", { timestep_spacing: "trailing" }, (c) => c.timestepSpacing, "trailing"],
  ["DDIM", { steps_offset: 1 }, (c) => c.stepsOffset, 1],
  ["DDIM", { rescale_betas_zero_snr: true }, (c) => c.rescaleBetasZeroSnr, true],
  ["EulerDiscrete", { final_sigmas_type: "sigma_min" }, (c) => c.finalSigmasType, "sigma_min"],
  ["DDIM", { clip_sample: false }, (c) => c.solver, {}],
  ["DDIM", { clip_sample_range: 2 }, (c) => c.solver, { clipRange: 2 }],
  ["LCM", { clip_sample: true }, (c) => c.solver.clipRange, 1],
  ["HeunDiscrete", { clip_sample: true, clip_sample_range: 3 }, (c) => c.solver, { clipRange: 3 }],
  ["DDIM", { set_alpha_to_one: false }, (c) => c.solver.setAlphaToOne, false],
  ["DDPM", { variance_type: "fixed_large" }, (c) => c.solver.largeVariance, true],
  ["LCM", { original_inference_steps: 100 }, (c) => c.solver.originalInferenceSteps, 100],
  ["LCM", { timestep_scaling: 5 }, (c) => c.solver.timestepScaling, 5],
  ["DPMSolverMultistep", { solver_order: 3 }, (c) => c.solver.solverOrder, 3],
  ["DPMSolverMultistep", { solver_type: "heun" }, (c) => c.solver.solverType, "heun"],
  ["UniPCMultistep", { solver_type: "bh1" }, (c) => c.solver.solverType, "bh1"],
  ["DPMSolverMultistep", { lower_order_final: false }, (c) => c.solver.lowerOrderFinal, false],
  ["DPMSolverSinglestep", { lower_order_final: true }, (c) => c.solver.lowerOrderFinal, true],
  ["DPMSolverMultistep", { euler_at_final: true }, (c) => c.solver.eulerAtFinal, true],
  ["DPMSolverMultistep", { algorithm_type: "sde-dpmsolver++" }, (c) => c.solver.stochastic, true],
  ["UniPCMultistep", { disable_corrector: [0, 2] }, (c) => c.solver.disableCorrector, [0, 2]],
  ["EDMEuler", { sigma_data: 1, rho: 5 }, (c) => c.edm, { sigmaData: 1, rho: 5 }],
  ["EDMEuler", { sigma_min: 0.01, sigma_max: 120 }, (c) => [c.sigmaMin, c.sigmaMax], [0.01, 120]],
  ["EDMEuler", { sigma_schedule: "exponential" }, (c) => c.sigmaSpacing, "exponential"],
  ["EDMEuler", { prediction_type: "v_prediction" }, (c) => c.predictionType, "v_prediction"],
  // TCD's sampling never cuts, DDPM's small variances have one way here, DPM-Solver's types have two.
  ["TCD", { clip_sample: true }, (c) => c, parsed("TCD")],
  ["DDPM", { variance_type: "fixed_small_log" }, (c) => c, parsed("DDPM")],
  ["DPMSolverMultistep", { solver_type: "bh2" }, (c) => c, parsed("DPMSolverMultistep")],
];

test("what a file writes goes where it belongs", () => {
  for (const [name, fields, of, value] of WRITTEN)
    assert.deepEqual(of(parsed(name, fields)), value, `${name} ${JSON.stringify(fields)}`);
});

test("what a class of diffusers doesn't know is passed over, whatever it says", () => {
  const EULERS = { sigma_min: 1, sigma_max: 2, interpolation_type: "log_linear", timestep_type: "continuous" };
  const SPACINGS = { use_karras_sigmas: true, use_beta_sigmas: true };
  const SOLVERS = { solver_order: 3, lower_order_final: false, euler_at_final: true, algorithm_type: "nobody's" };
  const CONSISTENT = { original_inference_steps: 7, timestep_scaling: 3, clip_sample: true };
  for (const [name, fields] of [
    ["DDIM", { ...EULERS, ...SPACINGS, ...SOLVERS, original_inference_steps: 7, timestep_scaling: 3 }],
    ["DPMSolverMultistep", { ...EULERS, ...CONSISTENT, variance_type: "fixed_large", predict_x0: false }],
    ["DPMSolverSinglestep", { ...EULERS, timestep_spacing: "trailing", rescale_betas_zero_snr: true }],
    ["EulerAncestralDiscrete", { ...EULERS, ...SPACINGS, final_sigmas_type: "sigma_min", ...CONSISTENT }],
    ["LMSDiscrete", { ...EULERS, rescale_betas_zero_snr: true, ...SOLVERS }],
    ["EDMEuler", { ...SPACINGS, ...SOLVERS, timestep_spacing: "trailing", rescale_betas_zero_snr: true }],
    ["EulerDiscrete", { ...SOLVERS, ...CONSISTENT, skip_prk_steps: false, thresholding: true, use_lu_lambdas: true }],
  ] as const) {
    assert.deepEqual(parsed(name, fields), parsed(name), name);
  }
});

test("EDM's noise levels rise, and each number has its range", () => {
  for (const fields of [
    { sigma_min: 80 },
    { sigma_min: 2, sigma_max: 2 },
    { sigma_min: 0 },
    { sigma_max: 1e6 },
    { sigma_data: 0 },
    { rho: 100 },
    { rho: 0 },
    { sigma_schedule: "beta" },
    { prediction_type: "sample" },
  ])
    assert.throws(() => parsed("EDMEuler", fields), { code: "E_SCHEDULER" }, JSON.stringify(fields));
});
