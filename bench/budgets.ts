/**
 * @file Full-size SDXL on the CPU under several budgets: peak resident memory of the whole process as the kernel counts it,
 * seconds a step, and the picture's hash, which must be one for all. Usage: node bench/budgets.ts --model DIR [--steps 2]
 * [--width 512] [--height 512] [--budgets 8G/1G,4G/512M,...] [--json FILE] [--svg FILE]. See bench/README.md.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { PlanReport } from "../src/job/types.ts";
import { MiB } from "../src/ledger/byte-text.ts";

/** The first reads the weights from disk, so that all that are compared find them in the file cache. */
const BUDGETS = "8G/1G,8G/1G,4G/512M,2G/512M,1500M/256M,1G/256M,900M/256M";

interface Row {
  readonly vram: string;
  readonly ram: string;
  readonly budgetMiB: number;
  readonly peakRssMiB: number;
  readonly ledgerMiB: number;
  readonly predictedMiB: number;
  readonly stepSeconds: number;
  readonly imageSeconds: number;
  readonly movedGbPerStep: number;
  readonly waitSecondsPerStep: number;
  readonly sha256: string;
}

interface Event {
  readonly type: string;
  readonly stepMs: number;
  readonly waitMs: number;
  readonly readBytes: number;
  readonly elapsedMs: number;
  readonly peakRssBytes: number;
  readonly peakDeviceBytes: number;
  readonly peakRamBytes: number;
  readonly sha256: string;
  readonly message: string;
  readonly plan: Pick<PlanReport, "peak" | "budgets">;
}

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    width: { type: "string", default: "512" },
    height: { type: "string", default: "512" },
    steps: { type: "string", default: "2" },
    budgets: { type: "string", default: BUDGETS },
    json: { type: "string" },
    svg: { type: "string" },
  },
});
if (options.model === undefined) {
  console.error(
    "Usage: node bench/budgets.ts --model DIR [--steps N] [--budgets VRAM/RAM,...] [--json FILE] [--svg FILE]",
  );
  process.exit(2);
}

const rows: Row[] = [];
for (const [i, pair] of options.budgets.split(",").entries()) {
  const [vram = "", ram = ""] = pair.split("/");
  const row = await measure(vram, ram);
  console.log(JSON.stringify(row));
  if (i > 0) rows.push(row);
}
const machine = `${availableParallelism()} threads, ${cpus()[0]!.model.trim()}, Node ${process.version}`;
const { width, height, steps } = options;
if (options.json) {
  await writeFile(options.json, `${JSON.stringify({ machine, width, height, steps, rows }, null, 2)}\n`);
}
if (options.svg) await writeFile(options.svg, plot(rows));
const pictures = new Set(rows.map(({ sha256 }) => sha256));
console.log(
  `${pictures.size === 1 ? "one picture" : `${pictures.size} DIFFERENT pictures`} for ${rows.length} budgets`,
);
process.exitCode = pictures.size === 1 ? 0 : 1;

async function measure(vram: string, ram: string): Promise<Row> {
  const folder = await mkdtemp(join(tmpdir(), "solvay-bench-"));
  try {
    const bootstrap = fileURLToPath(new URL("../scripts/bootstrap.mjs", import.meta.url));
    const job = [
      "--model",
      options.model!,
      "--width",
      options.width,
      "--height",
      options.height,
      "--steps",
      options.steps,
    ];
    const args = ["generate", "a lake at dusk", "--seed", "1", "--backend", "cpu", "--json", ...job];
    const output = ["--output", join(folder, "a.png"), "--vram", vram, "--ram", ram];
    const child = spawn(process.execPath, [bootstrap, ...args, ...output], { stdio: ["ignore", "pipe", "inherit"] });
    const stepEvents: Event[] = [];
    let plan: Event["plan"] | undefined;
    let image: Event | undefined;
    for await (const line of createInterface({ input: child.stdout })) {
      const event = JSON.parse(line) as Event;
      if (event.type === "plan") plan = event.plan;
      if (event.type === "step") stepEvents.push(event);
      if (event.type === "image") image = event;
      if (event.type === "error") throw new Error(event.message);
    }
    if (!image || !plan) throw new Error("no image came");
    const later = stepEvents.slice(1);
    const mean = (of: (event: Event) => number) => later.reduce((sum, event) => sum + of(event), 0) / later.length;
    const budgetBytes = plan.budgets.deviceBytes + plan.budgets.ramBytes;
    return {
      vram,
      ram,
      budgetMiB: Math.round(budgetBytes / MiB),
      peakRssMiB: Math.round(image.peakRssBytes / MiB),
      ledgerMiB: Math.round((image.peakDeviceBytes + image.peakRamBytes) / MiB),
      predictedMiB: Math.round((plan.peak.deviceBytes + plan.peak.ramBytes) / MiB),
      stepSeconds: round(mean((event) => event.stepMs / 1000)),
      imageSeconds: round(image.elapsedMs / 1000),
      movedGbPerStep: round(mean((event) => event.readBytes / 1e9)),
      waitSecondsPerStep: round(mean((event) => event.waitMs / 1000)),
      sha256: image.sha256,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Peak memory over budget, with the line that it must stay below. */
function plot(points: readonly Row[]): string {
  const most = Math.max(...points.map(({ budgetMiB }) => budgetMiB)) * 1.05;
  const [left, size] = [60, 420];
  const x = (mib: number) => (left + (mib / most) * size).toFixed(1);
  const y = (mib: number) => (size + 20 - (mib / most) * size).toFixed(1);
  const dots = points.map(
    ({ budgetMiB, peakRssMiB, vram, ram }) =>
      `<circle cx="${x(budgetMiB)}" cy="${y(peakRssMiB)}" r="4" fill="#06c"><title>${vram}/${ram}: ${peakRssMiB} MiB</title></circle>` +
      `<text x="${x(budgetMiB)}" y="${Number(y(peakRssMiB)) + 18}" text-anchor="middle">${peakRssMiB}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="520" height="490" font-family="sans-serif" font-size="11">`,
    `<rect width="520" height="490" fill="white"/>`,
    `<line x1="${x(0)}" y1="${y(0)}" x2="${x(most)}" y2="${y(most)}" stroke="#c00" stroke-dasharray="4"/>`,
    `<path d="M${x(0)} ${y(most)}V${y(0)}H${x(most)}" fill="none" stroke="black"/>`,
    `<text x="${left}" y="470">budget (--vram + --ram), MiB, to ${Math.round(most)}; dashed: the budget itself</text>`,
    `<text x="${left}" y="14">peak resident memory of the process, MiB</text>`,
    ...dots,
    "</svg>",
    "",
  ].join("\n");
}
