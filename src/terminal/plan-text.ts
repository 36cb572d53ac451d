/** @file A plan for people: tiers, phases, the map of blocks, predicted times, and why. Lines of at most 80 columns. */

import type { GenerateEvent, PassReport, PhaseReport, PlanReport } from "../job/types.ts";
import { formatBytes } from "../ledger/byte-text.ts";
import { wholePassId } from "../plan/plan-input.ts";
import { wrapped } from "./format.ts";

const COLUMNS = 80;
/** One character for a stretch of blocks of about equal bytes. */
const MAP_COLUMNS = 64;
/** Shorter waits would read "0.0 ms". */
const LEAST_WAIT_MS = 0.1;
/** What owners of such weights begin with. */
const ADAPTERS = "lora-";
const SIGNS = { pinned: "█", "streamed from RAM": "▒", streamed: "░", passing: "·" } as const;

/** `count`: how many images are wanted. */
export function planText(plan: PlanReport, count = 1): string {
  const { budgets, peak } = plan;
  const lines = [
    `Plan for ${plan.machine}`,
    `  (${plan.basis})`,
    `  VRAM ${tier(peak.deviceBytes, budgets.deviceBytes)}, ${formatBytes(plan.overheadBytes)} of it staging and driver`,
    `  RAM  ${tier(peak.ramBytes, budgets.ramBytes)}, ${formatBytes(plan.processBytes)} of it the process`,
    plan.keepsAll
      ? "  All phases' weights stay from image to image."
      : "  Each phase gives its memory back before the next begins.",
    ...plan.phases.flatMap(phaseLines),
    `Predicted: ${seconds(plan.predictedMs)} ${plan.keepsAll ? "for the first image" : "an image"}${fillText(plan)}${stepText(plan)}.`,
    ...sideBySideLines(plan, count),
    `Map: ${SIGNS.pinned} stays  ${SIGNS["streamed from RAM"]} streams from RAM  ${SIGNS.streamed} streams from disk  ${SIGNS.passing} used once, passes through`,
  ];
  return lines.flatMap((line) => wrapped(line, COLUMNS)).join("\n");
}

/** What it brings that weights pass once for several images. */
function sideBySideLines({ lanes, predictedMs, loadedBytes, alone, keepsAll }: PlanReport, count: number): string[] {
  if (count === 1) return [];
  if (!alone) return [keepsAll ? "1 image at a time: no weights pass." : "1 image at a time: more would not pay."];
  const moved = `weights moved an image ${formatBytes(alone.loadedBytes)} -> ${formatBytes(loadedBytes)}`;
  return [
    `${lanes} images a pass: ${moved}, predicted ${seconds(alone.predictedMs)} -> ${seconds(predictedMs)} an image.`,
  ];
}

function tier(peakBytes: number, budgetBytes: number): string {
  return `${formatBytes(peakBytes)} at the peak of ${formatBytes(budgetBytes)}`;
}

function phaseLines(phase: PhaseReport): string[] {
  const shared = phase.sharedBytes > 0 ? ` (${formatBytes(phase.sharedBytes)} of it there before)` : "";
  const parts = [
    `weights ${formatBytes(phase.pinnedBytes + phase.ringBytes)}${shared}`,
    `activations ${formatBytes(phase.activationBytes)}`,
    `scratch ${formatBytes(phase.scratchBytes)}`,
    ...(phase.spilledBytes > 0
      ? [`spilled ${formatBytes(phase.spilledBytes)} (${phase.spillTier === "ram" ? "in RAM" : "on the device"})`]
      : []),
  ];
  return [
    "",
    `${phase.title}: VRAM ${formatBytes(phase.deviceBytes)}, RAM ${formatBytes(phase.ramBytes)}`,
    `  ${parts.join(", ")}`,
    ...phase.reasons.map((reason) => `  - ${reason}`),
    ...mapLines(phase),
  ];
}

/** The bands of a graph are many small passes that share blocks: their maps are one line. */
function mapLines({ passes, lanes }: PhaseReport): string[] {
  const whole = Map.groupBy(passes, ({ id }) => wholePassId(id));
  const joined = [...whole].map(([id, parts]) => (parts.length === 1 ? parts[0]! : joinBands(`${id} in bands`, parts)));
  return joined.flatMap((pass) => {
    const moved = pass.movedBytes > 0 ? `, ${formatBytes(pass.movedBytes)} a run` : "";
    const each = lanes > 1 ? ` for each of ${lanes} images` : "";
    const disk =
      pass.diskBytes > 0 && pass.diskBytes < pass.movedBytes ? ` (${formatBytes(pass.diskBytes)} from disk)` : "";
    const isAdapters = ({ owner }: PassReport["map"][number]) => owner.startsWith(ADAPTERS);
    const adapters = pass.map.filter(isAdapters);
    const own = pass.map.filter((block) => !isAdapters(block));
    const waits = pass.predictedWaitMs >= LEAST_WAIT_MS ? `, ${seconds(pass.predictedWaitMs)} of it waiting` : "";
    return [
      `  ${pass.id} x${pass.repeats}${moved}${disk}: ${seconds(pass.predictedMs)}${each}${waits}`,
      `  [${mapPicture(own)}]`,
      ...(adapters.length > 0 ? [`  adapters ${formatBytes(bytesOf(adapters))}`, `  [${mapPicture(adapters)}]`] : []),
    ];
  });
}

function bytesOf(map: PassReport["map"]): number {
  return map.reduce((sum, { bytes }) => sum + bytes, 0);
}

function joinBands(id: string, passes: readonly PassReport[]): PassReport {
  const total = (of: (pass: PassReport) => number) => passes.reduce((sum, pass) => sum + of(pass), 0);
  const blocks = new Map(passes.flatMap(({ map }) => map.map((block) => [block.segment, block])));
  return {
    id,
    repeats: 1,
    movedBytes: [...blocks.values()].reduce((sum, { bytes, place }) => sum + (place === "pinned" ? 0 : bytes), 0),
    diskBytes: 0,
    predictedMs: total((pass) => pass.predictedMs * pass.repeats),
    predictedComputeMs: total((pass) => pass.predictedComputeMs * pass.repeats),
    predictedWaitMs: total((pass) => pass.predictedWaitMs * pass.repeats),
    map: [...blocks.values()],
  };
}

/** Columns stand for equal shares of the bytes; each shows what most of its bytes do. */
function mapPicture(map: PassReport["map"], columns = MAP_COLUMNS): string {
  const totalBytes = bytesOf(map);
  if (totalBytes === 0) return "";
  let picture = "";
  let block = 0;
  let blockEnd = map[0]!.bytes;
  for (let column = 0; column < columns; column++) {
    const middle = ((column + 0.5) / columns) * totalBytes;
    while (blockEnd < middle && block + 1 < map.length) blockEnd += map[++block]!.bytes;
    picture += SIGNS[map[block]!.place];
  }
  return picture;
}

function fillText({ phases }: PlanReport): string {
  const fillMs = phases.reduce((sum, { predictedFillMs }) => sum + predictedFillMs, 0);
  return fillMs > 0 ? ` (${seconds(fillMs)} of it until weights that stay are there)` : "";
}

function stepText(plan: PlanReport): string {
  const step = longestPass(plan);
  return step && step.repeats > 1 ? `, ${seconds(step.predictedMs)} a step (s/it)` : "";
}

/** The pass that takes most of an image's time. */
function longestPass({ phases }: PlanReport): PassReport | undefined {
  const total = (pass: PassReport) => pass.predictedMs * pass.repeats;
  return phases
    .flatMap(({ passes }) => passes)
    .reduce<PassReport | undefined>(
      (longest, pass) => (longest && total(longest) >= total(pass) ? longest : pass),
      undefined,
    );
}

/** One line after a run: what was planned, and what the ledger and the clock say. */
export function measuredText(plan: PlanReport, image: Extract<GenerateEvent, { type: "image" }>): string {
  const step = longestPass(plan);
  const done = image.passes.find(({ pass }) => step && pass === wholePassId(step.id));
  const pace = done && step ? done.totalMs / Math.max(1, done.runs) : undefined;
  const rate = pace === undefined ? "" : `, ${seconds(pace)} a step (${seconds(step!.predictedMs)})`;
  const waits =
    done && done.waitMs > 0 ? `, ${seconds(done.waitMs / Math.max(1, done.runs))} of it waiting for weights` : "";
  const loaded = image.passes.reduce((sum, { loadedBytes }) => sum + loadedBytes, 0);
  const [found, planned] = [loaded, plan.loadedBytes].map(formatBytes);
  const shared = plan.lanes > 1 ? `, ${plan.lanes} images a pass with ${found} (${planned}) of weights for each` : "";
  return (
    `Measured (planned): VRAM ${formatBytes(image.peakDeviceBytes)} (${formatBytes(plan.peak.deviceBytes)}), ` +
    `RAM ${formatBytes(image.peakRamBytes)} (${formatBytes(plan.peak.ramBytes)})${rate}${waits}${shared}; ` +
    `process at its peak ${formatBytes(image.peakRssBytes)}`
  );
}

/** `1.24 s`, `12.3 s`, `840 ms`. */
export function seconds(ms: number): string {
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}
