/** @file Budgets as people write them: `6G`, `512M`, `-1G` (all but 1 GiB), and bytes as people read them. */
import { UsageError } from "../errors.ts";

export const KiB = 1024;
export const MiB = 1024 ** 2;
export const GiB = 1024 ** 3;

const UNITS: Readonly<Record<string, number>> = { "": 1, k: KiB, m: MiB, g: GiB, t: 1024 * GiB };
const PATTERN = /^(-?)(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i;

/** What was asked for: that much, or all but that much. */
export interface BudgetRequest {
  readonly bytes: number;
  readonly allBut: boolean;
}

/** Units are powers of 1024; a bare number is bytes. Throws UsageError `E_BUDGET_SYNTAX`. */
export function parseBudget(option: string, text: string): BudgetRequest {
  // A caller without types may give a number: of bytes.
  const [, minus, digits, unit] = PATTERN.exec(String(text).trim()) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[(unit ?? "").toLowerCase()] ?? Number.NaN));
  if (digits === undefined || !Number.isSafeInteger(bytes) || bytes === 0) {
    throw new UsageError({
      code: "E_BUDGET_SYNTAX",
      subject: option,
      problem: `${JSON.stringify(text)} is no amount of memory (allowed 6G, 512M, 5.5G, or -1G for all but 1 GiB)`,
      next: `write for instance ${option} 6G`,
    });
  }
  return { bytes, allBut: minus === "-" };
}

/** The bytes a request stands for on a tier of `capacityBytes`. Throws UsageError `E_BUDGET` if nothing is left. */
export function resolveBudget(option: string, request: BudgetRequest, capacityBytes: number): number {
  const bytes = request.allBut ? capacityBytes - request.bytes : request.bytes;
  if (bytes > 0) return bytes;
  throw new UsageError({
    code: "E_BUDGET",
    subject: option,
    problem: `all but ${formatBytes(request.bytes)} of ${formatBytes(capacityBytes)} leaves nothing`,
    next: "spare less, or name the amount to use",
  });
}

/** `4.50 GiB`, `812 MiB`, `1.5 MiB`, `12 KiB`, `0 B`. */
export function formatBytes(bytes: number): string {
  if (bytes >= GiB) return `${(bytes / GiB).toFixed(2)} GiB`;
  if (bytes >= 10 * MiB) return `${Math.round(bytes / MiB)} MiB`;
  if (bytes >= MiB) return `${(bytes / MiB).toFixed(1)} MiB`;
  if (bytes >= KiB) return `${Math.round(bytes / KiB)} KiB`;
  return `${bytes} B`;
}

/** An amount that `parseBudget` reads back as at least `bytes`: whole MiB. */
export function budgetText(bytes: number): string {
  return `${Math.ceil(bytes / MiB)}M`;
}
