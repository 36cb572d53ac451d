/** @file What A1111's dialect refuses, and what says nothing in it. */
import { Refusal } from "../failures.ts";

/** What says "nothing": left out, or as the web UI sends it for a feature that isn't used. */
export const NEUTRAL: readonly unknown[] = [
  ...[undefined, null, "", 0, -1, false, "None", "Automatic"],
  ...["Use same checkpoint", "Use same sampler", "Use same scheduler", "Use same choices"],
];

export function wrong(subject: string, problem: string): Refusal {
  return new Refusal(422, { code: "E_REQUEST", subject, problem, next: `give ${subject} such a value` });
}

/** In A1111's words, which its clients look for. */
export function noModel(subject: string, asked: unknown, allowed: readonly string[]): Refusal {
  const problem = `Model not found (found ${JSON.stringify(String(asked).slice(0, 60))}, allowed ${allowed.map((name) => JSON.stringify(name)).join(", ")})`;
  return new Refusal(404, { code: "E_MODEL", subject, problem, next: "ask for the model that is served" });
}

export function whole(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw wrong(name, `a whole number from ${min} to ${max} is wanted`);
}
