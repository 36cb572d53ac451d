/** @file The demo model's picture under three budgets, which must be one picture, and in fp16. In a dry run under two, of any model. */
import path from "node:path";
import { drawPicture } from "./pictures.ts";
import type { Outcome, Run, Step } from "./step.ts";

/** What is asked first, to learn from the refusal what is the least. */
const TOO_SMALL = "1M";
/** All of the demo model stays on the card. */
const AMPLE = "4G";
const BETWEEN_MIB = 48;

/** `812` of "give --vram 812M or more". */
function leastMiB(refusal: string): number | undefined {
  const found = /--vram (\d+)M/.exec(refusal)?.[1];
  return found === undefined ? undefined : Number(found);
}

export function demoSteps(run: Run): readonly Step[] {
  const hashes: (string | undefined)[] = [];
  let least: number | undefined;
  const { work, sizes } = run;
  const { demoSide: side, demoSteps: steps } = sizes;
  const model = run.quick ? run.model : undefined;
  const draw = async (vram: string, precision: "fp32" | "fp16", limitMs: number) => {
    const output = path.join(work, "demo.png");
    return await drawPicture(run, { model, vram, precision, side, steps, output }, limitMs);
  };
  const budgeted = async (vram: string | undefined, limitMs: number): Promise<Outcome> => {
    if (vram === undefined) return { summary: "", error: "the least budget isn't known" };
    const drawn = await draw(vram, "fp32", limitMs);
    hashes.push(drawn.figures.sha256);
    return drawn;
  };
  const between = {
    name: "demo, fp32, between",
    limitSeconds: 60,
    run: (ms: number) => budgeted(withLeast(BETWEEN_MIB), ms),
  };
  const halves = { name: `demo, fp16, ${AMPLE}`, limitSeconds: 60, run: (ms: number) => draw(AMPLE, "fp16", ms) };
  const withLeast = (more: number) => (least === undefined ? undefined : `${least + more}M`);
  return [
    { name: `demo, fp32, ${AMPLE}`, limitSeconds: 60, run: (ms) => budgeted(AMPLE, ms) },
    {
      name: "demo: the least budget",
      limitSeconds: 30,
      async run(ms) {
        const { said } = await draw(TOO_SMALL, "fp32", ms);
        least = leastMiB(said);
        const error = least === undefined ? `no budget is named in: ${said.slice(-300)}` : undefined;
        return { figures: { leastMiB: least }, summary: `--vram ${least}M`, error };
      },
    },
    { name: "demo, fp32, the least", limitSeconds: 60, run: (ms) => budgeted(withLeast(0), ms) },
    ...(run.quick ? [] : [between]),
    {
      name: "demo: one picture",
      limitSeconds: 1,
      async run() {
        const same = hashes[0] !== undefined && new Set(hashes).size === 1;
        const figures = { same, sha256: hashes };
        return {
          figures,
          summary: `under ${hashes.length} budgets`,
          error: same ? undefined : "the pictures differ, or lack",
        };
      },
    },
    ...(run.quick ? [] : [halves]),
  ];
}
