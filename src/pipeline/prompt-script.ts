/** @file A job's prompts over its steps: which texts the model is told when, and what that takes. Pure. */
import { UsageError } from "../errors.ts";
import { atStep, type LearnedWord, type Prompt, type PromptText } from "../models/conditioning.ts";
import { type Checkpoint, PROMPT_CACHE_ENTRIES } from "../models/family.ts";
import type { TextShape } from "../models/job-shape.ts";
import { networkTags } from "../prompt/networks.ts";
import { promptParts } from "../prompt/parts.ts";
import { type Moment, promptMoments } from "../prompt/schedule.ts";
import type { PromptSyntax } from "../prompt/syntax.ts";

/** Chunks of one image, each in as many texts as there are: 1.3 GB of embeddings of full-size SDXL. */
const MAX_CHUNKS = 2048;

/** What of a job says what the model is told. */
export interface PromptJob {
  readonly prompt: string;
  /** undefined and "" differ in plain syntax: only undefined takes what the model has for a prompt that was not given. */
  readonly negativePrompt?: string | undefined;
  readonly prompt2?: string | undefined;
  readonly negativePrompt2?: string | undefined;
  readonly promptSyntax?: PromptSyntax | undefined;
  readonly clipSkip?: number | undefined;
  /** Those that prompts may have. */
  readonly words?: readonly LearnedWord[] | undefined;
  readonly steps: number;
  readonly guidance: number;
  /** Of a pass that follows another one: that one's steps (schedule.ts), and those of the schedule that are not made. */
  readonly before?: number | undefined;
  readonly skippedSteps?: number | undefined;
}

/** Which of a script's texts holds in each step. The last one holds for all later steps. */
export interface Course {
  readonly places: readonly number[];
}

export interface PromptScript {
  /** All texts that there are, each as its chunks; all have as many. */
  readonly texts: readonly (readonly Prompt[])[];
  readonly parts: readonly (Course & { readonly weight: number })[];
  /** Absent where nothing guides. */
  readonly negative?: Course | "zeros" | undefined;
  readonly words?: readonly LearnedWord[] | undefined;
}

/** What reads prompts: a model, or its refiner. */
type PromptReader = Pick<Checkpoint, "name" | "isGuided" | "maxClipSkip" | "promptChunks" | "zerosForAbsentPrompt">;

/** `leastChunks`: all texts are filled up to so many. Pure. Throws UsageError `E_PROMPT` for what can't be read, and `E_LORA` for networks that others than the prompt ask for. */
function promptScript(checkpoint: PromptReader, job: PromptJob, leastChunks = 1): PromptScript {
  const {
    prompt: written,
    prompt2,
    negativePrompt,
    negativePrompt2,
    promptSyntax: syntax = "plain",
    clipSkip = 0,
  } = job;
  const { steps, guidance, words, skippedSteps = 0 } = job;
  const count = { steps, ...(job.before !== undefined && { before: job.before }) };
  requireClipSkip(checkpoint, clipSkip);
  const collector = new TextCollector(checkpoint, leastChunks);
  const isPlain = syntax === "plain";
  if (!isPlain) for (const text of [prompt2, negativePrompt, negativePrompt2]) requireNoNetworks(text ?? "");
  // Networks that it asks for are no text (prompt-loras.ts).
  const prompt = isPlain ? written : networkTags(written).text;
  const courseOf = (whole: string, second: string | undefined, skip: number): Course => {
    const momentsOf = (text: string) => (isPlain ? [{ untilStep: steps, text }] : promptMoments(text, count));
    const places: number[] = [];
    for (const [end, text, other] of together(momentsOf(whole), second ? momentsOf(second) : undefined)) {
      const place = collector.place({ text, second: other, syntax, clipSkip: skip, words });
      while (places.length < skippedSteps + end) places.push(place);
    }
    return { places };
  };
  const parts = isPlain ? [{ text: prompt, weight: 1 }] : promptParts(prompt);
  const isMixed = parts.length > 1 || parts[0]!.weight !== 1;
  // A negative that leads: its embedding is made first.
  const isAbsent = isPlain ? negativePrompt === undefined : !negativePrompt && !negativePrompt2;
  const isGuided = checkpoint.isGuided(guidance) || isMixed;
  const negative = !isGuided
    ? undefined
    : isAbsent && checkpoint.zerosForAbsentPrompt
      ? "zeros"
      : // diffusers passes over layers for the positive prompt alone.
        courseOf(negativePrompt ?? "", negativePrompt2, isPlain ? 0 : clipSkip);
  const found = parts.map(({ text, weight }) => ({ weight, ...courseOf(text, prompt2, clipSkip) }));
  return { texts: collector.filled(syntax), parts: found, negative, words };
}

/** Of a job with a second pass: the prompts of both, the second's absent where they are the first's. */
export interface PassScripts {
  readonly first: PromptScript;
  readonly second?: PromptScript | undefined;
}

/**
 * What the second pass is told. It counts steps on from the first's, as A1111's hires does: `[a:b:1.5]` changes in its midst, `[a:b:0.5]` before it.
 * `firstStep`: of its schedule.
 */
export function secondPrompts<Job extends PromptJob & HiresPrompts>(job: Job, firstStep: number): Job & PromptJob {
  const { hiresPrompt, hiresNegativePrompt, hiresSteps, ...rest } = job;
  return {
    ...job,
    prompt: hiresPrompt || rest.prompt,
    negativePrompt: hiresNegativePrompt || rest.negativePrompt,
    steps: (hiresSteps ?? rest.steps) - firstStep,
    before: rest.steps,
    skippedSteps: firstStep,
  };
}

interface HiresPrompts {
  readonly hiresPrompt?: string | undefined;
  readonly hiresNegativePrompt?: string | undefined;
  readonly hiresSteps?: number | undefined;
}

/** `firstStep`: of the second pass's schedule; undefined: there is none. Throws as promptScript. */
export function passScripts(
  checkpoint: PromptReader,
  job: PromptJob & HiresPrompts,
  firstStep: number | undefined,
): PassScripts {
  const first = promptScript(checkpoint, job);
  if (firstStep === undefined) return { first };
  const second = promptScript(checkpoint, secondPrompts(job, firstStep));
  return JSON.stringify(essence(first)) === JSON.stringify(essence(second)) ? { first } : { first, second };
}

/** Equal for scripts that tell the same in every step. */
function essence({ texts, parts, negative }: PromptScript) {
  const steady = ({ places }: Course) => (places.every((place) => place === places[0]) ? places.slice(0, 1) : places);
  return [
    texts,
    parts.map((part) => [part.weight, steady(part)]),
    typeof negative === "object" ? steady(negative) : negative,
  ];
}

/** What the model's refiner is told: as many chunks as the model's graphs have. */
export function refinerScript(checkpoint: Checkpoint, job: PromptJob, shape: TextShape | undefined): PromptScript {
  const { refiner, name, maxClipSkip } = checkpoint;
  const { zerosForAbsentPrompt } = refiner!;
  const reader = {
    ...{ name, maxClipSkip, zerosForAbsentPrompt },
    isGuided: (scale: number) => checkpoint.isGuided(scale),
    promptChunks: (prompt: PromptText) => refiner!.promptChunks(prompt),
  };
  return promptScript(reader, job, shape?.chunks ?? 1);
}

/** The texts of two timelines side by side, each pair with its last step. */
function* together(
  first: Iterable<Moment>,
  second: Iterable<Moment> | undefined,
): Generator<readonly [number, string, string | undefined], void, undefined> {
  if (!second) {
    for (const { untilStep, text } of first) yield [untilStep, text, undefined];
    return;
  }
  const others = second[Symbol.iterator]();
  let other = others.next();
  for (const { untilStep, text } of first) {
    while (!other.done && other.value.untilStep < untilStep) {
      yield [other.value.untilStep, text, other.value.text];
      other = others.next();
    }
    if (other.done) return;
    yield [untilStep, text, other.value.text];
    if (other.value.untilStep === untilStep) other = others.next();
  }
}

class TextCollector {
  readonly #checkpoint: PromptReader;
  readonly #written = new Map<string, number>();
  readonly #places = new Map<string, number>();
  readonly #texts: (readonly Prompt[])[] = [];
  #chunks: number;

  constructor(checkpoint: PromptReader, leastChunks: number) {
    this.#checkpoint = checkpoint;
    this.#chunks = leastChunks;
  }

  /** Where in the list a text is; equal ones are one, and none is cut into tokens twice. */
  place(text: PromptText): number {
    const written = JSON.stringify([text.text, text.second, text.clipSkip]);
    const place = this.#written.get(written) ?? this.#placeOf(this.#checkpoint.promptChunks(text));
    this.#written.set(written, place);
    return place;
  }

  #placeOf(chunks: readonly Prompt[]): number {
    const key = JSON.stringify(chunks);
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    this.#chunks = Math.max(this.#chunks, chunks.length);
    const all = this.#chunks * (this.#texts.length + 1);
    if (all > MAX_CHUNKS) {
      throw new UsageError({
        code: "E_PROMPT",
        subject: "prompt",
        problem: `its texts over the steps take ${all} chunks of tokens or more (allowed ${MAX_CHUNKS})`,
        next: "write a shorter prompt, or one that changes less often",
      });
    }
    this.#places.set(key, this.#texts.length);
    this.#texts.push(chunks);
    return this.#texts.length - 1;
  }

  filled(syntax: PromptText["syntax"]): (readonly Prompt[])[] {
    return this.#texts.map((chunks) => {
      const { clipSkip } = chunks[0]!;
      const missing = this.#chunks - chunks.length;
      if (missing === 0) return chunks;
      const [empty] = this.#checkpoint.promptChunks({ text: "", syntax, clipSkip });
      return [...chunks, ...new Array<Prompt>(missing).fill(empty!)];
    });
  }
}

function requireClipSkip({ maxClipSkip, name }: PromptReader, clipSkip: number): void {
  if (clipSkip <= maxClipSkip) return;
  throw new UsageError({
    code: "E_JOB",
    subject: "clipSkip",
    problem: `out of range (found ${clipSkip}, allowed 0 to ${maxClipSkip} with ${name})`,
    next: "give clipSkip a value in that range",
  });
}

function requireNoNetworks(prompt: string): void {
  const [network] = networkTags(prompt).networks;
  if (!network) return;
  throw new UsageError({
    code: "E_LORA",
    subject: `<${network.kind}:${network.name}>`,
    problem: "only the prompt itself can ask for networks (found one, allowed none)",
    next: "write it into the prompt",
  });
}

/** What it takes, `beside` the script of another pass; undefined for prompts that take as little as possible. */
export function textShapeOf(script: PromptScript, beside?: PromptScript): TextShape | undefined {
  const { texts, parts, negative, words = [] } = script;
  const chunks = texts[0]!.length;
  const scripts = beside ? [script, beside] : [script];
  const every = scripts.flatMap((each) => each.texts);
  const clipSkips = [...new Set(every.map(([first]) => first!.clipSkip))].toSorted((a, b) => a - b);
  const encodes = new Set(every.flat().map((prompt) => JSON.stringify(prompt))).size;
  const courses: readonly Course[] = typeof negative === "object" ? [...parts, negative] : parts;
  const length = Math.max(...courses.map(({ places }) => places.length));
  let tellings = 1;
  for (let step = 1; step < length; step++) {
    if (courses.some(({ places }) => atStep(places, step) !== atStep(places, step - 1))) tellings++;
  }
  const isLearned = every.flat().some(({ tokens }) => Object.values(tokens).some(({ learned }) => learned));
  const isSimple =
    !isLearned && chunks === 1 && tellings === 1 && parts.length === 1 && clipSkips.every((skip) => skip === 0);
  if (isSimple && !beside) return undefined;
  // What has one chunk is what the cache holds, as long as it holds all.
  const isCached = every.every((text) => text.length === 1) && every.length < PROMPT_CACHE_ENTRIES;
  const held = scripts.map((each) => (each.texts.length + (each.negative === "zeros" ? 1 : 0)) * each.texts[0]!.length);
  const learned = words.reduce((sum, { count }) => sum + count, 0);
  return {
    chunks,
    clipSkips,
    encodes,
    tellings,
    ...(isLearned ? { learned } : {}),
    heldChunks: isCached ? 0 : held.reduce((sum, each) => sum + each, 0),
  };
}

/** Token ids by tokenizer, of all chunks of the first step's texts, one part after the other. Throws UsageError as promptScript. */
export function firstTokens(
  checkpoint: Checkpoint,
  prompt: string,
  promptSyntax: PromptSyntax = "plain",
): Readonly<Record<string, readonly number[]>> {
  const { texts, parts } = promptScript(checkpoint, { prompt, promptSyntax, steps: 1, guidance: 1 });
  const chunks = parts.flatMap(({ places }) => texts[places[0]!]!);
  const names = Object.keys(chunks[0]!.tokens);
  return Object.fromEntries(names.map((name) => [name, chunks.flatMap(({ tokens }) => tokens[name]!.ids)]));
}
