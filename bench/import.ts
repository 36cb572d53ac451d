/**
 * @file Imports an LZR2 artifact at full size and sets speed and memory beside the published loader's logic in numpy on the same
 * file, each in its own process. Usage: node bench/import.ts MODEL_DIR FILE.lzr2 STORE_DIR PYTHON [--rounds N] [--label NAME]
 * Adds its line to bench/results/import.json. The store folder is emptied before each round.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
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

interface ImportRun {
  /** Whole import: text encoders, UNet with the artifact, VAE. */
  readonly seconds: number;
  /** From the artifact's first record to the UNet's pack. */
  readonly unetSeconds: number;
  readonly rssGrowthBytes: number;
  readonly plainBytes: number;
  readonly writtenBytes: number;
}

interface Line {
  readonly type: string;
  readonly component?: string;
  readonly elapsedMs: number;
  readonly rssBytes?: number;
  readonly plainBytes?: number;
  readonly writtenBytes?: number;
}

async function importOnce(): Promise<ImportRun> {
  rmSync(storeDir!, { recursive: true, force: true });
  const line = ["import", model!, "--artifact", artifact!, "--store", storeDir!, "--packed", "off", "--json"];
  const child = spawn(process.execPath, [join(root, "src/cli/main.ts"), ...line], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`the import ended with ${code}`);
  const lines = text
    .trim()
    .split("\n")
    .map((row) => JSON.parse(row) as Line);
  const rss = lines.flatMap(({ rssBytes }) => rssBytes ?? []);
  const at = (component: string) =>
    lines.find((row) => row.type === "component" && row.component === component)!.elapsedMs;
  const done = lines.at(-1)!;
  return {
    seconds: done.elapsedMs / 1000,
    unetSeconds: (at("unet") - at("textEncoder2")) / 1000,
    rssGrowthBytes: Math.max(...rss) - rss[0]!,
    plainBytes: done.plainBytes!,
    writtenBytes: done.writtenBytes!,
  };
}

interface NumpyRun {
  readonly seconds: number;
  readonly rssGrowthBytes: number;
  readonly weights: number;
}

const numpyOnce = () =>
  JSON.parse(
    execFileSync(python!, [join(import.meta.dirname, "import_numpy.py"), artifact!], { encoding: "utf8" }),
  ) as NumpyRun;

const imports: ImportRun[] = [];
const numpys: NumpyRun[] = [];
// Taking turns, so that a slow moment of the machine meets both.
for (let round = 0; round < Number(values.rounds); round++) {
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
  artifactBytes: statSync(artifact).size,
  weights: numpys[0]!.weights,
  processors: `${cpus().length} x ${cpus()[0]?.model.trim()}`,
  unetSeconds,
  wholeImportSeconds: median(imports.map((run) => run.seconds)),
  numpySeconds,
  timesNumpy: numpySeconds / unetSeconds,
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
console.log(
  `${(numpySeconds / unetSeconds).toFixed(2)} times numpy; RSS growth ${(line.rssGrowthBytes / 1e6).toFixed(0)} MB`,
);
