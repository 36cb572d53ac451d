/**
 * @file Every sampler against diffusers' schedulers (and k-diffusion's published algorithms written out, where diffusers has none):
 * whole runs over a toy model, each step; plans' questions and draws are exact; a run goes on from every step to the same bits.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseSchedulerConfig } from "../../src/checkpoint/scheduler-config.ts";
import { betaQuantile } from "../../src/sampler/beta-distribution.ts";
import { torchNoise } from "../../src/sampler/noise.ts";
import { denoisedFrom, scaleModelInput } from "../../src/sampler/prediction.ts";
import type { Denoise, NoiseSource, Sampler, SamplerState } from "../../src/sampler/sampler.ts";
import { SAMPLERS, type SamplerEntry, type SamplerName } from "../../src/sampler/samplers.ts";
import { type NoiseSchedule, noiseSchedule } from "../../src/sampler/schedule.ts";
import { SCHEDULES, type ScheduleName } from "../../src/sampler/schedules.ts";
import { addsNoise } from "../../src/sampler/spacing.ts";

interface Run {
  readonly config: Readonly<Record<string, unknown>>;
  readonly sampler?: SamplerName;
  readonly steps: number;
  readonly timesteps?: readonly number[];
  /** After each call of the model, the latent's kept values. */
  readonly after: readonly (readonly number[])[];
}

interface Golden {
  readonly kept: readonly number[];
  readonly seed: number;
  readonly count: number;
  readonly runs: readonly Run[];
  /** Timesteps for 1, 2, ... steps. */
  readonly distilled: readonly (readonly number[])[];
  readonly levels: readonly {
    readonly schedule?: ScheduleName;
    readonly steps?: number;
    readonly sigmas?: readonly number[];
    readonly quantiles?: readonly (readonly [number, number])[];
  }[];
}

const path = new URL("../../fixtures/sampler/golden.json", import.meta.url);
const golden = JSON.parse(readFileSync(path, "utf8")) as Golden;

/** Of the largest value: both sides compute in fp32, diffusers each operation of a step, and we the sum of a step. */
const RELATIVE = 1e-5;
/** From the level 4096 diffusers subtracts latents of that size. */
const ZERO_SNR_RELATIVE = 5e-5;

/** The toy of sampler_golden.py. */
function toyModel(latent: Float32Array, timestep: number): Float32Array {
  return latent.map((x) => 0.7 * x + 0.3 * Math.sin(3 * x) + 0.2 * Math.cos(0.01 * timestep));
}

interface Way {
  readonly sampler: Sampler;
  readonly schedule: NoiseSchedule;
  readonly isPreserving: boolean;
  readonly asked: { readonly sigma: number; readonly timestep: number }[];
  readonly denoise: (step: number) => Denoise;
}

function wayOf(
  config: Readonly<Record<string, unknown>>,
  steps: number,
  name?: SamplerName,
  spacing?: ScheduleName,
): Way {
  const parsed = parseSchedulerConfig(JSON.stringify(config));
  const { make, placement, endsAtZero = true }: SamplerEntry = SAMPLERS[name ?? parsed.sampler];
  const request = { placement, endsAtZero, ...(spacing && { schedule: spacing }) };
  const schedule = noiseSchedule(parsed.config, steps, request);
  const asked: Way["asked"] = [];
  const denoise =
    (step: number): Denoise =>
    async (x, sigma) => {
      const timestep = schedule.timestepOf(sigma, step);
      asked.push({ sigma, timestep });
      const { predictionType, edm } = parsed.config;
      const prediction = toyModel(scaleModelInput(x, sigma, edm?.sigmaData), timestep);
      return denoisedFrom(prediction, x, sigma, predictionType, edm?.sigmaData);
    };
  return {
    sampler: make(parsed.config.solver),
    schedule,
    isPreserving: !addsNoise(placement) && !parsed.config.edm,
    asked,
    denoise,
  };
}

/** Runs from a state, and checks what plans are made of. */
async function* walk(
  way: Way,
  noise: NoiseSource,
  state: SamplerState,
  draws: readonly number[],
): AsyncGenerator<SamplerState> {
  const { sampler, schedule, asked, denoise } = way;
  for (let now = state; now.step < schedule.timesteps.length; ) {
    const before = asked.length;
    const drawn: number[] = [];
    now = await sampler.step(now, schedule, denoise(now.step), (draw) => {
      drawn.push(draw);
      return noise.normal(1 + draws[now.step]! + draw, now.x.length);
    });
    const step = now.step - 1;
    assert.deepEqual(
      asked.slice(before).map(({ sigma }) => sigma),
      [...sampler.levels(schedule, step)],
    );
    assert.ok(drawn.every((draw) => draw < sampler.draws(schedule, step)));
    assert.ok(now.history.length <= sampler.historyLength);
    yield now;
  }
}

/** How many draws the steps before each take. */
function drawsBefore({ sampler, schedule }: Way): number[] {
  let sum = 0;
  return Array.from(schedule.timesteps, (_, step) => {
    const before = sum;
    sum += sampler.draws(schedule, step);
    return before;
  });
}

function begin({ schedule }: Way, noise: NoiseSource): SamplerState {
  const x = noise.normal(0, golden.count).map((value) => value * schedule.initNoiseSigma);
  return { step: 0, x, history: [] };
}

for (const { config, sampler: name, steps, timesteps, after } of golden.runs) {
  const { _class_name: className, ...fields } = config;
  const own = Object.entries(fields).filter(([field]) => !["beta_start", "beta_end", "steps_offset"].includes(field));
  test(`${name ?? className}, ${steps} steps, ${JSON.stringify(Object.fromEntries(own))}`, async () => {
    const way = wayOf(config, steps, name);
    const noise = torchNoise(golden.seed);
    const tolerance = fields.rescale_betas_zero_snr === true ? ZERO_SNR_RELATIVE : RELATIVE;
    let call = 0;
    for await (const { step, x } of walk(way, noise, begin(way, noise), drawsBefore(way))) {
      call = name === undefined ? way.asked.length : step;
      const expected = after[call - 1]!;
      const next = way.schedule.sigmas[step]!;
      const scale = way.isPreserving ? 1 / Math.sqrt(1 + next ** 2) : 1;
      const largest = Math.max(1, ...expected.map(Math.abs));
      expected.forEach((value, i) => {
        const found = x[golden.kept[i]!]! * scale;
        const off = Math.abs(found - value) / largest;
        assert.ok(off <= tolerance, `step ${step}: ${found} is not ${value} (off by ${off})`);
      });
    }
    assert.equal(call, after.length);
    timesteps?.forEach((wanted, i) => {
      const { timestep } = way.asked[i]!;
      assert.ok(Math.abs(timestep - wanted) <= 2e-3, `question ${i} is told ${timestep}, not ${wanted}`);
    });
  });
}

const SDXL = golden.runs.find(({ config }) => config._class_name === "EulerDiscreteScheduler")!.config;

for (const name of Object.keys(SAMPLERS) as SamplerName[]) {
  test(`${name}: goes on from every step to the same bits, over every schedule; begins at any step`, async () => {
    for (const spacing of Object.keys(SCHEDULES) as ScheduleName[]) {
      const steps = 6;
      const way = wayOf(SDXL, steps, name, spacing);
      const draws = drawsBefore(way);
      const whole: SamplerState[] = [];
      for await (const state of walk(way, torchNoise(9), begin(way, torchNoise(9)), draws)) whole.push(state);
      assert.ok(whole.at(-1)!.x.every(Number.isFinite), spacing);
      for (const from of whole) {
        const saved = JSON.parse(JSON.stringify({ ...from, x: [...from.x], history: from.history.map((h) => [...h]) }));
        const state = {
          step: saved.step,
          x: Float32Array.from(saved.x),
          history: saved.history.map((latent: number[]) => Float32Array.from(latent)),
        };
        let last: SamplerState = state;
        for await (last of walk(way, torchNoise(9), state, draws));
        assert.deepEqual(last.x, whole.at(-1)!.x, `${spacing} from ${from.step}`);
        for await (last of walk(way, torchNoise(9), { ...from, history: [] }, draws));
        assert.ok(last.x.every(Number.isFinite), `${spacing} begun at ${from.step}`);
      }
    }
  });
}

test("each step draws as often as diffusers' scheduler (k-diffusion's function) does: what follows has its own noise by that", () => {
  /** Counted in diffusers 0.42 with `randn_tensor` replaced; the others by k-diffusion's text: none for a step that ends at no noise. */
  const DRAWS: Partial<Record<SamplerName, readonly number[]>> = {
    "euler-a": [1, 1, 1, 1],
    "dpm2-a": [1, 1, 1, 0],
    "dpmpp-2m-sde": [1, 1, 1, 1],
    "dpmpp-sde": [2, 2, 2, 0],
    "dpmpp-2s-a": [1, 1, 1, 0],
    "dpmpp-3m-sde": [1, 1, 1, 0],
    ddpm: [1, 1, 1, 1],
    lcm: [1, 1, 1, 0],
    tcd: [1, 1, 1, 0],
  };
  const drawsOf = (config: Readonly<Record<string, unknown>>, name: SamplerName) => {
    const { sampler, schedule } = wayOf(config, 4, name);
    return Array.from(schedule.timesteps, (_, step) => sampler.draws(schedule, step));
  };
  for (const name of Object.keys(SAMPLERS) as SamplerName[]) {
    assert.deepEqual(drawsOf({ ...SDXL, steps_offset: 1 }, name), DRAWS[name] ?? [0, 0, 0, 0], name);
  }
  // diffusers' DDPM draws while t > 0.
  assert.deepEqual(drawsOf({ ...SDXL, steps_offset: 0 }, "ddpm"), [1, 1, 1, 0]);
});

test("A1111's schedules have its noise levels", () => {
  for (const { schedule, steps, sigmas, quantiles } of golden.levels) {
    for (const [share, value] of quantiles ?? []) {
      assert.ok(Math.abs(betaQuantile(share) - value) < 1e-12, `${share}: ${betaQuantile(share)} is not ${value}`);
    }
    if (schedule === undefined) continue;
    const { config } = parseSchedulerConfig(JSON.stringify(SDXL));
    const found = noiseSchedule(config, steps!, { schedule });
    assert.equal(found.sigmas.length, sigmas!.length);
    sigmas!.forEach((sigma, at) => {
      const off = Math.abs(found.sigmas[at]! - sigma);
      assert.ok(off <= 2e-6 * sigma, `${schedule} ${steps}: ${found.sigmas[at]} is not ${sigma}`);
    });
    assert.equal(found.initNoiseSigma, found.sigmas[0]);
  }
});

test("LCM picks its timesteps out of those that the model was distilled at, for every number of steps", () => {
  const { config } = parseSchedulerConfig('{"_class_name":"LCMScheduler"}');
  golden.distilled.forEach((timesteps, i) => {
    assert.deepEqual([...noiseSchedule(config, i + 1, { placement: "lcm" }).timesteps], timesteps);
  });
  assert.throws(() => noiseSchedule(config, 51, { placement: "lcm" }), /E_STEPS: .*allowed 1\.\.50/);
});

test("noise can't be read out of noise alone: a terminal signal of zero is refused where the schedule keeps the zero", () => {
  const read = (fields: object) => {
    const text = JSON.stringify({ _class_name: "DDIMScheduler", rescale_betas_zero_snr: true, ...fields });
    return noiseSchedule(parseSchedulerConfig(text).config, 5, { placement: "ddim" });
  };
  assert.throws(() => read({ prediction_type: "epsilon" }), /E_SCHEDULER: .*zero signal.*epsilon/);
  assert.equal(read({ prediction_type: "v_prediction", timestep_spacing: "trailing" }).sigmas[0], 2 ** 24);
});

test("settings out of which no noise levels come are refused, and not drawn with", () => {
  const parsed = (fields: object) => parseSchedulerConfig(JSON.stringify(fields)).config;
  // 0.9^1000 and the like are 0 in fp32, and the noise level of no signal is infinite.
  for (const fields of [{ trained_betas: new Array(1000).fill(0.1) }, { beta_start: 0.5, beta_end: 0.5 }]) {
    assert.throws(() => parsed(fields), /E_SCHEDULER scheduler_config\.json: .*no numbers above 0/);
  }
  const edm = { _class_name: "EDMEulerScheduler", sigma_min: 1e-320 };
  assert.throws(() => noiseSchedule(parsed(edm), 2), /E_SCHEDULER/);
  const distilled = parsed({ _class_name: "LCMScheduler", num_train_timesteps: 2 });
  assert.throws(() => noiseSchedule(distilled, 1, { placement: "lcm" }), /E_SCHEDULER: .*no numbers with these steps/);
});
