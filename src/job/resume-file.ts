/**
 * @file The file of an unfinished picture: the job, what computed it, and the state it came to. Layout: 8 bytes "SOLVAYR1"; the sha256 (32
 * bytes) of all that follows; the header's length as a little-endian uint32; the header as JSON; the latents as little-endian float32,
 * x first, then the sampler's history. Anybody may have changed it: lengths are checked against the file's own before memory is taken.
 */
import { sha256 } from "#hash";
import { ArtifactError, printable } from "../errors.ts";
import { isJsonObject, type JsonObject } from "../source/json-fields.ts";
import type { ByteSource } from "../source/source.ts";
import type { OpenRequest } from "./checked.ts";
import type { EngineInfo } from "./engine.ts";
import type { DrawnState } from "./events.ts";
import type { GenerateJob } from "./job.ts";

const MAGIC = "SOLVAYR1";
const DIGEST_BYTES = 32;
const FIXED_BYTES = MAGIC.length + DIGEST_BYTES + 4;
/** Prompts, and pictures as data: URLs. */
const MAX_HEADER_BYTES = 256 * 1024 ** 2;
/** A latent of 8192x8192 pixels. */
const MAX_LATENT_VALUES = 2 ** 22;
/** x, and more than any sampler keeps. */
const MAX_LATENTS = 8;

/** All but the latents. */
export interface UnfinishedPicture {
  /** Solvay's. */
  readonly version: string;
  /** Nothing is left open in it. */
  readonly job: GenerateJob;
  /** What opened the engine; paths are absolute. */
  readonly request: OpenRequest;
  readonly computed: Pick<EngineInfo, "model" | "backend" | "adapter" | "precision">;
  /** Of the model's files; undefined where they could not be read. */
  readonly modelContent?: string | undefined;
  /** sha256 of the pictures that the job's fields name; "lora FILE": as A1111 abbreviates it; "control FILE" and others (terminal/unfinished.ts): what the file holds. */
  readonly pictures: Readonly<Record<string, string>>;
  /** Where the job's relative paths begin. */
  readonly cwd: string;
  /** Name of the picture's file, without a folder. */
  readonly output: string;
  readonly steps: number;
  /** Of one of a series: which one of which. */
  readonly place?: PlaceInSeries | undefined;
}

export interface PlaceInSeries {
  readonly series: string;
  readonly index: number;
}

/** As read: `job` and `request` have not been checked by their schemas. */
export interface ReadUnfinished extends Omit<UnfinishedPicture, "job" | "request"> {
  readonly job: JsonObject;
  readonly request: JsonObject;
  readonly state: DrawnState;
}

/** The file in pieces. */
export function encodeUnfinished(picture: UnfinishedPicture, { step, x, history, retry }: DrawnState): Uint8Array[] {
  const header = { ...picture, step, retry, latents: 1 + history.length, values: x.length };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, json.length, true);
  const body = [length, json, ...[x, ...history].map(littleEndian)];
  return [new TextEncoder().encode(MAGIC), digestOf(body), ...body];
}

/** Throws ArtifactError `E_RESUME_FILE`. */
export async function readUnfinished(source: ByteSource, signal?: AbortSignal): Promise<ReadUnfinished> {
  const refuse = (problem: string) => damaged(source.name, problem);
  const piece = async (start: number, length: number) => {
    const bytes = new Uint8Array(length);
    await source.read(start, bytes, signal);
    return bytes;
  };
  if (source.byteLength < FIXED_BYTES) throw refuse(`it ends too soon (found ${source.byteLength} bytes)`);
  const fixed = await piece(0, FIXED_BYTES);
  if (!MAGIC.split("").every((char, at) => fixed[at] === char.charCodeAt(0))) {
    throw refuse("it does not begin as the file of an unfinished picture");
  }
  const headerBytes = new DataView(fixed.buffer).getUint32(FIXED_BYTES - 4, true);
  const room = Math.min(MAX_HEADER_BYTES, source.byteLength - FIXED_BYTES);
  if (headerBytes > room) throw refuse(`its header's length is wrong (found ${headerBytes} bytes, allowed ${room})`);
  const json = await piece(FIXED_BYTES, headerBytes);
  const header = parsed(json);
  if (!header) throw refuse("its header is no JSON object");
  const latents = whole(header.latents, 1, MAX_LATENTS);
  const values = whole(header.values, 1, MAX_LATENT_VALUES);
  if (latents === undefined || values === undefined) throw refuse("it does not say how large its latents are");
  const start = FIXED_BYTES + headerBytes;
  const [found, wanted] = [source.byteLength - start, 4 * latents * values];
  if (found !== wanted) throw refuse(`its latents are cut (found ${found} bytes, ${wanted} are wanted)`);
  const payload: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < latents; at++) payload.push(await piece(start + 4 * values * at, 4 * values));
  const digest = digestOf([fixed.subarray(FIXED_BYTES - 4), json, ...payload]);
  if (!digest.every((byte, at) => byte === fixed[MAGIC.length + at])) {
    throw refuse("its content is not what was written (its sha256 differs)");
  }
  const [x, ...history] = payload.map(fromLittleEndian);
  const fields = fieldsOf(header);
  if (!fields) throw refuse("its header lacks something");
  const { step, retry, ...picture } = fields;
  return { ...picture, state: { step, x: x!, history, ...(retry !== undefined && { retry }) } };
}

function fieldsOf(header: JsonObject): (Omit<ReadUnfinished, "state"> & { step: number; retry?: string }) | undefined {
  const { version, job, request, computed, modelContent, pictures, cwd, output, retry } = header;
  const steps = whole(header.steps, 1, 1e6);
  const step = steps && whole(header.step, 1, steps);
  if (steps === undefined || step === undefined) return undefined;
  if (!isJsonObject(job) || !isJsonObject(request) || !isJsonObject(computed) || !isTexts(pictures)) return undefined;
  if (!isText(version) || !isText(cwd) || !isText(output) || !isPlainPngName(output)) return undefined;
  if (!isText(modelContent ?? "") || !isText(retry ?? "") || !isTexts(computed)) return undefined;
  const { model, backend, precision } = computed;
  if (model === undefined || backend === undefined || precision === undefined) return undefined;
  return {
    ...{ version, job, request, pictures, cwd, output, steps, step },
    computed: computed as unknown as UnfinishedPicture["computed"],
    ...(isText(modelContent) && { modelContent }),
    ...(isText(retry) && { retry }),
    ...placeOf(header.place),
  };
}

function placeOf(value: unknown): { place?: PlaceInSeries } {
  if (!isJsonObject(value) || !isText(value.series)) return {};
  const index = whole(value.index, 0, 1e6);
  return index === undefined ? {} : { place: { series: value.series, index } };
}

/** No folder, nothing hidden: the file decides nothing about where it is written. */
export function isPlainPngName(name: string): boolean {
  return /^[^./\\:][^/\\:]{0,250}$/.test(name) && printable(name) === name;
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isTexts(value: unknown): value is Readonly<Record<string, string>> {
  return isJsonObject(value) && Object.values(value).every(isText);
}

function whole(value: unknown, min: number, max: number): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= min && value <= max ? value : undefined;
}

function parsed(json: Uint8Array): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function digestOf(body: readonly Uint8Array[]): Uint8Array {
  const hash = sha256();
  for (const bytes of body) hash.update(bytes);
  const hex = hash.digestHex();
  return Uint8Array.from({ length: DIGEST_BYTES }, (_, at) => Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16));
}

function littleEndian(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (let at = 0; at < values.length; at++) view.setFloat32(4 * at, values[at]!, true);
  return new Uint8Array(view.buffer);
}

function fromLittleEndian(bytes: Uint8Array<ArrayBuffer>): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength / 4 }, (_, at) => view.getFloat32(4 * at, true));
}

function damaged(subject: string, problem: string): ArtifactError {
  const next = "make the picture anew; solvay resume --list shows what else there is";
  return new ArtifactError({ code: "E_RESUME_FILE", subject, problem, next });
}
