/** @file Seconds of a step of a model at full size, resident and streamed, in each arithmetic. */
import path from "node:path";
import { drawPicture } from "./pictures.ts";
import type { Run, Step } from "./step.ts";

/** Whole on the card: 6.9 GB of weights, and activations beside. A card with less says so. */
const RESIDENT = "12G";
/** Streamed more and more; in the order of their value. */
const STREAMED = ["4G", "3G", "6G"];
/** Too small for any: a dry run has drawn pictures in the demo's steps, and asks here only for what comes before them. */
const DRY = "1M";

/** The last only differs where a card has matrices. */
const ARITHMETICS = [
  { name: "fp32", precision: "fp32", withoutMatrices: false },
  { name: "fp16", precision: "fp16", withoutMatrices: false },
  { name: "fp16 without matrices", precision: "fp16", withoutMatrices: true },
] as const;

/** On a slow card the three arithmetics of one budget would eat the time of all else. */
const LIMIT_SECONDS = 100;

/** Two groups: with all weights on the card, and streamed. In a dry run one, which is refused. */
export function modelSteps(run: Run): { readonly resident: readonly Step[]; readonly streamed: readonly Step[] } {
  if (run.quick) return { resident: pictures(run, [DRY]).slice(-1), streamed: [] };
  if (run.model === undefined) return { resident: [], streamed: [] };
  return { resident: pictures(run, [RESIDENT]), streamed: pictures(run, STREAMED) };
}

function pictures(run: Run, budgets: readonly string[]): readonly Step[] {
  const { work, model, sizes, quick } = run;
  /** Whether this card computes fp16 by matrices, once that is known. */
  let matrices: boolean | undefined;
  return budgets.flatMap((vram) =>
    ARITHMETICS.map(({ name: arithmetic, precision, withoutMatrices }): Step => {
      const { side, steps } = sizes;
      const output = path.join(work, "model.png");
      return {
        name: `model, ${arithmetic}, ${vram}`,
        limitSeconds: LIMIT_SECONDS,
        async run(limitMs) {
          if (withoutMatrices && matrices === false && !quick) {
            return { figures: "as fp16", summary: "as fp16: this card's fp16 is without matrices already" };
          }
          const picture = { model, vram, precision, withoutMatrices, side, steps, output };
          const drawn = await drawPicture(run, picture, limitMs);
          if (precision === "fp16" && !withoutMatrices && drawn.figures.precision !== undefined) {
            matrices = drawn.figures.precision.includes("matrices");
          }
          const small = drawn.error !== undefined && /E_VRAM/.test(drawn.said);
          return small ? { figures: "too small", summary: `this card has not ${vram}` } : drawn;
        },
      };
    }),
  );
}
