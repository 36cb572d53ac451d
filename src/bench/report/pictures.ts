/** @file Solvay's command as this bench runs it: from its sources, by the packed Node, and what of its answers is kept. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { type ChildResult, runChild } from "./child.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const MAIN = path.join(ROOT, "src/cli/main.ts");
const DEMO_MODEL = path.join(ROOT, "models/demo");
const SYNTH = path.join(ROOT, "scripts/synth-sdxl.ts");

/** As scripts/bootstrap.mjs sets them. */
const MEMORY: { readonly malloc: Record<string, string>; readonly nodeOptions: readonly string[] } = JSON.parse(
  readFileSync(path.join(ROOT, "bin/memory-settings.json"), "utf8"),
);

export interface CommandOptions {
  readonly limitMs: number;
  readonly withoutMatrices?: boolean;
}

export function runSolvay(args: readonly string[], { limitMs, withoutMatrices }: CommandOptions): Promise<ChildResult> {
  const hook = withoutMatrices ? ["--import", path.join(import.meta.dirname, "without-matrices.ts")] : [];
  const env = { ...MEMORY.malloc, ...process.env };
  return runChild({ command: process.execPath, args: [...MEMORY.nodeOptions, ...hook, MAIN, ...args], env, limitMs });
}

/** Writes full-size SDXL of random weights into `folder`. */
export function runSynth(folder: string, limitMs: number): Promise<ChildResult> {
  return runChild({ command: process.execPath, args: [SYNTH, folder], limitMs });
}

/** What a step found; `error` where it failed, with the figures that it had by then. */
export interface Outcome {
  readonly figures?: unknown;
  /** In words, for the log. */
  readonly summary: string;
  readonly error?: string;
}

/** Of a failed command: how it ended, and its last words, without this machine's folders. */
export function failureOf({ failure, stderrTail }: ChildResult): string | undefined {
  if (failure === undefined) return undefined;
  const said = stderrTail.split("\n").slice(-3).join(" ");
  const folders = [path.dirname(ROOT), process.env.HOME].filter((folder) => folder !== undefined && folder.length > 1);
  return `${failure}${said ? `: ${folders.reduce((text, folder) => text!.replaceAll(folder!, "..."), said)}` : ""}`;
}

export interface Picture {
  readonly model: "demo" | { readonly folder: string };
  readonly vram: string;
  readonly precision: "fp32" | "fp16";
  readonly withoutMatrices?: boolean;
  readonly side: number;
  readonly steps: number;
  /** Of the PNG. */
  readonly output: string;
}

export interface PictureFigures {
  readonly vram: string;
  /** What computed, as the picture records it. */
  readonly precision?: string;
  readonly side: number;
  /** Of the fastest step but the first. */
  readonly stepSeconds?: number;
  readonly steps: readonly { readonly seconds: number; readonly waitSeconds: number; readonly readBytes: number }[];
  readonly imageSeconds?: number;
  readonly peakDeviceBytes?: number;
  readonly peakRssBytes?: number;
  readonly sha256?: string;
  readonly notes: readonly string[];
}

/** A line of `generate --json`, as far as it is looked at. */
interface EventLine {
  readonly type: string;
  readonly text?: string;
  readonly stepMs?: number;
  readonly waitMs?: number;
  readonly readBytes?: number;
  readonly elapsedMs?: number;
  readonly precision?: string;
  readonly peakDeviceBytes?: number;
  readonly peakRssBytes?: number;
  readonly sha256?: string;
}

/** Draws it by `solvay generate`. */
export async function drawPicture(
  picture: Picture,
  adapterArgs: readonly string[],
  limitMs: number,
): Promise<Outcome & { readonly figures: PictureFigures; readonly said: string }> {
  const { model, vram, precision, withoutMatrices, side, steps, output } = picture;
  const result = await runSolvay(
    [
      ...["generate", "a lake at dawn", "--json", "--backend", "webgpu", ...adapterArgs],
      ...["--model", model === "demo" ? DEMO_MODEL : model.folder, "--vram", vram, "--precision", precision],
      ...["--seed", "1", "--steps", String(steps), "--width", String(side), "--height", String(side)],
      ...["--output", output],
    ],
    { limitMs, withoutMatrices },
  );
  const figures = pictureFigures(vram, side, eventLines(result.stdout));
  const { stepSeconds, imageSeconds, sha256 } = figures;
  const parts = [
    figures.precision,
    stepSeconds === undefined ? undefined : `${stepSeconds.toFixed(3)} s/step`,
    imageSeconds === undefined ? undefined : `image ${imageSeconds.toFixed(1)} s`,
    sha256?.slice(0, 12),
    ...figures.notes,
  ];
  const summary = parts.filter((part) => part !== undefined).join(", ");
  return { figures, summary, error: failureOf(result), said: result.stderrTail };
}

/** Of a command that was stopped, the last line may be cut. */
function eventLines(stdout: string): readonly EventLine[] {
  return stdout.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [JSON.parse(line) as EventLine];
    } catch {
      return [];
    }
  });
}

/** Pure. A picture that was begun again counts from there. */
export function pictureFigures(vram: string, side: number, events: readonly EventLine[]): PictureFigures {
  const from = events.findLastIndex(({ type }) => type === "plan");
  const steps = events
    .slice(from + 1)
    .filter(({ type }) => type === "step")
    .map(({ stepMs = 0, waitMs = 0, readBytes = 0 }) => {
      return { seconds: stepMs / 1000, waitSeconds: waitMs / 1000, readBytes };
    });
  const later = steps.slice(1).map(({ seconds }) => seconds);
  const image = events.find(({ type }) => type === "image");
  return {
    vram,
    side,
    precision: image?.precision,
    stepSeconds: later.length > 0 ? Math.min(...later) : undefined,
    steps,
    imageSeconds: image?.elapsedMs === undefined ? undefined : image.elapsedMs / 1000,
    peakDeviceBytes: image?.peakDeviceBytes,
    peakRssBytes: image?.peakRssBytes,
    sha256: image?.sha256,
    notes: events.filter(({ type }) => type === "note").map(({ text = "" }) => text),
  };
}
