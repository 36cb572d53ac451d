/** @file `a AND b :1.2`: a prompt as parts that the model is asked of separately, each with a weight, by the rules of A1111's web UI. */
import { UsageError } from "../errors.ts";
import type { WeightedText } from "./attention.ts";

/** Each is one more image in the model's batch. */
const MAX_PARTS = 64;

const AND = /(?<![\p{L}\p{N}_])AND(?![\p{L}\p{N}_])/u;
const WEIGHT = /^[+-]?(?:\d+\.?|\d*\.\d+)$/u;

/** In their order; at least one. A weight ends its part: `a cat :1.2`, also where there is no AND. Throws UsageError `E_PROMPT`. */
export function promptParts(prompt: string): WeightedText[] {
  const parts = prompt.split(AND);
  if (parts.length <= MAX_PARTS) return parts.map(weighted);
  throw new UsageError({
    code: "E_PROMPT",
    subject: "prompt",
    problem: `too many parts joined by AND (found ${parts.length}, allowed ${MAX_PARTS})`,
    next: "join fewer parts",
  });
}

function weighted(part: string): WeightedText {
  const colon = part.lastIndexOf(":");
  const weight = part.slice(colon + 1).trim();
  return colon >= 0 && WEIGHT.test(weight)
    ? { text: part.slice(0, colon).trimEnd(), weight: Number(weight) }
    : { text: part.trimEnd(), weight: 1 };
}
