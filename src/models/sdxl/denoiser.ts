/**
 * @file SDXL's UNet as a Denoise (diffusers pipelines/stable_diffusion_xl): what it is told of prompt, time and picture size, the
 * scaling of its input, guidance, and the way from its prediction to the clean latent. B batch, S text tokens, A added channels.
 */
import { combineGuidance, mixedParts } from "../../sampler/guidance.ts";
import { denoisedFrom, scaleModelInput } from "../../sampler/prediction.ts";
import type { Denoise } from "../../sampler/sampler.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { atStep, type Conditioning, type Guide, type PictureOrigin } from "../conditioning.ts";
import { timestepEmbedding } from "../embedding.ts";
import type { DenoiserOptions } from "../family.ts";
import { requireFiniteResult } from "../finite.ts";
import { readsStrengths, withStrengths } from "../layer-builder.ts";
import type { SdxlParts } from "./config.ts";
import type { StageGraphs, StageSize } from "./graphs.ts";
import { timeEmbeddingDim } from "./unet.ts";

/** Runs the text pass; the time pass follows in groups, as calls come to them. Calls must be asked in their order. */
export async function openDenoiser(
  parts: SdxlParts,
  graphs: Pick<StageGraphs, "callsAtOnce" | "ids" | "text" | "time" | "step">,
  shape: StageSize,
  phase: PhaseRun,
  { guide, schedule, calls, firstCall, strengths = [[]], beside, signal }: DenoiserOptions,
): Promise<Denoise> {
  const { callsAtOnce, ids } = graphs;
  const { batch } = shape;
  let told = conditionings(guide, calls[firstCall]!.step);
  let strength = atStep(strengths, calls[firstCall]!.step);
  const adapted = { text: readsStrengths(graphs.text), time: readsStrengths(graphs.time) };
  const tell = async (upcoming: readonly string[]) => {
    const context = concatenated(told.map(({ sequences }) => sequences.get("context")!)); // [B, S, D]
    const inputs = withStrengths(graphs.text, new Map([["context", context]]), strength);
    await phase.run(ids.text, inputs, { signal, upcoming });
  };
  await tell([ids.time]);
  let timeInputs = new Map<string, Float32Array<ArrayBuffer>>();
  let next = firstCall;

  return async (x, sigma) => {
    const call = next++;
    const { step } = calls[call]!;
    if (calls[call]!.sigma !== sigma)
      throw new Error(`call ${call} is for noise level ${calls[call]!.sigma}, not ${sigma}`);
    const news = conditionings(guide, step);
    const before = strength;
    strength = atStep(strengths, step);
    if (isOther(told, news) || (adapted.text && isOther(before, strength))) {
      told = news;
      await tell([ids.step]);
    }
    if (call % callsAtOnce === 0 || call === firstCall || (adapted.time && isOther(before, strength))) {
      // The last group is filled up with repeats: one graph serves all groups.
      const start = call - (call % callsAtOnce);
      const group = Array.from({ length: callsAtOnce }, (_, i) => {
        const { sigma: level, step: asking } = calls[Math.min(start + i, calls.length - 1)]!;
        return { timestep: schedule.timestepOf(level, asking), told: conditionings(guide, asking) };
      });
      timeInputs = await timeEmbeddings(parts, shape, graphs, phase, { group, guide, strength }, signal);
    }
    const input = scaleModelInput(x, sigma, parts.scheduler.edm?.sigmaData);
    const read = beside ? concatenated([input, beside]) : input;
    const latent = batch === 1 ? read : concatenated(new Array<Float32Array>(batch).fill(read)); // [B, C, H, W]
    const inputs = new Map<string, Float32Array>([["latent", latent]]);
    for (const [name, rows] of timeInputs) {
      const stride = rows.length / callsAtOnce;
      const start = (call % callsAtOnce) * stride;
      inputs.set(name, rows.subarray(start, start + stride));
    }
    const after = calls[call + 1];
    const willTell =
      after &&
      (isOther(told, conditionings(guide, after.step)) ||
        (adapted.text && isOther(strength, atStep(strengths, after.step))));
    const upcoming = after ? [...(willTell ? [ids.text] : []), ids.step] : [];
    const complete = withStrengths(graphs.step, inputs, strength);
    const outputs = await phase.run(ids.step, complete, { signal, upcoming });
    const prediction = outputs.get("prediction")!; // [B, C, H, W]
    const again = (onSegment: (segment: string, values: Float32Array) => void) =>
      phase.run(ids.step, complete, { signal, onSegment });
    await requireFiniteResult(prediction, `the UNet's prediction in step ${step + 1}`, again, signal);
    const { length } = x;
    const answers = told.map((_, i) => prediction.subarray(i * length, (i + 1) * length));
    const guided = guidedBy(guide, answers);
    const { predictionType, edm } = parts.scheduler;
    return denoisedFrom(guided, x, sigma, predictionType, edm?.sigmaData);
  };
}

/** What the model is told in a step, the negative prompt first. */
function conditionings({ negative, parts }: Guide, step: number): readonly Conditioning[] {
  const timelines = parts.map(({ timeline }) => timeline);
  return (negative ? [negative, ...timelines] : timelines).map((timeline) => atStep(timeline, step));
}

function isOther<Item>(before: readonly Item[], after: readonly Item[]): boolean {
  return before.some((item, i) => item !== after[i]);
}

/** `answers` [C, H, W] each: of the negative prompt, if there is one, and of the parts. */
function guidedBy({ negative, parts, scale, rescale }: Guide, answers: readonly Float32Array[]): Float32Array {
  if (!negative) return answers[0]!;
  const [uncond, ...conds] = answers;
  const weights = parts.map(({ weight }) => weight);
  return combineGuidance(uncond!, mixedParts(uncond!, conds, weights), scale, rescale);
}

/** A call to come, and what the model is told in it. */
interface GroupCall {
  readonly timestep: number;
  readonly told: readonly Conditioning[];
}

/** Runs the time pass for some calls: per ResNet block [calls B, C], call-major. */
async function timeEmbeddings(
  parts: SdxlParts,
  size: StageSize,
  { ids, time }: Pick<StageGraphs, "ids" | "time">,
  phase: PhaseRun,
  {
    group,
    guide,
    strength,
  }: { readonly group: readonly GroupCall[]; readonly guide: Guide; readonly strength: readonly number[] },
  signal: AbortSignal | undefined,
): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const { unet } = parts.configs;
  const rows = group.flatMap(({ timestep, told }) => told.map(() => timestep));
  // Guided: the negative prompt leads.
  const rowOf = (conditioning: Conditioning, at: number) =>
    additionRow(parts, conditioning, size, { origin: guide.origin, positive: at > 0 || !guide.negative });
  const inputs = new Map([
    ["sinusoid", timestepEmbedding(rows, timeEmbeddingDim(unet), unet)],
    ["addition", concatenated(group.flatMap(({ told }) => told.map(rowOf)))],
  ]);
  return await phase.run(ids.time, withStrengths(time, inputs, strength), { signal, upcoming: [ids.step] });
}

/** [pooled text, sinusoids of (original height, width, top, left, height, width)]: SDXL's micro-conditioning; a refiner's ends with a score. */
function additionRow(
  { configs, scores }: SdxlParts,
  { vectors }: Conditioning,
  { width, height }: StageSize,
  { origin = {}, positive }: { readonly origin: PictureOrigin | undefined; readonly positive: boolean },
): Float32Array {
  const { unet } = configs;
  const aim = scores ? [positive ? scores.positive : scores.negative] : [height, width];
  const timeIds = [origin.height ?? height, origin.width ?? width, origin.top ?? 0, origin.left ?? 0, ...aim];
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
