/** @file A picture that a network enlarges, by itself: opened, planned, computed, and encoded again with what was written in it. */
import type { Device } from "../backend/device.ts";
import { ArtifactError, BudgetError } from "../errors.ts";
import { type PictureText, readPictureTexts } from "../image/metadata/picture-texts.ts";
import type { Picture } from "../image/picture.ts";
import { decodeBytes, type PictureHeader, readPictureHeader } from "../image/picture-header.ts";
import {
  type EncodingChoice,
  encoderBytesPerPixel,
  type OpenPictureWriter,
  type PictureWriter,
} from "../image/picture-writer.ts";
import type { PngText } from "../image/png.ts";
import { resample, resampleBytes } from "../image/resample.ts";
import { A1111_KEYWORD } from "../job/infotext.ts";
import { requireEncodingFits } from "../job/output-fields.ts";
import { UPSCALER_KEYWORD } from "../job/read-picture.ts";
import { requireOneSize, type UpscaledPicture, type UpscaleJob, type UpscaleOptions } from "../job/upscale.ts";
import { formatBytes } from "../ledger/byte-text.ts";
import { type RgbPicture, Upscaling } from "../models/upscaling.ts";
import { type PlannedUpscale, planUpscale, recoveredUpscale, type UpscaleSettings } from "../pipeline/upscale.ts";
import { runSizes, type Size, upscaledSize } from "../pipeline/upscale-sizes.ts";
import { type PlanReport, reportPlan } from "../plan/report.ts";
import { memorySource } from "../source/memory.ts";
import type { OpenUpscaler } from "./hires-upscalers.ts";

/** A picture's file as it is, and its pixels when they are wanted: alpha apart. */
export interface EncodedPicture {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly decode: (signal?: AbortSignal) => Promise<Picture>;
}

/** `field`: for messages. */
export type OpenPicture = (field: string, reference: string, signal?: AbortSignal) => Promise<EncodedPicture>;

export interface UpscaleHost {
  readonly openPicture: OpenPicture;
  readonly openUpscaler: OpenUpscaler;
  readonly openPictureWriter: OpenPictureWriter;
}

/** What it is computed with. */
export interface UpscaleCompute extends UpscaleSettings {
  /** Ends the device, when it is broken, and opens another one. */
  readonly reopen: (() => Promise<Device>) | undefined;
}

/** All that is known before anything is computed. */
export class OpenedUpscale implements AsyncDisposable {
  readonly #job: UpscaleJob;
  readonly #encoded: EncodedPicture;
  readonly #header: PictureHeader;
  readonly #network: Awaited<ReturnType<OpenUpscaler>>;
  readonly #writer: PictureWriter;

  private constructor(
    job: UpscaleJob,
    encoded: EncodedPicture,
    network: Awaited<ReturnType<OpenUpscaler>>,
    writer: PictureWriter,
  ) {
    this.#job = job;
    this.#encoded = encoded;
    this.#header = readPictureHeader(encoded.bytes, encoded.name);
    this.#network = network;
    this.#writer = writer;
  }

  /** Rejects with UsageError, ArtifactError or DeviceError. */
  static async open(host: UpscaleHost, job: UpscaleJob, signal?: AbortSignal): Promise<OpenedUpscale> {
    requireEncodingFits(job);
    requireOneSize(job);
    const writer = await host.openPictureWriter(encodingOf(job));
    const encoded = await host.openPicture("image", job.image, signal);
    // Refused before the network's file is looked at.
    readPictureHeader(encoded.bytes, encoded.name);
    return new OpenedUpscale(job, encoded, await host.openUpscaler(job.upscaler, signal), writer);
  }

  /** The plan of the last run, which is the largest. Rejects with BudgetError. */
  async plan(compute: UpscaleCompute, signal?: AbortSignal): Promise<PlanReport> {
    const picture = await this.#decoded(compute, signal);
    const { plan, input } = this.#planned(compute, picture).at(-1)!;
    return reportPlan(plan, input.phases);
  }

  /** Rejects with BudgetError before anything is computed, with DeviceError, or with the signal's reason. */
  async run(compute: UpscaleCompute, { signal, onEvent }: UpscaleOptions): Promise<UpscaledPicture> {
    const picture = await this.#decoded(compute, signal);
    for (const text of picture.notes) onEvent?.({ type: "note", text });
    const { alpha } = picture;
    const runs = this.#planned(compute, picture);
    for (const { plan, input } of runs) onEvent?.({ type: "plan", plan: reportPlan(plan, input.phases) });
    let made: RgbPicture = picture;
    let { device } = compute;
    const tiles = runs.reduce((sum, { upscaling }) => sum + upscaling.tiles, 0);
    let before = 0;
    for (const planned of runs) {
      const { reopen } = compute;
      const recovery = {
        reopen: reopen && (async () => (device = await reopen())),
        onLost: (text: string) => onEvent?.({ type: "note", text }),
      };
      const onTile = (done: number) => {
        // The first word of a run is the last one's of the run before.
        if (done > 0 || before === 0) onEvent?.({ type: "tile", done: before + done, tiles });
      };
      made = await recoveredUpscale({ ...compute, device }, planned, made, { signal, onTile }, recovery);
      before += planned.upscaling.tiles;
      signal?.throwIfAborted();
    }
    const size = this.#size(picture);
    const rgb = resizedTo(made, size);
    const image = alpha
      ? { rgb, alpha: resample({ ...picture, channels: 1, bytes: alpha }, size, "lanczos") }
      : { rgb };
    const { format } = encodingOf(this.#job);
    if (alpha && format === "jpeg")
      onEvent?.({ type: "note", text: "a JPEG has no transparent parts: they are laid over white" });
    const scale = Number((size.width / picture.width).toFixed(2));
    const texts = await textsOf(this.#encoded);
    const text = [...texts, { keyword: UPSCALER_KEYWORD, text: `${fileName(this.#job.upscaler)}, ${scale}x` }];
    for (const lost of this.#writer.lost(text)) onEvent?.({ type: "note", text: `${lost}: left out` });
    return { ...size, format, bytes: await this.#writer.write({ ...size, ...image, text }) };
  }

  async #decoded({ budgets, processBytes }: UpscaleCompute, signal?: AbortSignal): Promise<Picture> {
    const { name, decode } = this.#encoded;
    requireRoomToDecode(this.#header, budgets.ramBytes, processBytes, name);
    return await decode(signal);
  }

  #size(source: Size): Size {
    return upscaledSize(source, this.#job, this.#network.config.scale);
  }

  /** Each run of the network, as it is planned. */
  #planned(compute: UpscaleCompute, source: Picture): readonly PlannedUpscale[] {
    const { config, table } = this.#network;
    const { alpha } = source;
    const size = this.#size(source);
    return runSizes(source, size, config.scale).map((from, at) => {
      const upscaling = new Upscaling(config, from);
      // The file; the picture itself where another one is enlarged; the result of another size; alpha; what the encoder takes.
      const pixels = size.width * size.height;
      const channels = alpha ? 4 : 3;
      const isResized = size.width !== upscaling.width || size.height !== upscaling.height;
      const resized = isResized ? resampleBytes({ ...upscaling, channels: 3 }, size) : 0;
      const alphas = alpha ? alpha.length + resampleBytes({ ...source, channels: 1 }, size) + pixels * channels : 0;
      const encoding = (pixels * encoderBytesPerPixel(encodingOf(this.#job)) * channels) / 3;
      const before = at === 0 ? 0 : source.rgb.length;
      const furtherBytes = this.#encoded.bytes.length + before + resized + alphas + encoding;
      return planUpscale(compute, upscaling, table, furtherBytes);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#network.source[Symbol.asyncDispose]();
  }
}

function encodingOf({ format = "png", quality, lossless }: UpscaleJob): EncodingChoice {
  return { format, quality, lossless };
}

function resizedTo(picture: RgbPicture, size: Size): Uint8Array<ArrayBuffer> {
  const { rgb, width, height } = picture;
  if (size.width === width && size.height === height) return rgb;
  return resample({ width, height, channels: 3, bytes: rgb }, size, "lanczos");
}

function requireRoomToDecode(header: PictureHeader, ramBytes: number, processBytes: number, name: string): void {
  const bytes = decodeBytes(header) + processBytes;
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
async function textsOf({ name, bytes }: EncodedPicture): Promise<readonly PngText[]> {
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
