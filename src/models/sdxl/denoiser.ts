/**
 * @file SDXL's UNet as a Denoise (diffusers pipelines/stable_diffusion_xl): what it is told of prompt, time and picture size, the
 * scaling of its input, guidance, and the way from its prediction to the clean latent. B batch, S text tokens, A added channels.
 */
import { combineGuidance } from "../../sampler/guidance.ts";
import { denoisedFrom, scaleModelInput } from "../../sampler/prediction.ts";
import type { Denoise } from "../../sampler/sampler.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { timestepEmbedding } from "../embedding.ts";
import type { Conditioning, DenoiserOptions } from "../family.ts";
import { requireFiniteResult } from "../finite.ts";
import type { SdxlParts } from "./config.ts";
import type { StageGraphs, StageSize } from "./graphs.ts";
import { timeEmbeddingDim } from "./unet.ts";

/** Runs the text pass; the time pass follows in groups, as calls come to them. Calls must be asked in their order. */
export async function openDenoiser(
  parts: SdxlParts,
  { callsAtOnce, ids }: StageGraphs,
  shape: StageSize,
  phase: PhaseRun,
  { guide, schedule, calls, firstCall, beside, signal }: DenoiserOptions,
): Promise<Denoise> {
  const { batch } = shape;
  // Guided: the negative prompt's half first.
  const halves = guide.negative ? [guide.negative, guide.positive] : [guide.positive];
  const context = concatenated(halves.map(({ sequences }) => sequences.get("context")!)); // [B, S, D]
  await phase.run(ids.text, new Map([["context", context]]), { signal, upcoming: [ids.time] });
  const addition = concatenated(halves.map((half) => additionRow(parts, half, shape, half === guide.positive))); // [B, A]
  let timeInputs = new Map<string, Float32Array<ArrayBuffer>>();
  let next = firstCall;

  return async (x, sigma) => {
    const call = next++;
    const { step } = calls[call]!;
    if (calls[call]!.sigma !== sigma)
      throw new Error(`call ${call} is for noise level ${calls[call]!.sigma}, not ${sigma}`);
    if (call % callsAtOnce === 0 || call === firstCall) {
      // The last group is filled up with repeats: one graph serves all groups.
      const start = call - (call % callsAtOnce);
      const timesteps = Array.from({ length: callsAtOnce }, (_, i) => {
        const { sigma: level, step: asking } = calls[Math.min(start + i, calls.length - 1)]!;
        return schedule.timestepOf(level, asking);
      });
      timeInputs = await timeEmbeddings(parts, shape, ids, phase, timesteps, addition, signal);
    }
    const input = scaleModelInput(x, sigma);
    const read = beside ? concatenated([input, beside]) : input;
    const latent = batch === 1 ? read : concatenated([read, read]); // [B, C, H, W]
    const inputs = new Map<string, Float32Array>([["latent", latent]]);
    for (const [name, rows] of timeInputs) {
      const stride = rows.length / callsAtOnce;
      const start = (call % callsAtOnce) * stride;
      inputs.set(name, rows.subarray(start, start + stride));
    }
    const last = call + 1 === calls.length;
    const outputs = await phase.run(ids.step, inputs, { signal, upcoming: last ? [] : [ids.step] });
    const prediction = outputs.get("prediction")!; // [B, C, H, W]
    const again = (onSegment: (segment: string, values: Float32Array) => void) =>
      phase.run(ids.step, inputs, { signal, onSegment });
    await requireFiniteResult(prediction, `the UNet's prediction in step ${step + 1}`, again, signal);
    const half = prediction.length / batch;
    const guided =
      batch === 1
        ? prediction
        : combineGuidance(prediction.subarray(0, half), prediction.subarray(half), guide.scale, guide.rescale);
    return denoisedFrom(guided, x, sigma, parts.scheduler.predictionType);
  };
}

/** Runs the time pass for some calls: per ResNet block [calls B, C], call-major. */
async function timeEmbeddings(
  { configs }: SdxlParts,
  { batch }: StageSize,
  ids: StageGraphs["ids"],
  phase: PhaseRun,
  timesteps: readonly number[],
  addition: Float32Array,
  signal: AbortSignal | undefined,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const { unet } = configs;
  const rows = timesteps.flatMap((timestep) => new Array<number>(batch).fill(timestep));
  const inputs = new Map([
    ["sinusoid", timestepEmbedding(rows, timeEmbeddingDim(unet), unet)],
    ["addition", concatenated(timesteps.map(() => addition))],
  ]);
  return await phase.run(ids.time, inputs, { signal, upcoming: [ids.step] });
}

/** [pooled text, sinusoids of (height, width, 0, 0, height, width)]: SDXL's micro-conditioning; a refiner's ends with a score. */
function additionRow(
  { configs, scores }: SdxlParts,
  { vectors }: Conditioning,
  { width, height }: StageSize,
  positive: boolean,
): Float32Array {
  const { unet } = configs;
  const aim = scores ? [positive ? scores.positive : scores.negative] : [height, width];
  const timeIds = [height, width, 0, 0, ...aim];
  return concatenated([vectors.get("pooled")!, timestepEmbedding(timeIds, unet.additionTimeEmbedDim, unet)]);
}

function concatenated(rows: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const whole = new Float32Array(rows.reduce((sum, row) => sum + row.length, 0));
  let offset = 0;
  for (const row of rows) {
    whole.set(row, offset);
    offset += row.length;
  }
  return whole;
}
