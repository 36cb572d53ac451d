/** @file The steps in the order of their value: an early end leaves the most important. */
import { SDXL_SHAPES } from "../shapes.ts";
import { demoSteps } from "./demo-steps.ts";
import { benchShape, doctor, environment, torchShapes } from "./machine-steps.ts";
import { modelSteps } from "./model-steps.ts";
import type { Run, Step } from "./step.ts";

/** The largest product, whose uploads and overlap are those to look at, then one of each other kind. */
const FIRST_SHAPES = ["feed-forward in, 32x32", "3x3, 64x64", "self-attention, 64x64"];
/** Least to compile on a CPU; pictures have all the others. */
const QUICK_SHAPES = ["group norm, 128x128"];

export function stepsOf(run: Run): readonly Step[] {
  const { quick, sizes } = run;
  const shape = (name: string): Step => {
    const options = { shrink: sizes.shrink, tune: !quick };
    return { name: `shape: ${name}`, limitSeconds: 60, run: (ms) => benchShape(run, name, options, ms) };
  };
  const { resident, streamed } = modelSteps(run);
  const first = quick ? QUICK_SHAPES : FIRST_SHAPES;
  const others = quick ? [] : SDXL_SHAPES.map(({ name }) => name).filter((name) => !first.includes(name));
  return [
    { name: "environment", limitSeconds: 15, run: environment },
    { name: "doctor", limitSeconds: 60, run: (ms) => doctor(run, ms) },
    ...demoSteps(run),
    ...first.map(shape),
    ...resident,
    { name: "torch", limitSeconds: 60, run: (ms) => torchShapes(sizes.torchShrink, ms) },
    ...streamed,
    ...others.map(shape),
  ];
}
