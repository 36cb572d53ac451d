/** @file The networks that steer a job by pictures (ControlNets), each with its settings. Pure. */
import { CONTROL_PREPROCESSORS, CONTROL_THRESHOLDS, type ControlPreprocessor } from "../image/control-picture.ts";
import { PICTURE_FITS, type PictureFit } from "../image/picture-fit.ts";
import { hasSteps, type UsePart, type UseTable } from "./parted-use.ts";

/** One network, and what it is told. */
export interface ControlUse {
  /** A file, a folder, or a Hugging Face id in the local cache. */
  readonly file: string;
  /** What it looks at: a file, a data: URL, or sha256: and an asset's hash. Default: the picture to begin with. */
  readonly image?: string;
  /** 0..10. Default 1. */
  readonly weight?: number;
  /** Shares of the steps, 0..1, between which it steers. Default: all of them. */
  readonly start?: number;
  readonly end?: number;
  /** It steers the prompt's part alone, its early blocks less: diffusers' guess_mode. Default false. */
  readonly guess?: boolean;
  /** Of a ControlNet Union: the kind of picture, by name or number ("depth", "1"). */
  readonly mode?: string;
  /** What is made of the picture first. Default "none". */
  readonly preprocess?: ControlPreprocessor;
  /** How it comes to the job's shape. Default "stretch". */
  readonly fit?: PictureFit;
  /** Of a job with a second pass: which of both it steers. Default "both". */
  readonly pass?: ControlPass;
  /** 0..255. Of canny (default 100) and of threshold (default 127). */
  readonly low?: number;
  /** 0..255. Of canny (default 200). */
  readonly high?: number;
}

const PASSES = ["both", "first", "second"] as const;
export type ControlPass = (typeof PASSES)[number];

/** Whether it steers such a pass. `twice`: the job has a second one; else there is nothing to choose, as in A1111's extension. */
export function steersPass({ pass = "both" }: ControlUse, which: "first" | "second", twice: boolean): boolean {
  return !twice || pass === "both" || pass === which;
}

/** As xinsir's ControlNet Union numbers them; the last two are ProMax's. */
const MODES: Readonly<Record<string, number>> = {
  ...{ openpose: 0, depth: 1, hed: 2, softedge: 2, scribble: 2, canny: 3, lineart: 3, mlsd: 3, normal: 4, segment: 5 },
  ...{ tile: 6, repaint: 7, inpaint: 7 },
};

/** Its number; undefined where none is said. */
export function controlMode({ mode }: Pick<ControlUse, "mode">): number | undefined {
  return mode === undefined ? undefined : (MODES[mode] ?? Number(mode));
}

const MAX_WEIGHT = 10;
const MAX_THRESHOLD = 255;

const PARTS = {
  image: {
    kind: { type: "picture" },
    usage: "--control-image <file>",
    description: "picture that the --control before it looks at (default: the one to begin with)",
  },
  weight: {
    kind: { type: "decimal", min: 0, max: MAX_WEIGHT },
    usage: "--control-weight <n>",
    description: `how much the --control before it counts, 0 to ${MAX_WEIGHT} (default: 1)`,
  },
  start: {
    kind: { type: "decimal", min: 0, max: 1 },
    usage: "--control-start <n>",
    description: "share of the steps after which the --control before it steers, 0 to 1 (default: 0)",
  },
  end: {
    kind: { type: "decimal", min: 0, max: 1 },
    usage: "--control-end <n>",
    description: "share of the steps up to which it does, 0 to 1 (default: 1)",
  },
  guess: {
    kind: { type: "switch" },
    usage: "--control-guess",
    description:
      "the --control before it steers the prompt's part alone, its early blocks less (diffusers' guess_mode)",
  },
  mode: {
    kind: { type: "choice", values: [...new Set([...Object.keys(MODES), ...Object.values(MODES).map(String)])] },
    usage: "--control-mode <name|n>",
    description: "kind of the picture, for a ControlNet Union before it: depth, canny, ..., or its number",
  },
  preprocess: {
    kind: { type: "choice", values: CONTROL_PREPROCESSORS },
    usage: "--control-preprocess <name>",
    description: "what is made of its picture first; depth, pose and other maps are given as pictures (default: none)",
  },
  fit: {
    kind: { type: "choice", values: PICTURE_FITS },
    usage: "--control-fit <name>",
    description:
      "how its picture comes to the job's shape: stretch, crop to its middle, fill around it (default: stretch)",
  },
  pass: {
    kind: { type: "choice", values: PASSES },
    usage: "--control-pass <name>",
    description: "which passes of a job with --hires-scale the --control before it steers (default: both)",
  },
  low: {
    kind: { type: "decimal", min: 0, max: MAX_THRESHOLD },
    usage: "--control-low <n>",
    description: `canny: weaker than that is no edge (default: ${CONTROL_THRESHOLDS.canny.low}); threshold: brighter becomes white (default: ${CONTROL_THRESHOLDS.threshold.low})`,
  },
  high: {
    kind: { type: "decimal", min: 0, max: MAX_THRESHOLD },
    usage: "--control-high <n>",
    description: `canny: stronger than that is an edge (default: ${CONTROL_THRESHOLDS.canny.high})`,
  },
} satisfies Record<Exclude<keyof ControlUse, "file">, UsePart>;

/** By the names of ControlUse's parts. */
export const CONTROL_USES: UseTable = {
  parts: PARTS,
  max: 8,
  fits: hasSteps,
  example: "FILE:image=edges.png:weight=0.8:start=0:end=0.5",
};
