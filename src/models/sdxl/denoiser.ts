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
import { openControls } from "./control-runs.ts";
import type { StageGraphs, StageSize } from "./graphs.ts";
import { openImages } from "./image-runs.ts";
import { concatenated, ofCall, timeRows } from "./step-inputs.ts";

/** Runs the text pass; the time pass follows in groups, as calls come to them. Calls must be asked in their order. */
export async function openDenoiser(
  parts: SdxlParts,
  graphs: Pick<StageGraphs, "callsAtOnce" | "ids" | "text" | "time" | "step" | "controls" | "imagePrompts">,
  shape: StageSize,
  phase: PhaseRun,
  {
    guide,
    schedule,
    calls,
    firstCall,
    strengths = [[]],
    controls: inputsOfControls,
    imagePrompts = [],
    beside,
    signal,
  }: DenoiserOptions,
): Promise<Denoise> {
  const { callsAtOnce, ids } = graphs;
  const controls = await openControls(graphs.controls, inputsOfControls ?? [], phase, signal);
  const { batch } = shape;
  const images = await openImages(graphs, imagePrompts, batch, phase, signal);
  let told = conditionings(guide, calls[firstCall]!.step);
  let strength = atStep(strengths, calls[firstCall]!.step);
  const adapted = { text: readsStrengths(graphs.text), time: readsStrengths(graphs.time) };
  const tell = async (upcoming: readonly string[]) => {
    const context = concatenated(told.map(({ sequences }) => sequences.get("context")!)); // [B, S, D]
    const inputs = withStrengths(graphs.text, new Map([["context", context]]), strength);
    await phase.run(ids.text, inputs, { signal, upcoming });
    for (const control of controls) await control.tell(told, strength, signal);
  };
  await tell([ids.time]);
  let timeInputs = new Map<string, Float32Array<ArrayBuffer>>();
  let nextCall = firstCall;

  return async (x, sigma) => {
    const call = nextCall++;
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
      const rowOf = (conditioning: Conditioning, at: number) =>
        additionRow(parts, conditioning, shape, { origin: guide.origin, positive: at > 0 || !guide.negative });
      const rows = group.map(({ timestep, told: each }) => ({ timestep, additions: each.map(rowOf) }));
      const inputs = timeRows(rows, parts.configs.unet);
      const options = { signal, upcoming: [ids.step] };
      timeInputs = await phase.run(ids.time, withStrengths(graphs.time, inputs, strength), options);
      for (const control of controls) await control.time(rows, strength, signal);
    }
    const input = scaleModelInput(x, sigma, parts.scheduler.edm?.sigmaData);
    const read = beside ? concatenated([input, beside]) : input;
    const latent = batch === 1 ? read : concatenated(new Array<Float32Array>(batch).fill(read)); // [B, C, H, W]
    const at = { index: call % callsAtOnce, count: callsAtOnce };
    const inputs = new Map<string, Float32Array>([["latent", latent], ...ofCall(timeInputs, at)]);
    const asked = controls.filter((control) => control.isAsked(step));
    for (const [i, control] of asked.entries()) {
      const following = [...asked.slice(i + 1).map((next) => next.stepId), ids.step];
      await control.step(input, { at, upcoming: following, strengths: strength }, signal);
    }
    for (const control of controls) inputs.set(...control.weightInput(step));
    for (const image of images) for (const told of image(step)) inputs.set(...told);
    const after = calls[call + 1];
    const willTell =
      after &&
      (isOther(told, conditionings(guide, after.step)) ||
        (adapted.text && isOther(strength, atStep(strengths, after.step))));
    const next = after ? controls.filter((control) => control.isAsked(after.step)).map(({ stepId }) => stepId) : [];
    const upcoming = after ? [...(willTell ? [ids.text] : []), ...next, ids.step] : [];
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
