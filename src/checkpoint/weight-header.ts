/** @file The tensors of a safetensors file as weights: 8-bit floats widened, with the scales that go with them, or refused. */
import type { ForeignTensor, SafetensorsHeader } from "../container/safetensors.ts";
import { readSafetensorsHeader, requireKnownDTypes } from "../container/safetensors.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { isJsonObject } from "../source/json-fields.ts";
import type { ByteSource } from "../source/source.ts";
import { elementCount, toFloat32 } from "../tensor/dtype.ts";
import { type Fp8, isFp8, widenedFp8 } from "./fp8.ts";

/** Says that weights under its prefix have scales (ComfyUI); "X.comfy_quant" says it of one layer. */
const MARKER = /(?:^|\.)scaled_fp8$/;
const LAYER_MARKER = ".comfy_quant";
const SCALES = [".scale_weight", ".weight_scale"] as const;
/** Of a layer's input, for hardware that multiplies 8-bit floats: no part of the weights. */
const INPUT_SCALE = /\.(scale_input|input_scale)$/;
const LAYERS_METADATA = "_quantization_metadata";
const FORMATS: Readonly<Record<string, Fp8>> = { float8_e4m3fn: "F8_E4M3", float8_e5m2: "F8_E5M2" };
const MAX_MARKER_BYTES = 4096;
/** A row of a weight each. */
const MAX_SCALES = 65_536;

/** Reads headers, and scales where there are any. Rejects with ArtifactError for what can't be weights. */
export async function readWeightTable(source: ByteSource, signal?: AbortSignal): Promise<TensorTable> {
  return await weightTable(await readSafetensorsHeader(source, signal), source.name, signal);
}

/** The tensors of a header that was read, as readWeightTable gives them. `file`: for messages. */
export async function weightTable(
  { table, foreign, metadata }: SafetensorsHeader,
  file: string,
  signal?: AbortSignal,
): Promise<TensorTable> {
  const eights = [...foreign.values()].filter((tensor): tensor is Eight => isFp8(tensor.dtype));
  if (eights.length === 0) return requireKnownDTypes({ table, foreign, metadata }, file, "weights");
  const others = new Map([...foreign].filter(([, { dtype }]) => !isFp8(dtype)));
  const known = requireKnownDTypes({ table, foreign: others, metadata }, file, "weights");
  const told = await toldFormats(known, metadata, file, signal);
  const prefixes = [...known.keys(), ...foreign.keys()].filter((name) => MARKER.test(name)).map(withoutMarker);
  const weights = new Map<string, TensorEntry>();
  const used = new Set<string>();
  for (const tensor of eights) {
    if (MARKER.test(tensor.name)) continue;
    const layer = tensor.name.replace(/\.weight$/, "");
    const scale = SCALES.map((end) => known.get(layer + end)).find((entry) => entry !== undefined);
    if (scale) {
      requireTold(tensor, scale, told(layer) ?? (prefixes.some((start) => layer.startsWith(start)) || undefined), file);
      used.add(scale.name);
    }
    weights.set(tensor.name, widenedFp8(tensor, scale && (await readScales(scale, tensor, file, signal))));
  }
  // In the file's order: names that come first are those that messages show.
  for (const [name, entry] of known) {
    const isConsumed = used.has(name) || MARKER.test(name) || INPUT_SCALE.test(name) || name.endsWith(LAYER_MARKER);
    if (!isConsumed) weights.set(name, entry);
  }
  return weights;
}

type Eight = ForeignTensor & { readonly dtype: Fp8 };

function withoutMarker(name: string): string {
  return name.slice(0, -"scaled_fp8".length);
}

/** `format`: of the scaled weight as the file tells it; true: told, whatever it is. Throws ArtifactError `E_FP8_SCALE`. */
function requireTold(tensor: Eight, scale: TensorEntry, format: string | true | undefined, file: string): void {
  if (format === true || (format !== undefined && FORMATS[format] === tensor.dtype)) return;
  const what = `the 8-bit weight ${quoted(tensor.name)} has a scale ${quoted(scale.name)}`;
  throw new ArtifactError({
    code: "E_FP8_SCALE",
    subject: file,
    problem:
      format === undefined
        ? `${what}, and nothing in the file says how it is meant (no scaled_fp8, no comfy_quant)`
        : `${what} of the format ${quoted(format)}, which Solvay does not read`,
    next: "use the model's fp16 or bf16 file, or one with unscaled 8-bit weights",
  });
}

/** What a file says of single layers: in tensors beside them, or in its metadata. */
async function toldFormats(
  table: TensorTable,
  metadata: ReadonlyMap<string, string>,
  file: string,
  signal?: AbortSignal,
): Promise<(layer: string) => string | undefined> {
  const formats = new Map<string, string>();
  const note = (layer: string, value: unknown) => {
    if (isJsonObject(value) && typeof value.format === "string") formats.set(layer, value.format);
  };
  for (const [name, entry] of table) {
    if (!name.endsWith(LAYER_MARKER) || entry.endByte - entry.startByte > MAX_MARKER_BYTES) continue;
    const bytes = new Uint8Array(entry.endByte - entry.startByte);
    await entry.source.read(entry.startByte, bytes, signal);
    note(name.slice(0, -LAYER_MARKER.length), parsed(new TextDecoder().decode(bytes), name, file));
  }
  const written = metadata.get(LAYERS_METADATA);
  const root = written === undefined ? undefined : parsed(written, LAYERS_METADATA, file);
  if (isJsonObject(root) && isJsonObject(root.layers)) {
    for (const [layer, value] of Object.entries(root.layers)) note(layer, value);
  }
  return (layer) => formats.get(layer);
}

function parsed(text: string, name: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const problem = `${quoted(name)} is not JSON`;
    throw new ArtifactError({
      code: "E_FP8_SCALE",
      subject: file,
      problem,
      next: "use another copy of the model",
      cause,
    });
  }
}

/** One for all of the tensor, or one a row. */
async function readScales(
  scale: TensorEntry,
  tensor: Eight,
  file: string,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const count = elementCount(scale.shape);
  const isByRow = scale.shape[0] === tensor.shape[0] && count === scale.shape[0] && scale.shape.length > 1;
  const refuse = (code: string, problem: string) =>
    new ArtifactError({ code, subject: file, problem, next: "use the model's fp16 or bf16 file" });
  if (!["f32", "f16", "bf16"].includes(scale.dtype) || !(count === 1 || isByRow) || count > MAX_SCALES) {
    const found = `${scale.dtype} [${scale.shape}]`;
    throw refuse(
      "E_FP8_SCALE",
      `the scale ${quoted(scale.name)} is ${found}, allowed one float, or one a row as [N, 1]`,
    );
  }
  const bytes = new Uint8Array(scale.endByte - scale.startByte);
  await scale.source.read(scale.startByte, bytes, signal);
  const scales = toFloat32(scale.dtype, bytes);
  const bad = scales.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw refuse("E_NONFINITE", `the scale ${quoted(scale.name)} is NaN or infinite at index ${bad}`);
  return scales;
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 120));
}
