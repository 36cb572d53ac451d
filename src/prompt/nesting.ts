/** @file How deep a prompt's brackets may lie in one another: what bounds the work that a prompt can ask for. */
import { UsageError } from "../errors.ts";

/** Brackets that are open at once. 1.1 to this power is 13,780: nobody means it. */
const MAX_DEPTH = 100;

/** `at`: the place in the prompt, in UTF-16 units from 0. Throws UsageError `E_PROMPT`. */
export function requireShallow(depth: number, at: number): void {
  if (depth <= MAX_DEPTH) return;
  throw new UsageError({
    code: "E_PROMPT",
    subject: "prompt",
    problem: `more than ${MAX_DEPTH} brackets are open at once, at character ${at + 1} (allowed ${MAX_DEPTH})`,
    next: "close brackets, or write \\( and \\[ for those that are text",
  });
}
