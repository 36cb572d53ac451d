/** @file What scripts that write random weights are told: where to, and a seed. */
import { parseArgs } from "node:util";

/** Of the command line `OUT_DIR [--seed N]`; another one ends the process with the usage of `script`. */
export function outAndSeed(script: string): { readonly out: string; readonly seed: number } {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seed: { type: "string", default: "0" } },
  });
  const [out] = positionals;
  const seed = Number(values.seed);
  if (out !== undefined && Number.isSafeInteger(seed)) return { out, seed };
  console.error(`Usage: node scripts/${script} OUT_DIR [--seed N]`);
  process.exit(2);
}
