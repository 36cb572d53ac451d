/** @file Telemetry for people: the segments that held the run up most, and the weights on the device over time. */

import type { GenerateEvent, ResidencySample, SegmentTotals } from "../job/types.ts";
import { formatBytes } from "../ledger/byte-text.ts";
import { seconds } from "./plan-text.ts";

type TelemetryEvent = Extract<GenerateEvent, { type: "telemetry" }>;

const ROWS = 12;
const COLUMNS = 64;
const BARS = "▁▂▃▄▅▆▇█";

export function telemetryText({ segments, residency }: TelemetryEvent): string {
  const held = segments.toSorted((a, b) => b.waitMs - a.waitMs || b.computeMs - a.computeMs).slice(0, ROWS);
  const width = Math.max(0, ...held.map((row) => label(row).length));
  return [
    `Segments that waited longest (${held.length} of ${segments.length}):`,
    ...held.map((row) => `  ${label(row).padEnd(width)}  ${parts(row).join(", ")}`),
    ...residencyLines(residency),
  ].join("\n");
}

function label({ pass, segment, blocks, runs }: SegmentTotals): string {
  return `${pass} ${blocks.length > 0 ? blocks.join(" + ") : segment} x${runs}`;
}

function parts(row: SegmentTotals): string[] {
  const rate = row.readMs > 0 ? ` at ${readRate(row)}` : "";
  return [
    `wait ${seconds(row.waitMs)} (longest ${seconds(row.longestWaitMs)})`,
    `compute ${seconds(row.computeMs)}`,
    ...(row.loads > 0
      ? [
          `${row.loads} loads: read ${seconds(row.readMs)}${rate}`,
          `decode ${seconds(row.decodeMs)}`,
          `upload ${seconds(row.uploadMs)}`,
        ]
      : ["no loads"]),
  ];
}

function readRate({ diskBytes, readMs }: SegmentTotals): string {
  const megabytes = diskBytes / readMs / 1e3;
  return megabytes < 1000
    ? `${megabytes.toFixed(megabytes < 10 ? 2 : 0)} MB/s`
    : `${(megabytes / 1000).toFixed(2)} GB/s`;
}

function residencyLines(residency: readonly ResidencySample[]): string[] {
  const last = residency.at(-1);
  if (!last) return [];
  const most = residency.reduce((bytes, { weightBytes }) => Math.max(bytes, weightBytes), 0);
  return [
    `Weights on the device over ${seconds(last.atMs)}, at most ${formatBytes(most)}:`,
    `  ${sparkline(residency, most)}`,
  ];
}

/** Columns stand for equal times; each shows the last sample before its end. */
function sparkline(residency: readonly ResidencySample[], most: number): string {
  const endMs = residency.at(-1)!.atMs;
  let line = "";
  let at = 0;
  for (let column = 1; column <= COLUMNS; column++) {
    while (at + 1 < residency.length && residency[at + 1]!.atMs <= (endMs * column) / COLUMNS) at++;
    const share = most > 0 ? residency[at]!.weightBytes / most : 0;
    line += BARS[Math.round(share * (BARS.length - 1))]!;
  }
  return line;
}
