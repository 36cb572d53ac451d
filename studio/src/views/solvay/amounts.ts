/** @file Amounts as the language writes them: memory in powers of 1024, rates in powers of 1000, times. */
import { number } from "../../messages/translate.ts";

const MEMORY = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Number and unit stay in their order among words that run from right to left. */
function inOrder(text: string): string {
  return document.documentElement.dir === "rtl" ? `\u2066${text}\u2069` : text;
}

/** 5.2 GiB. */
export function memory(bytes: number): string {
  const unit = bytes < 1 ? 0 : Math.min(MEMORY.length - 1, Math.floor(Math.log2(bytes) / 10));
  return inOrder(`${number(bytes / 1024 ** unit, { maximumSignificantDigits: 3 })} ${MEMORY[unit]}`);
}

/** 3.1 GB/s; MB/s below a tenth of one. */
export function bytesASecond(rate: number): string {
  const [value, unit] = rate < 1e8 ? [rate / 1e6, "MB/s"] : [rate / 1e9, "GB/s"];
  return inOrder(`${number(value, { maximumSignificantDigits: 3 })} ${unit}`);
}

/** 840 ms, 12.3 s, 4 min. */
export function span(ms: number): string {
  const [value, unit] =
    ms < 1000 ? [ms, "millisecond"] : ms < 120_000 ? [ms / 1000, "second"] : [ms / 60_000, "minute"];
  return number(value, { style: "unit", unit, unitDisplay: "short", maximumSignificantDigits: 3 });
}
