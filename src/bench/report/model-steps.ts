/** @file Seconds of a step of full-size SDXL, resident and streamed, in each arithmetic. Its weights are made while other steps run. */
import path from "node:path";
import { drawPicture, failureOf, type Outcome, type Picture, runSynth } from "./solvay.ts";
import type { Run, Step } from "./step.ts";

/** Whole on the card: 6.9 GB of weights, and activations beside. */
const RESIDENT = "12G";
/** Streamed more and more; in the order of their value. */
const STREAMED = ["4G", "3G", "6G"];

/** The last only differs where a card has matrices. */
const ARITHMETICS = [
  { name: "fp32", precision: "fp32", withoutMatrices: false },
  { name: "fp16", precision: "fp16", withoutMatrices: false },
  { name: "fp16 without matrices", precision: "fp16", withoutMatrices: true },
] as const;

/** On a card that looks slower than this, the three arithmetics of one budget would eat the time of all else. */
const LIMIT_SECONDS = 100;
const SYNTH_LIMIT_SECONDS = 240;

/** Two groups: with all weights on the card, and streamed. In a dry run the demo model is drawn, under one budget. */
export function modelSteps(run: Run): { readonly resident: readonly Step[]; readonly streamed: readonly Step[] } {
  const { quick } = run;
  if (quick) return { resident: pictures(run, "demo", ["4G"]), streamed: [] };
  const folder = path.join(run.work, "sdxl");
  const startedMs = performance.now();
  const made = runSynth(folder, SYNTH_LIMIT_SECONDS * 1000).then((result): Outcome => {
    const seconds = (performance.now() - startedMs) / 1000;
    return { figures: { seconds }, summary: result.stderrTail, error: failureOf(result) };
  });
  const wait: Step = { name: "sdxl: weights made", limitSeconds: SYNTH_LIMIT_SECONDS, run: () => made };
  return {
    resident: [wait, ...pictures(run, { folder }, [RESIDENT])],
    streamed: pictures(run, { folder }, STREAMED),
  };
}

function pictures({ work, adapterArgs, sizes, quick }: Run, model: Picture["model"], budgets: readonly string[]) {
  const name = model === "demo" ? "model" : "sdxl";
  /** Whether this card computes fp16 by matrices, once that is known. */
  let matrices: boolean | undefined;
  return budgets.flatMap((vram) =>
    ARITHMETICS.map(({ name: arithmetic, precision, withoutMatrices }): Step => {
      const { side, steps } = sizes;
      const output = path.join(work, "model.png");
      return {
        name: `${name}, ${arithmetic}, ${vram}`,
        limitSeconds: LIMIT_SECONDS,
        async run(limitMs) {
          if (withoutMatrices && matrices === false && !quick) {
            return { figures: "as fp16", summary: "as fp16: this card's fp16 is without matrices already" };
          }
          const picture = { model, vram, precision, withoutMatrices, side, steps, output };
          const drawn = await drawPicture(picture, adapterArgs, limitMs);
          if (precision === "fp16" && !withoutMatrices && drawn.figures.precision !== undefined) {
            matrices = drawn.figures.precision.includes("matrices");
          }
          return drawn;
        },
      };
    }),
  );
}
