/**
 * @file Imports an LZR2 artifact at full size and sets speed and memory beside the published loader's logic in numpy on the same
 * file, in turn, each in its own process. Usage: node bench/import.ts MODEL_DIR FILE.lzr2 STORE_DIR PYTHON [--rounds N] [--label NAME]
 * Adds its line to bench/results/import.json. The store folder is emptied before and after each round. Linux: peaks are the kernel's.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "1" }, label: { type: "string", default: "mixed" } },
});
const [model, artifact, storeDir, python] = positionals;
if (!model || !artifact || !storeDir || !python) {
  console.error("Usage: node bench/import.ts MODEL_DIR FILE.lzr2 STORE_DIR PYTHON [--rounds N] [--label NAME]");
  process.exit(2);
}
const root = join(import.meta.dirname, "..");
const resultFile = join(import.meta.dirname, "results", "import.json");
const SAMPLE_MS = 100;

interface ImportRun {
  /** Whole import: text encoders, UNet with the artifact, VAE. */
  readonly seconds: number;
  /** From the artifact's first record to the UNet's pack. */
  readonly unetSeconds: number;
  /** Of the whole process, by the kernel: peak resident memory, less what was resident when the import began. */
  readonly rssGrowthBytes: number;
  readonly plainBytes: number;
  readonly writtenBytes: number;
  /** Share of the processors' time that other processes took: above a few percent, times are too long. */
  readonly othersShare: number;
}

interface Line {
  readonly type: string;
  readonly component?: string;
  readonly elapsedMs: number;
  readonly rssBytes?: number;
  readonly plainBytes?: number;
  readonly writtenBytes?: number;
}

/** A process and all below it. */
function family(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    return [pid, ...children.split(" ").filter(Boolean).map(Number).flatMap(family)];
  } catch {
    return [pid];
  }
}

function peakBytes(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Seconds of all processors since the start: working, and at all. */
function processorSeconds(): { readonly busy: number; readonly all: number } {
  const [user, nice, system, idle, iowait, irq, softirq, steal] = readFileSync("/proc/stat", "utf8")
    .split("\n")[0]!
    .split(/\s+/)
    .slice(1)
    .map(Number) as [number, number, number, number, number, number, number, number];
  const busy = user + nice + system + irq + softirq + steal;
  return { busy: busy / 100, all: (busy + idle + iowait) / 100 };
}

/** Processor seconds of a process and its threads, and of children it waited for. */
function ownSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

async function importOnce(): Promise<ImportRun> {
  rmSync(storeDir!, { recursive: true, force: true });
  const before = processorSeconds();
  const line = ["import", model!, "--artifact", artifact!, "--store", storeDir!, "--packed", "off", "--json"];
  const child = spawn(process.execPath, [join(root, "scripts/bootstrap.mjs"), ...line], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  let peak = 0;
  const own = new Map<number, number>();
  const sampler = setInterval(() => {
    for (const pid of family(child.pid!)) {
      peak = Math.max(peak, peakBytes(pid));
      own.set(pid, Math.max(own.get(pid) ?? 0, ownSeconds(pid)));
    }
  }, SAMPLE_MS);
  const code = await new Promise((resolve) => child.on("close", resolve));
  clearInterval(sampler);
  const after = processorSeconds();
  rmSync(storeDir!, { recursive: true, force: true });
  if (code !== 0) throw new Error(`the import ended with ${code}`);
  const lines = text
    .trim()
    .split("\n")
    .map((row) => JSON.parse(row) as Line);
  const startBytes = lines.flatMap(({ rssBytes }) => rssBytes ?? [])[0]!;
  const at = (component: string) =>
    lines.find((row) => row.type === "component" && row.component === component)!.elapsedMs;
  const done = lines.at(-1)!;
  const others = after.busy - before.busy - [...own.values()].reduce((sum, seconds) => sum + seconds, 0);
  return {
    seconds: round(done.elapsedMs / 1000),
    unetSeconds: round((at("unet") - at("textEncoder2")) / 1000),
    rssGrowthBytes: peak - startBytes,
    plainBytes: done.plainBytes!,
    writtenBytes: done.writtenBytes!,
    othersShare: round(others / (after.all - before.all)),
  };
}

interface NumpyRun {
  readonly seconds: number;
  readonly rssGrowthBytes: number;
  readonly weights: number;
  readonly othersShare: number;
}

function numpyOnce(): NumpyRun {
  const before = processorSeconds();
  const script = join(import.meta.dirname, "import_numpy.py");
  const run = JSON.parse(execFileSync(python!, [script, artifact!], { encoding: "utf8" })) as NumpyRun & {
    readonly processorSeconds: number;
  };
  const after = processorSeconds();
  const { processorSeconds: own, ...rest } = run;
  return { ...rest, othersShare: round((after.busy - before.busy - own) / (after.all - before.all)) };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

const imports: ImportRun[] = [];
const numpys: NumpyRun[] = [];
// Taking turns, so that a slow moment of the machine meets both.
for (let turn = 0; turn < Number(values.rounds); turn++) {
  numpys.push(numpyOnce());
  console.error("numpy ", JSON.stringify(numpys.at(-1)));
  imports.push(await importOnce());
  console.error("solvay", JSON.stringify(imports.at(-1)));
}
const median = (list: readonly number[]) => [...list].sort((a, b) => a - b)[Math.floor((list.length - 1) / 2)]!;
const unetSeconds = median(imports.map((run) => run.unetSeconds));
const numpySeconds = median(numpys.map((run) => run.seconds));
const line = {
  label: values.label,
  machine: `${availableParallelism()} threads, ${cpus()[0]!.model.trim()}, Node ${process.version}`,
  artifactBytes: statSync(artifact).size,
  weights: numpys[0]!.weights,
  unetSeconds,
  wholeImportSeconds: median(imports.map((run) => run.seconds)),
  numpySeconds,
  timesNumpy: round(numpySeconds / unetSeconds),
  rssGrowthBytes: Math.max(...imports.map((run) => run.rssGrowthBytes)),
  numpyRssGrowthBytes: Math.max(...numpys.map((run) => run.rssGrowthBytes)),
  imports,
  numpys,
};
mkdirSync(join(import.meta.dirname, "results"), { recursive: true });
let known: { label: string }[] = [];
try {
  known = JSON.parse(readFileSync(resultFile, "utf8")) as { label: string }[];
} catch {
  // the first result
}
writeFileSync(
  resultFile,
  `${JSON.stringify([...known.filter(({ label }) => label !== values.label), line], null, 2)}\n`,
);
console.log(`${line.timesNumpy} times numpy; RSS growth ${(line.rssGrowthBytes / 1e6).toFixed(0)} MB`);
