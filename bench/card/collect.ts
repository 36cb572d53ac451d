/**
 * @file Makes a result that can be kept of a run's results.jsonl: bench/results/card-<device>.json, with device, driver and command.
 * Usage: node bench/card/collect.ts RESULTS.jsonl [FOLDER]
 */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { StepResult } from "./report.ts";

const [file, folder = path.resolve(import.meta.dirname, "../results")] = process.argv.slice(2);
if (file === undefined) {
  console.error("Usage: node bench/card/collect.ts RESULTS.jsonl [FOLDER]");
  process.exit(2);
}
const results = readFileSync(file, "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as StepResult);
/** What `solvay doctor` found of the adapter that computed. */
interface Finding {
  readonly state: string;
  readonly adapter?: { readonly device: string; readonly description: string; readonly software: boolean };
}
const findings = results.find(({ step }) => step === "doctor")?.figures;
const adapters = Array.isArray(findings) ? (findings as Finding[]).flatMap(({ adapter }) => adapter ?? []) : [];
const adapter = adapters.find(({ software }) => !software) ?? adapters[0];
const device = adapter?.device ?? "unknown";
const name = device
  .toLowerCase()
  .replaceAll(/[^a-z0-9]+/g, "-")
  .replaceAll(/^-|-$/g, "");
const target = path.join(folder, `card-${name}.json`);
const document = { device, driver: adapter?.description, command: "bench/card/run.sh", results };
writeFileSync(target, `${JSON.stringify(document, null, 1)}\n`);
console.log(`${target}: ${results.length} steps, ${results.filter(({ ok }) => !ok).length} failed`);
