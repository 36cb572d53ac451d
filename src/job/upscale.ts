/** @file A picture enlarged by a network, by itself: what is asked for, and what is told of it. */
import { UsageError } from "../errors.ts";
import type { PictureEncoding } from "../image/picture-writer.ts";
import type { PlanReport } from "../plan/report.ts";
import type { Fields, ValuesOf } from "./field-type.ts";
import { OUTPUT_FIELDS } from "./output-fields.ts";

/** Pixels a side of what may come out. */
const SIDE = { type: "whole", min: 8, max: 16384 } as const;

export const UPSCALE_FIELDS = {
  image: {
    kind: { type: "picture" },
    description: "the picture (PNG, JPEG or WebP)",
    required: true,
  },
  upscaler: {
    kind: { type: "text", maxChars: 32767 },
    description: "the network: .safetensors, or .pth (tensors are read, nothing is run)",
    required: true,
  },
  scale: {
    kind: { type: "decimal", min: 0.125, max: 8 },
    description:
      "of the result to the picture: the network runs again until it is that large, and Lanczos does the rest",
    absent: "the network's own",
  },
  width: { kind: SIDE, description: "of the result, with height, in place of scale" },
  height: { kind: SIDE, description: "of the result, with width, in place of scale" },
  ...OUTPUT_FIELDS,
} as const satisfies Fields;

export type UpscaleJob = Omit<ValuesOf<typeof UPSCALE_FIELDS>, "format"> & { readonly format?: PictureEncoding };

export type UpscaleEvent =
  | { readonly type: "note"; readonly text: string }
  /** Before anything is computed, and of each time that the network runs. */
  | { readonly type: "plan"; readonly plan: PlanReport }
  | { readonly type: "tile"; readonly done: number; readonly tiles: number };

export interface UpscaledPicture {
  readonly width: number;
  readonly height: number;
  /** The picture's file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly format: PictureEncoding;
}

export interface UpscaleOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: UpscaleEvent) => void) | undefined;
}

/** Throws UsageError `E_JOB` for half a size, or two. */
export function requireOneSize({ width, height, scale }: UpscaleJob): void {
  if ((width === undefined) === (height === undefined) && (width === undefined || scale === undefined)) return;
  const problem = "a size is width and height, and no scale beside them";
  throw new UsageError({ code: "E_JOB", subject: "width", problem, next: "give both of them, or scale" });
}
