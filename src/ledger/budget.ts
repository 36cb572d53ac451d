/** @file Budgets as people write them: `6G`, `512M`, `-1G` (all but 1 GiB). */
import { UsageError } from "../errors.ts";
import { formatBytes, GiB, KiB, MiB } from "./byte-text.ts";

const UNITS: Readonly<Record<string, number>> = { "": 1, k: KiB, m: MiB, g: GiB, t: 1024 * GiB };
const PATTERN = /^(-?)(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i;

/** What was asked for, in bytes: that much, or all but that much. */
export type Budget = { readonly bytes: number } | { readonly allBut: number };

/** Units are powers of 1024; a bare number is bytes. Throws UsageError `E_BUDGET_SYNTAX`. */
export function parseBudget(option: string, text: string): Budget {
  const [, minus, digits, unit] = PATTERN.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[(unit ?? "").toLowerCase()] ?? Number.NaN));
  if (digits === undefined || !Number.isSafeInteger(bytes) || bytes === 0) {
    throw new UsageError({
      code: "E_BUDGET_SYNTAX",
      subject: option,
      problem: `${JSON.stringify(text)} is no amount of memory (allowed 6G, 512M, 5.5G, or -1G for all but 1 GiB)`,
      next: `write for instance ${option} 6G`,
    });
  }
  return minus === "-" ? { allBut: bytes } : { bytes };
}

/** The bytes a budget stands for on a tier of `capacityBytes`. Throws UsageError `E_BUDGET` if nothing is left. */
export function resolveBudget(option: string, budget: Budget, capacityBytes: number): number {
  if ("bytes" in budget) return budget.bytes;
  const bytes = capacityBytes - budget.allBut;
  if (bytes > 0) return bytes;
  throw new UsageError({
    code: "E_BUDGET",
    subject: option,
    problem: `${describeBudget(budget)} of ${formatBytes(capacityBytes)} leaves nothing`,
    next: "spare less, or name the amount to use",
  });
}

/** `4.50 GiB`, or `all but 1.00 GiB`. */
export function describeBudget(budget: Budget): string {
  return "bytes" in budget ? formatBytes(budget.bytes) : `all but ${formatBytes(budget.allBut)}`;
}

/** What to write after --vram or --ram: `parseBudget` reads it back as at least `bytes`, in whole MiB. */
export function budgetText(bytes: number): string {
  return `${Math.ceil(bytes / MiB)}M`;
}
