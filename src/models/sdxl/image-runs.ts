/** @file Image prompts while a stage denoises: their keys and values, once for all steps, and what they count in each. */
import { bicubic } from "../../image/bicubic.ts";
import type { Graph } from "../../ir/graph.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { atStep } from "../conditioning.ts";
import type { ImagePromptInput } from "../image-prompt.ts";
import type { StageGraphs } from "./graphs.ts";
import { maskInputs } from "./image-links.ts";
import type { StageImagePrompt } from "./image-prompts.ts";
import { concatenated } from "./step-inputs.ts";

/** What a step reads of one of them beside keys and values. */
export type ImageInputs = (step: number) => readonly (readonly [name: string, values: Float32Array])[];

/** Tells the model of all of them. Rejects with the signal's reason on abort. */
export async function openImages(
  { imagePrompts, step }: Pick<StageGraphs, "imagePrompts" | "step">,
  inputs: readonly ImagePromptInput[],
  batch: number,
  phase: PhaseRun,
  signal: AbortSignal | undefined,
): Promise<readonly ImageInputs[]> {
  const opened: ImageInputs[] = [];
  for (const [i, image] of imagePrompts.entries()) {
    const input = inputs[i]!;
    await tellPictures(image, input, batch, phase, signal);
    opened.push(inputsOf(image, input, step));
  }
  return opened;
}

/** Keys and values for all steps; the negative's rows lead. */
async function tellPictures(
  { keys, shape }: StageImagePrompt,
  { prompt }: ImagePromptInput,
  batch: number,
  phase: PhaseRun,
  signal: AbortSignal | undefined,
): Promise<void> {
  const rows = Array.from({ length: batch }, (_, i) => (i < shape.negatives ? prompt.negative : prompt.positive));
  await phase.run(keys.id, new Map([["context", concatenated(rows)]]), { signal });
}

function inputsOf({ link }: StageImagePrompt, { weights, masks = [] }: ImagePromptInput, step: Graph): ImageInputs {
  if (!link.masked) return (at) => [[`${link.prefix}weight`, Float32Array.of(atStep(weights, at))]];
  // As IPAdapterMaskProcessor.downsample has them, on the grid that the attention has.
  const grids = maskInputs(step, link.prefix).map(({ name, picture, ...grid }) => {
    const mask = masks[picture]!;
    return { name, values: bicubic(mask.bytes, mask, grid) };
  });
  return (at) => {
    const weight = atStep(weights, at);
    return grids.map(({ name, values }) => [name, values.map((value) => weight * value)] as const);
  };
}

/** Host memory of that: the rows of one at a time, and masks on all grids, also times their weights. */
export function imageHostBytes(imagePrompts: readonly StageImagePrompt[], step: Graph): number {
  const elements = (graph: Graph, name: string) => elementCount(graph.values[graph.inputs.get(name)!]!.shape);
  const rows = imagePrompts.map(({ keys }) => elements(keys.graph, "context"));
  const grids = imagePrompts.flatMap(({ link }) =>
    maskInputs(step, link.prefix).map(({ name }) => elements(step, name)),
  );
  return 4 * (Math.max(0, ...rows) + 2 * grids.reduce((sum, size) => sum + size, 0));
}
