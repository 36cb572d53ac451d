/** @file The embeddings of a job's prompts, as a Guide: known ones are remembered by chunk, others encoded. */
import { pairOf } from "../job/pair.ts";
import type { Conditioning, Guide, PictureOrigin, Prompt, Timeline } from "../models/conditioning.ts";
import type { EncodeOptions, RefinedStage } from "../models/family.ts";
import { requireFiniteValues } from "../models/finite.ts";
import { adaptedPrompt, type JobAdapters } from "./job-adapters.ts";
import type { Course, PromptScript } from "./prompt-script.ts";
import type { PhaseHost, PlannedJob } from "./runtime.ts";

/** The embeddings of a script, in the order of its steps; with `refined`, as the refiner reads it; with `adapters`, of encoders that have them. The encode phase is opened only if one of them is not known yet. */
export async function promptGuide(
  runtime: PhaseHost,
  planned: PlannedJob,
  { texts, parts, negative, words }: PromptScript,
  signal: AbortSignal | undefined,
  {
    refined,
    adapters,
  }: { readonly refined?: RefinedStage | undefined; readonly adapters?: JobAdapters | undefined } = {},
): Promise<Pick<Guide, "parts" | "negative">> {
  const adapted = texts.map((chunks) => chunks.map((prompt) => adaptedPrompt(prompt, adapters)));
  const conditionings = await encodeTexts(runtime, planned, adapted, { words, signal }, refined);
  const timelineOf = ({ places }: Course): Timeline => places.map((place) => conditionings[place]!);
  return {
    parts: parts.map(({ weight, ...course }) => ({ weight, timeline: timelineOf(course) })),
    negative: negative === "zeros" ? [zeroConditioning(conditionings[0]!)] : negative && timelineOf(negative),
  };
}

/** What the model is told of the picture beside its size. */
export function originOf(job: { readonly originalSize?: string; readonly crop?: string }): PictureOrigin {
  const [width, height] = pairOf(job.originalSize ?? "", "x") ?? [];
  const [left, top] = pairOf(job.crop ?? "", ",") ?? [];
  return { width, height, left, top };
}

function zeroConditioning(like: Conditioning): Conditioning {
  const zeros = (rows: ReadonlyMap<string, Float32Array>) =>
    new Map([...rows].map(([name, { length }]) => [name, new Float32Array(length)]));
  return { sequences: zeros(like.sequences), vectors: zeros(like.vectors) };
}

/** In their order, each with its chunks side by side. */
async function encodeTexts(
  runtime: PhaseHost,
  planned: PlannedJob,
  texts: readonly (readonly Prompt[])[],
  options: EncodeOptions,
  refined: RefinedStage | undefined,
): Promise<Conditioning[]> {
  const { shape } = planned;
  const described = refined ?? planned.described;
  const { promptCache } = runtime;
  // Arithmetic is part of what was computed.
  const keyOf = (prompt: Prompt) => JSON.stringify([shape.fp32, refined !== undefined, prompt]);
  const known = texts.flat().map((prompt) => promptCache.get(keyOf(prompt)));
  const isKnown = known.every((conditioning) => conditioning !== undefined);
  await using phase = isKnown ? undefined : await runtime.openPhase(planned, described.phaseOf.encode, options.signal);
  const encode = async (prompt: Prompt): Promise<Conditioning> => {
    const cached = promptCache.get(keyOf(prompt));
    if (cached) return cached;
    const conditioning = await described.encode(phase!, prompt, options);
    for (const values of [...conditioning.sequences.values(), ...conditioning.vectors.values()]) {
      // Before it is remembered.
      requireFiniteValues(values, "the prompt's embedding");
    }
    promptCache.set(keyOf(prompt), conditioning);
    return conditioning;
  };
  const conditionings: Conditioning[] = [];
  for (const chunks of texts) {
    const first = await encode(chunks[0]!);
    if (chunks.length === 1) {
      conditionings.push(first);
      continue;
    }
    const sequences = new Map(
      [...first.sequences].map(([name, rows]) => [name, new Float32Array(rows.length * chunks.length)] as const),
    );
    for (const [i, chunk] of chunks.entries()) {
      const { sequences: rows } = i === 0 ? first : await encode(chunk);
      for (const [name, whole] of sequences) whole.set(rows.get(name)!, i * rows.get(name)!.length);
    }
    // Pooled is the first chunk's.
    conditionings.push({ sequences, vectors: first.vectors });
  }
  return conditionings;
}
