/** @file Values that all units of the ControlNet extension have, whatever they are. */
import { wrong } from "./refusals.ts";

/** A model's name, without the beginning of its hash, with which the extension lists it. */
export function fileOf(model: string): string {
  return model.replace(/ \[[0-9a-f]{8}\]$/, "");
}

/** Throws Refusal. */
export function share(name: string, value: unknown, max: number): number {
  if (typeof value === "number" && value >= 0 && value <= max) return value;
  throw wrong("alwayson_scripts", `${name} must be a number from 0 to ${max}`);
}
