/** @file A picture file enlarged by an upscaler's file on this machine: opened, planned, computed, and encoded again with what was written in it. */
import type { Device } from "../backend/device.ts";
import { ArtifactError, BudgetError, UsageError } from "../errors.ts";
import { type PictureText, readPictureTexts } from "../image/metadata/picture-texts.ts";
import { decodeBytes, readPictureHeader } from "../image/picture-header.ts";
import { type EncodingChoice, encoderBytesPerPixel, type PictureEncoding } from "../image/picture-writer.ts";
import type { PngText } from "../image/png.ts";
import { resample, resampleBytes } from "../image/resample.ts";
import type { OpenRequest } from "../job/checked.ts";
import { A1111_KEYWORD } from "../job/infotext.ts";
import { requireEncodingFits } from "../job/output-fields.ts";
import { UPSCALER_KEYWORD } from "../job/read-picture.ts";
import { formatBytes } from "../ledger/byte-text.ts";
import { type RgbPicture, Upscaling } from "../models/upscaling.ts";
import { planUpscale, recoveredUpscale } from "../pipeline/upscale.ts";
import { type PlanReport, reportPlan } from "../plan/report.ts";
import { memorySource } from "../source/memory.ts";
import { openCompute } from "./compute.ts";
import { PROCESS_BYTES, resolveBudgets } from "./host-machine.ts";
import { readPictureBytes } from "./picture-files.ts";
import { openPictureWriter } from "./picture-writer.ts";
import { readPicture } from "./pictures.ts";
import { type OpenedUpscaler, openUpscaler } from "./upscaler-files.ts";

export interface EnlargeRequest extends Pick<OpenRequest, "backend" | "adapter" | "budgets"> {
  /** The picture and the network, as the user wrote them, and what their paths are relative to. */
  readonly picture: string;
  readonly upscaler: string;
  readonly cwd: string;
  /** Of the result to the picture; less than the network's own is made by Lanczos. Default: the network's own. */
  readonly scale?: number | undefined;
  readonly toAbsolute: (path: string) => string;
  /** Of the result. Default: PNG. */
  readonly encoding?: Partial<EncodingChoice> | undefined;
}

export type EnlargeEvent =
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "plan"; readonly plan: PlanReport }
  | { readonly type: "tile"; readonly done: number; readonly tiles: number };

export interface EnlargeOptions {
  readonly signal: AbortSignal;
  readonly onEvent: (event: EnlargeEvent) => void;
  /** Ends behind the plan: nothing is computed. */
  readonly planOnly?: boolean | undefined;
}

export interface EnlargedPicture {
  readonly width: number;
  readonly height: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly format: PictureEncoding;
}

/** Rejects with ArtifactError, UsageError, BudgetError or DeviceError, or the signal's reason. Resolves to undefined where only a plan was asked for. */
export async function enlargePicture(
  request: EnlargeRequest,
  { signal, onEvent, planOnly }: EnlargeOptions,
): Promise<EnlargedPicture | undefined> {
  const { cwd, toAbsolute, backend, adapter, budgets: asked = {}, encoding: { format = "png", ...how } = {} } = request;
  const encoding = { format, ...how };
  requireEncodingFits(encoding);
  const writer = await openPictureWriter(encoding);
  const encoded = await readPictureBytes("the picture", request.picture, { cwd, signal });
  const header = readPictureHeader(encoded.bytes, encoded.name);
  const opened = await openUpscaler(toAbsolute(request.upscaler), request.upscaler, signal);
  await using _ = opened.source;
  const scale = scaleOf(request, opened);
  const texts = await textsOf(encoded.bytes, encoded.name);
  const compute = await openCompute({ backend, adapter });
  let device: Device = compute.device;
  await using devices = new AsyncDisposableStack();
  devices.defer(() => device[Symbol.asyncDispose]());
  const { reopen } = compute;
  const { machine } = compute;
  const budgets = resolveBudgets(asked, machine);
  requireRoomToDecode(header, budgets.ramBytes, encoded.name);
  const picture = await readPicture(encoded.bytes, { name: encoded.name, alpha: "apart", signal });
  for (const text of [compute.note, ...picture.notes]) if (text !== undefined) onEvent({ type: "note", text });
  const upscaling = new Upscaling(opened.config, picture);
  const size = { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) };
  const settings = {
    ...{ device, machine, budgets, processBytes: PROCESS_BYTES },
    now: () => performance.now(),
    pause: () => new Promise<void>((resume) => setImmediate(resume)),
  };
  const { alpha } = picture;
  // The file; the result of another size; alpha; what the encoder takes.
  const pixels = size.width * size.height;
  const channels = alpha ? 4 : 3;
  const resized = size.width === upscaling.width ? 0 : resampleBytes({ ...upscaling, channels: 3 }, size);
  const alphas = alpha ? alpha.length + resampleBytes({ ...picture, channels: 1 }, size) + pixels * channels : 0;
  const furtherBytes =
    encoded.bytes.length + resized + alphas + (pixels * encoderBytesPerPixel(encoding) * channels) / 3;
  const planned = planUpscale(settings, upscaling, opened.table, furtherBytes);
  onEvent({ type: "plan", plan: reportPlan(planned.plan, planned.input.phases) });
  if (planOnly) return undefined;
  const onTile = (done: number, tiles: number) => onEvent({ type: "tile", done, tiles });
  const recovery = {
    reopen: reopen && (async () => (device = await reopen())),
    onLost: (text: string) => onEvent({ type: "note", text }),
  };
  const enlarged = await recoveredUpscale(settings, planned, picture, { signal, onTile }, recovery);
  signal.throwIfAborted();
  const rgb = resizedTo(enlarged, size);
  const image = alpha ? { rgb, alpha: resample({ ...picture, channels: 1, bytes: alpha }, size, "lanczos") } : { rgb };
  if (alpha && format === "jpeg")
    onEvent({ type: "note", text: "a JPEG has no transparent parts: they are laid over white" });
  const text = [...texts, { keyword: UPSCALER_KEYWORD, text: `${fileName(request.upscaler)}, ${scale}x` }];
  for (const lost of writer.lost(text)) onEvent({ type: "note", text: `${lost}: left out` });
  return { ...size, format, bytes: await writer.write({ ...size, ...image, text }) };
}

function scaleOf({ scale, upscaler }: EnlargeRequest, { config }: OpenedUpscaler): number {
  if (scale === undefined) return config.scale;
  if (scale <= config.scale) return scale;
  const problem = `${upscaler} enlarges ${config.scale} times (found --scale ${scale})`;
  throw new UsageError({
    code: "E_USAGE",
    subject: "--scale",
    problem,
    next: `give at most ${config.scale}, or use another upscaler`,
  });
}

function resizedTo(picture: RgbPicture, size: { readonly width: number; readonly height: number }) {
  const { rgb, width, height } = picture;
  if (size.width === width && size.height === height) return rgb;
  return resample({ width, height, channels: 3, bytes: rgb }, size, "lanczos");
}

function requireRoomToDecode(
  header: { readonly width: number; readonly height: number },
  ramBytes: number,
  name: string,
) {
  const bytes = decodeBytes(header) + PROCESS_BYTES;
  if (bytes <= ramBytes) return;
  const found = `${header.width} x ${header.height} pixels need up to ${formatBytes(bytes)}`;
  throw new BudgetError({
    code: "E_RAM",
    subject: name,
    problem: `the picture can't be decoded within the budget of RAM (${found}, allowed ${formatBytes(ramBytes)})`,
    next: "raise --ram, or scale the picture down",
  });
}

/** Texts that a PNG can hold. Damaged ones keep no picture from being enlarged: its pixels are read by themselves. */
async function textsOf(bytes: Uint8Array<ArrayBuffer>, name: string): Promise<readonly PngText[]> {
  try {
    const { texts } = await readPictureTexts(memorySource(name, bytes));
    // What is an infotext in EXIF is one of PNG's by another name.
    const named = texts.map(({ keyword, text }) => ({
      keyword: keyword === "UserComment" ? A1111_KEYWORD : keyword,
      text,
    }));
    return named.filter(isPngText);
  } catch (error) {
    if (error instanceof ArtifactError) return [];
    throw error;
  }
}

function isPngText({ keyword }: PictureText): boolean {
  return /^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(keyword) && keyword.length <= 79 && keyword !== UPSCALER_KEYWORD;
}

function fileName(path: string): string {
  return path.split(/[\\/]/).at(-1)!;
}
