/** @file A picture as a report draws it, and what is kept of the events that `solvay generate --json` prints. */
import { failureOf } from "./command.ts";
import type { Outcome, Run } from "./step.ts";

export interface Picture {
  /** The demo model where none is named. */
  readonly model?: string;
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
  { solvay, adapterArgs }: Pick<Run, "solvay" | "adapterArgs">,
  picture: Picture,
  limitMs: number,
): Promise<Outcome & { readonly figures: PictureFigures; readonly said: string }> {
  const { model, vram, precision, withoutMatrices, side, steps, output } = picture;
  const result = await solvay.run(
    [
      ...["generate", "a lake at dawn", "--json", "--backend", "webgpu", ...adapterArgs],
      ...(model === undefined ? [] : ["--model", model]),
      ...["--vram", vram, "--precision", precision],
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
