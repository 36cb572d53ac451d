/** @file The networks that steer a job by pictures (ControlNets), each with its settings: as JSON, and as the text of the loop. Pure. */
import { CONTROL_PREPROCESSORS, CONTROL_THRESHOLDS, type ControlPreprocessor } from "../image/control-picture.ts";
import { itemsOfText, textOfItems } from "./list-text.ts";

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
  /** 0..255. Of canny (default 100) and of threshold (default 127). */
  readonly low?: number;
  /** 0..255. Of canny (default 200). */
  readonly high?: number;
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

export const MAX_CONTROLS = 8;
/** Longest path that any system takes. */
export const MAX_CONTROL_CHARS = 32767;
const MAX_WEIGHT = 10;
const MAX_THRESHOLD = 255;

/** A setting of one of them, which has a flag of its own. */
export interface ControlPart {
  /** Also a kind of a field. */
  readonly kind:
    | { readonly type: "picture" }
    | { readonly type: "decimal"; readonly min: number; readonly max: number }
    | { readonly type: "switch" }
    | { readonly type: "choice"; readonly values: readonly string[] };
  /** Of the flag, behind "--control-NAME". */
  readonly usage: string;
  readonly description: string;
}

/** By name. */
export const CONTROL_PARTS: Readonly<Record<Exclude<keyof ControlUse, "file">, ControlPart>> = {
  image: {
    kind: { type: "picture" },
    usage: "<file>",
    description: "picture that the --control before it looks at (default: the one to begin with)",
  },
  weight: {
    kind: { type: "decimal", min: 0, max: MAX_WEIGHT },
    usage: "<n>",
    description: `how much the --control before it counts, 0 to ${MAX_WEIGHT} (default: 1)`,
  },
  start: {
    kind: { type: "decimal", min: 0, max: 1 },
    usage: "<n>",
    description: "share of the steps after which the --control before it steers, 0 to 1 (default: 0)",
  },
  end: {
    kind: { type: "decimal", min: 0, max: 1 },
    usage: "<n>",
    description: "share of the steps up to which it does, 0 to 1 (default: 1)",
  },
  guess: {
    kind: { type: "switch" },
    usage: "",
    description:
      "the --control before it steers the prompt's part alone, its early blocks less (diffusers' guess_mode)",
  },
  mode: {
    kind: { type: "choice", values: [...new Set([...Object.keys(MODES), ...Object.values(MODES).map(String)])] },
    usage: "<name|n>",
    description: "kind of the picture, for a ControlNet Union before it: depth, canny, ..., or its number",
  },
  preprocess: {
    kind: { type: "choice", values: CONTROL_PREPROCESSORS },
    usage: "<name>",
    description: "what is made of its picture first; depth, pose and other maps are given as pictures (default: none)",
  },
  low: {
    kind: { type: "decimal", min: 0, max: MAX_THRESHOLD },
    usage: "<n>",
    description: `canny: weaker than that is no edge (default: ${CONTROL_THRESHOLDS.canny.low}); threshold: brighter becomes white (default: ${CONTROL_THRESHOLDS.threshold.low})`,
  },
  high: {
    kind: { type: "decimal", min: 0, max: MAX_THRESHOLD },
    usage: "<n>",
    description: `canny: stronger than that is an edge (default: ${CONTROL_THRESHOLDS.canny.high})`,
  },
};

/** Reads the text of a part; undefined where it is none. May throw. */
export type ReadControlPart = (kind: ControlPart["kind"], text: string) => unknown;

const NAMES = Object.keys(CONTROL_PARTS).join("|");
/** `:weight=0.8` at the end of a text. */
const LAST = new RegExp(`^(.+):(${NAMES})=(.*)$`, "s");

/** `FILE:image=pose.png:weight=0.8`; undefined where a part is said twice or can't be. */
export function controlFromText(text: string, read: ReadControlPart): ControlUse | undefined {
  const parts: Record<string, unknown> = {};
  let file = text.trim();
  for (let match = LAST.exec(file); match; match = LAST.exec(file)) {
    const [, rest, name, value] = match;
    if (Object.hasOwn(parts, name!)) return undefined;
    parts[name!] = value;
    file = rest!;
  }
  return checkedControl({ file, ...parts }, read);
}

/** Several, as list-text.ts has them. */
export function controlsFromText(text: string, read: ReadControlPart): readonly ControlUse[] | undefined {
  return checkedControls(itemsOfText(text)?.map((item) => controlFromText(item, read)));
}

/** What `controlsFromText` reads. */
export function controlsText(controls: readonly ControlUse[]): string {
  const items = controls.map(({ file, ...parts }) =>
    [file, ...Object.entries(parts).map(([name, value]) => `${name}=${value}`)].join(":"),
  );
  return textOfItems(items);
}

/** From JSON; undefined where it is none. */
export function controlsFromJson(value: unknown, read: ReadControlPart): readonly ControlUse[] | undefined {
  return Array.isArray(value) ? checkedControls(value.map((each) => checkedControl(each, read))) : undefined;
}

/** Whether shares of the steps are in their order. */
export function hasSteps({ start = 0, end = 1 }: Pick<ControlUse, "start" | "end">): boolean {
  return start <= end;
}

function checkedControls(controls: readonly (ControlUse | undefined)[] | undefined): readonly ControlUse[] | undefined {
  const read = controls?.filter((control) => control !== undefined);
  return read && read.length === controls!.length && read.length <= MAX_CONTROLS ? read : undefined;
}

function checkedControl(value: unknown, read: ReadControlPart): ControlUse | undefined {
  if (value === null || typeof value !== "object") return undefined;
  const { file, ...parts } = value as Readonly<Record<string, unknown>>;
  if (typeof file !== "string" || file === "" || file.length > MAX_CONTROL_CHARS) return undefined;
  const control: Record<string, unknown> = { file };
  for (const [name, given] of Object.entries(parts)) {
    const part = Object.hasOwn(CONTROL_PARTS, name) ? CONTROL_PARTS[name as keyof typeof CONTROL_PARTS] : undefined;
    const found =
      part && ["string", "number", "boolean"].includes(typeof given) ? read(part.kind, String(given)) : undefined;
    if (found === undefined) return undefined;
    control[name] = found;
  }
  const checked = control as unknown as ControlUse;
  return hasSteps(checked) ? checked : undefined;
}
