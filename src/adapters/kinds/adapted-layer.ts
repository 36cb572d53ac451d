/** @file A layer of the model with the tensors that a file has for it, and how such a file is refused. */
import type { TensorEntry } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { Role } from "../key-table.ts";
import type { LayerChange } from "../layer-change.ts";
import type { ModelLayer } from "../layer-names.ts";
import type { Rows } from "../made/rows.ts";

export interface AdaptedLayer {
  /** For messages. */
  readonly file: string;
  /** What the file calls the layer. */
  readonly root: string;
  readonly layer: ModelLayer;
  readonly tensors: ReadonlyMap<Role, TensorEntry>;
  /** Tensors of one number, read. */
  readonly numbers: ReadonlyMap<Role, number>;
}

/** One way in which files change layers. */
export interface AdapterKind {
  /** For people. */
  readonly title: string;
  /** Any of these tensors says that a layer is changed so ... */
  readonly marks: readonly Role[];
  /** ... and these may be there besides. */
  readonly may: readonly Role[];
  /** The rank, where it has one. Shapes alone, unchecked. */
  rank?(tensors: ReadonlyMap<Role, { readonly shape: readonly number[] }>): number | undefined;
  /** Throws ArtifactError `E_LORA_TENSOR` or `E_LORA_KIND`. */
  read(layer: AdaptedLayer): LayerChange[];
}

/** Factors that are held whole while others pass: rank 512 of SDXL's widest layer takes 47 MB in fp32. */
const MAX_HELD_BYTES = 128 * 1024 ** 2;

const FLOATS: ReadonlySet<string> = new Set(["f32", "f16", "bf16"]);

/** The tensor of a role, as numbers that can be computed with. */
export function tensorOf(layer: AdaptedLayer, role: Role): TensorEntry {
  const entry = layer.tensors.get(role);
  if (!entry) {
    const found = [...layer.tensors.values()].map(({ name }) => quoted(name)).join(", ");
    throw refusal(layer, `the layer is not complete: it has ${found.slice(0, 400)} and no ${role}`);
  }
  if (!FLOATS.has(entry.dtype)) {
    throw refusal(layer, `tensor ${quoted(entry.name)} is ${entry.dtype} (allowed f16, bf16, f32, 8-bit floats)`);
  }
  return entry;
}

/** The same values under another shape, which joins or splits axes: values that lie in another order (transposed, channels last) are refused. */
export function shaped(layer: AdaptedLayer, entry: TensorEntry, shape: readonly number[]): TensorEntry {
  const [found, needed] = [axisEnds(entry.shape), axisEnds(shape)];
  const [fewer, more] = found.size < needed.size ? [found, needed] : [needed, found];
  if (elementCount(entry.shape) !== elementCount(shape) || [...fewer].some((end) => !more.has(end))) {
    const W = `the model's ${layer.layer.module} [${layer.layer.shape}]`;
    throw refusal(layer, `tensor ${quoted(entry.name)} does not fit ${W} (found [${entry.shape}], needs [${shape}])`);
  }
  return { ...entry, shape };
}

/** Products of the first axis, the first two, and so on: between which values axes end. Axes of 1 end nothing. */
function axisEnds(shape: readonly number[]): ReadonlySet<number> {
  const ends = shape.filter((side) => side !== 1);
  return new Set(ends.map((_, i) => elementCount(ends.slice(0, i + 1))));
}

/** A layer's weight as a matrix: `taps` are a convolution's places, 1 for a linear layer. Refuses layers of one axis. */
export function weightSizes(layer: AdaptedLayer): { outputs: number; inputs: number; taps: number } {
  const [outputs, inputs, ...taps] = layer.layer.shape;
  if (outputs === undefined || inputs === undefined) {
    throw refusal(layer, `the model's ${layer.layer.module} [${layer.layer.shape}] is a norm, which has no matrix`);
  }
  return { outputs, inputs, taps: elementCount(taps) };
}

/** Rank of a factor's axis; none is 0. */
export function rankOf(layer: AdaptedLayer, entry: TensorEntry, axis: number): number {
  const rank = entry.shape[axis] ?? 0;
  if (rank < 1) throw refusal(layer, `tensor ${quoted(entry.name)} has rank 0 (found [${entry.shape}])`);
  return rank;
}

/** alpha / rank. No alpha, or 0 as kohya's tools write none, is one of the rank. */
export function scaleOf(layer: AdaptedLayer, rank: number): number {
  const alpha = layer.numbers.get("alpha") ?? 0;
  return alpha === 0 ? 1 : alpha / rank;
}

/** The rows, if making them takes bounded memory. */
export function bounded(layer: AdaptedLayer, rows: Rows): Rows {
  const heldBytes = rows.memoryBytes(1);
  if (heldBytes <= MAX_HELD_BYTES) return rows;
  throw refusal(layer, `its factors would take ${heldBytes} bytes to multiply (allowed ${MAX_HELD_BYTES})`);
}

/** A tensor, or a whole layer, that can't be used. */
export function refusal({ file, root }: AdaptedLayer, problem: string): ArtifactError {
  return new ArtifactError({
    code: "E_LORA_TENSOR",
    subject: file,
    problem: `layer ${quoted(root)}: ${problem}`,
    next: "fetch the file again, or use another one",
  });
}

/** Something that is whole, but that Solvay does not compute. */
export function unsupported({ file, root }: AdaptedLayer, problem: string): ArtifactError {
  return new ArtifactError({
    code: "E_LORA_KIND",
    subject: file,
    problem: `layer ${quoted(root)}: ${problem}`,
    next: "use a version of it as plain LoRA",
  });
}

export function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 120));
}
