/**
 * @file Prompts that change from step to step, by the rules of A1111's web UI: `[from:to:when]`, `[to:when]`, `[from::when]` and
 * `[a|b]`, nested in any way. What is left of other brackets is text. Steps count from 1.
 */
import { requireShallow } from "./nesting.ts";

/** A prompt's text up to a step. */
export interface Moment {
  /** The last step that it holds for. */
  readonly untilStep: number;
  readonly text: string;
}

/** How steps are counted. */
export interface StepCount {
  readonly steps: number;
  /** Of a pass that follows another one (hires): that one's steps, which `when` counts on from. */
  readonly before?: number;
}

/** What a prompt is made of: text, or what depends on the step. */
type Node = string | Edit | Alternation;

interface Edit {
  readonly from: readonly Node[];
  readonly to: readonly Node[];
  /** As written: with a point a fraction of the steps, else a step. */
  readonly when: string;
}

interface Alternation {
  readonly options: readonly (readonly Node[])[];
}

/** An open bracket: its pieces, and the colon or bar before each. */
interface Frame {
  readonly bracket: "(" | "[";
  readonly pieces: { readonly separator: "" | ":" | "|"; readonly nodes: Node[] }[];
}

const PIECE = /[^\\[\]():|]+|\\?./gsu;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/u;

/**
 * The prompt's texts in their order, one by one (all of a long prompt's would fill the memory), each with its last step; the last
 * one's is `steps`. Neighbours may be equal. Throws UsageError `E_PROMPT` where brackets are nested too deep.
 */
export function* promptMoments(prompt: string, count: StepCount): Generator<Moment, void, undefined> {
  const nodes = parse(prompt);
  const ends = [...changes(nodes, count)].toSorted((a, b) => a - b);
  for (const untilStep of ends) {
    const texts: string[] = [];
    render(nodes, untilStep, count, texts);
    yield { untilStep, text: texts.join("") };
  }
}

function parse(prompt: string): Node[] {
  const top: Node[] = [];
  const frames: Frame[] = [];
  const innermost = () => {
    const frame = frames.at(-1);
    return frame ? frame.pieces.at(-1)!.nodes : top;
  };
  /** A bracket without a partner: it and all that are open around it are text. */
  const flatten = () => {
    for (const frame of frames) append(top, textOf(frame));
    frames.length = 0;
  };
  for (const { 0: piece, index } of prompt.matchAll(PIECE)) {
    const frame = frames.at(-1);
    if (piece === "(" || piece === "[") {
      frames.push({ bracket: piece, pieces: [{ separator: "", nodes: [] }] });
      requireShallow(frames.length, index);
    } else if (frame && (piece === ":" || piece === "|")) {
      frame.pieces.push({ separator: piece, nodes: [] });
    } else if (frame && piece === (frame.bracket === "(" ? ")" : "]")) {
      const closed = closedBy(frame, piece);
      if (closed) {
        frames.pop();
        append(innermost(), closed);
      } else {
        flatten();
        top.push(piece);
      }
    } else if (piece === ")" || piece === "]") {
      flatten();
      top.push(piece);
    } else {
      innermost().push(piece);
    }
  }
  flatten();
  return top;
}

/** However many they are: spread as arguments they would fill the stack. */
function append(nodes: Node[], more: readonly Node[]): void {
  for (const node of more) nodes.push(node);
}

/** What a bracket that has found its partner is; undefined for one with colons that mean nothing. */
function closedBy(frame: Frame, closing: string): Node[] | undefined {
  const { bracket, pieces } = frame;
  if (bracket === "(" || pieces.length === 1) return [...textOf(frame), closing];
  const colons = pieces.flatMap(({ separator }, i) => (separator === ":" ? [i] : []));
  if (colons.length === 0) return [{ options: pieces.map(({ nodes }) => nodes) }];
  const last = pieces.at(-1)!;
  const when = last.nodes.every((node) => typeof node === "string") ? last.nodes.join("").trim() : "";
  if (last.separator !== ":" || colons.length > 2 || !NUMBER.test(when)) return undefined;
  const between = (from: number, to: number) => pieces.slice(from, to).flatMap(withBars);
  const [first, second] = colons as [number, number?];
  if (second === undefined) return [{ from: [], to: between(0, first), when }];
  return [{ from: between(0, first), to: between(first, second), when }];
}

/** Bars are text among colons. */
function withBars({ separator, nodes }: Frame["pieces"][number]): readonly Node[] {
  return separator === "|" ? ["|", ...nodes] : nodes;
}

function textOf({ bracket, pieces }: Frame): Node[] {
  return [bracket, ...pieces.flatMap(({ separator, nodes }) => (separator === "" ? nodes : [separator, ...nodes]))];
}

/** The last step of what an edit shows first. */
function lastStepOf(when: string, { steps, before }: StepCount): number {
  const value = Number(when);
  const step = when.includes(".") ? (value - (before === undefined ? 0 : 1)) * steps : value - (before ?? 0);
  return Math.min(steps, Math.trunc(step));
}

/** The last steps of all moments, in any order. */
function changes(nodes: readonly Node[], count: StepCount, ends = new Set([count.steps])): Set<number> {
  for (const node of nodes) {
    if (typeof node === "string") continue;
    if ("options" in node) {
      for (let step = 1; step <= count.steps; step++) ends.add(step);
      for (const option of node.options) changes(option, count, ends);
      continue;
    }
    const last = lastStepOf(node.when, count);
    if (last >= 1) ends.add(last);
    changes(node.from, count, ends);
    changes(node.to, count, ends);
  }
  return ends;
}

function render(nodes: readonly Node[], step: number, count: StepCount, texts: string[]): void {
  for (const node of nodes) {
    if (typeof node === "string") texts.push(node);
    else if ("options" in node) render(node.options[(step - 1) % node.options.length]!, step, count, texts);
    else render(step <= lastStepOf(node.when, count) ? node.from : node.to, step, count, texts);
  }
}
