/** @file A job's ControlNets over its steps: how much each counts when, what of it the plan depends on, and what it looks at. Pure. */
import { controlPictureBytes, fittedPicture, preparedPicture } from "../image/control-picture.ts";
import type { RgbPicture } from "../image/mask.ts";
import { fittedSize } from "../image/picture-fit.ts";
import { resampleBytes } from "../image/resample.ts";
import { type ControlUse, controlMode, steersPass } from "../job/control-use.ts";
import type { PictureSize } from "../job/job.ts";
import { atStep } from "../models/conditioning.ts";
import type { ControlInput, ControlNetwork, ControlShape } from "../models/control.ts";
import type { Course } from "./denoising.ts";

/** Opened, and read by the runtime as `component`. */
export interface JobControl {
  readonly use: ControlUse;
  readonly component: string;
  readonly network: ControlNetwork;
}

/** What one of them looks at, at the sizes of the passes that it steers: [height, width, 3] bytes each. */
export interface ControlPictures {
  readonly first?: RgbPicture | undefined;
  readonly hires?: RgbPicture | undefined;
}

/**
 * By step of the course's schedule. As diffusers' control_guidance_start and _end: a step counts where all of it lies between, as a share of the
 * steps that are made.
 */
function weightsOf({ weight = 1, start = 0, end = 1 }: ControlUse, { firstStep, endStep }: Course): readonly number[] {
  const share = (step: number) => (step - firstStep) / (endStep - firstStep);
  return Array.from({ length: endStep }, (_, step) => (share(step) >= start && share(step + 1) <= end ? weight : 0));
}

/** `negatives`: how many of the batch are told of a negative prompt. */
export function controlShapes(
  controls: readonly JobControl[],
  course: Course,
  { batch, negatives }: { readonly batch: number; readonly negatives: number },
): readonly ControlShape[] {
  return controls.map(({ use, component, network }) => {
    const weights = weightsOf(use, course);
    const guess = use.guess ?? false;
    const asked = course.calls.filter(({ step }) => atStep(weights, step) !== 0).length;
    const mode = controlMode(use);
    const rows = guess ? batch - negatives : batch;
    return { component, network, guess, ...(mode !== undefined && { mode }), rows, calls: Math.max(1, asked) };
  });
}

/** What the steps of a leg are steered by. */
export function controlInputs(
  controls: readonly JobControl[],
  pictures: readonly RgbPicture[],
  course: Course,
): readonly ControlInput[] {
  return controls.map(({ use }, i) => ({ picture: planesOf(pictures[i]!), weights: weightsOf(use, course) }));
}

/** At each of the sizes. */
export function controlPictures(
  source: RgbPicture,
  use: ControlUse,
  first: PictureSize,
  hires: PictureSize | undefined,
): ControlPictures {
  const at = (size: PictureSize): RgbPicture => preparedPicture(fittedPicture(source, size, use), size, use);
  const steers = (pass: "first" | "second") => steersPass(use, pass, hires !== undefined);
  return { ...(steers("first") && { first: at(first) }), ...(hires && steers("second") && { hires: at(hires) }) };
}

/** Most host memory that `controlPictures` takes beside what it gives. */
export function preparationBytes(source: RgbPicture, { fit = "stretch" }: ControlUse, largest: PictureSize): number {
  const fitted = fittedSize(source, largest, fit);
  const resized = resampleBytes({ ...source, channels: 3 }, fitted);
  const laid = fit === "stretch" ? 0 : 3 * largest.width * largest.height;
  return source.rgb.length + resized + controlPictureBytes(fitted) + laid;
}

/** [height, width, 3] bytes -> [1, 3, height, width] in 0..1. */
function planesOf({ width, height, rgb }: RgbPicture): Float32Array<ArrayBuffer> {
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let at = 0; at < plane; at++) {
    for (let channel = 0; channel < 3; channel++) values[channel * plane + at] = rgb[3 * at + channel]! / 255;
  }
  return values;
}
