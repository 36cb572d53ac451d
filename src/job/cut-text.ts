/** @file How it is told what tokenizers left out of a prompt that is too long. */
import type { CutTexts } from "../tokenizer/cut-text.ts";
import type { GenerateJob } from "./job.ts";

/** Longest text that is quoted whole. */
const QUOTED_CHARS = 1000;

/** A note for people, one line; undefined if nothing was cut. `what`: "prompt". */
export function cutNote(what: string, cut: CutTexts): string | undefined {
  const names = new Map<string, string[]>();
  for (const [name, { limit, tokens, text }] of Object.entries(cut)) {
    const shown = text.length > QUOTED_CHARS ? `${text.slice(0, QUOTED_CHARS).toWellFormed()} ...` : text;
    const said = `(${limit} tokens): ${tokens} ${tokens === 1 ? "is" : "are"} left out, ${JSON.stringify(shown)}`;
    names.set(said, [...(names.get(said) ?? []), name]);
  }
  if (names.size === 0) return undefined;
  const parts = [...names].map(([said, tokenizers]) => `for ${tokenizers.join(" and ")} ${said}`);
  return `The ${what} is too long ${parts.join("; ")}`;
}

export interface CutPrompt {
  /** "prompt". */
  readonly what: string;
  readonly text: string;
  /** For the second tokenizer. Default: the same. */
  readonly second: string | undefined;
}

/** A job's prompts that tokenizers may cut: none in A1111's syntax, whose prompts are as long as they are. `guided`: negative ones are read, too. */
export function cutPrompts(job: GenerateJob, guided: boolean): readonly CutPrompt[] {
  if (job.promptSyntax === "a1111") return [];
  const { prompt, prompt2, negativePrompt = "", negativePrompt2 } = job;
  const { hiresPrompt, hiresNegativePrompt } = job.hiresScale === undefined ? {} : job;
  const prompts = [
    { what: "prompt", text: prompt, second: prompt2 || undefined },
    ...(hiresPrompt ? [{ what: "second pass's prompt", text: hiresPrompt, second: prompt2 || undefined }] : []),
  ];
  const second = negativePrompt2 || undefined;
  const negatives = [
    { what: "negative prompt", text: negativePrompt, second },
    ...(hiresNegativePrompt ? [{ what: "second pass's negative prompt", text: hiresNegativePrompt, second }] : []),
  ];
  return [...prompts, ...(guided ? negatives : [])];
}
