/** @file A step of a report, and what all steps share. */
import type { SolvayCommand } from "./command.ts";

/** What a step found; `error` where it failed, with the figures that it had by then. */
export interface Outcome {
  readonly figures?: unknown;
  /** In words, for the log. */
  readonly summary: string;
  readonly error?: string;
}

export interface Step {
  readonly name: string;
  readonly limitSeconds: number;
  run(limitMs: number): Promise<Outcome>;
}

export interface Sizes {
  /** Divides rows of Solvay's shapes; undefined: as `solvay bench` does by itself. */
  readonly shrink?: number;
  readonly torchShrink: number;
  readonly demoSide: number;
  readonly demoSteps: number;
  readonly side: number;
  readonly steps: number;
}

export const FULL: Sizes = { torchShrink: 1, demoSide: 256, demoSteps: 8, side: 1024, steps: 3 };
export const QUICK: Sizes = { shrink: 512, torchShrink: 64, demoSide: 16, demoSteps: 2, side: 16, steps: 2 };

export interface Run {
  readonly solvay: SolvayCommand;
  /** For pictures. */
  readonly work: string;
  /** What steps of full size are timed with; without one there are none. In a dry run all pictures are of it, in place of the demo model. */
  readonly model?: string;
  /** A dry run: small shapes, no tuning. */
  readonly quick: boolean;
  readonly sizes: Sizes;
  /** `--adapter NAME` where one was asked for. */
  readonly adapterArgs: readonly string[];
}
