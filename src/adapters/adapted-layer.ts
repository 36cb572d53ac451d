/** @file What adapters add to one layer, as data: names of tensors, and whose strength each is multiplied by. */
import type { TensorEntry } from "../container/table.ts";
import { blockDiagonal } from "./block-diagonal.ts";
import { gainTensor } from "./gain.ts";
import { joinedTensor } from "./joined-tensor.ts";
import type { InputLowRankChange, LayerChange, LowRankChange, RotationChange } from "./layer-change.ts";

/** So many values of an adapter's strength, each times `scale`. */
export interface StrengthPart {
  /** Place among the job's adapters, or `CONSTANT`. */
  readonly adapter: number;
  readonly scale: number;
  readonly count: number;
}

/** In place of an adapter: its strength is 1 always. */
export const CONSTANT = -1;

/** x -> up(strengths * mid(down(x))). Names of tensors. */
export interface LowRank {
  readonly down: string;
  readonly mid: string | undefined;
  readonly up: string;
  /** As many values together as the rank. */
  readonly strengths: readonly StrengthPart[];
}

/** A tensor by name, and the adapter whose strength it has. */
export interface Scaled {
  readonly tensor: string;
  readonly adapter: number;
}

export interface Rotated {
  readonly adapter: number;
  readonly onInput: boolean;
  /** [out], after the rotation. */
  readonly rescale: string | undefined;
  /** One after another. `parts`: square matrices [c, c] along the diagonal. `stride`: see RotationFactor. */
  readonly factors: readonly { readonly parts: readonly string[]; readonly stride: number }[];
}

/** s * (gain * V - W)(x), V = W + `change`; or where `onInput` s * (V(gain * x) - W(x)). */
export interface Weighed {
  readonly adapter: number;
  readonly onInput: boolean;
  readonly gain: string;
  /** Low rank, of constant strength, or a tensor of W's shape. */
  readonly change: LowRank | string;
}

/** What adapters add to a layer W. */
export interface AdaptedLayer {
  /** y += them(x) */
  readonly lowRank: readonly LowRank[];
  /** y += W(them(x)) */
  readonly inputs: readonly LowRank[];
  /** y += s * tensor(x) */
  readonly differences: readonly Scaled[];
  /** y += s * tensor */
  readonly biases: readonly Scaled[];
  /** y += s * W(tensor * x) */
  readonly inputScales: readonly Scaled[];
  /** y += s * tensor * W(x) */
  readonly outputScales: readonly Scaled[];
  readonly rotations: readonly Rotated[];
  readonly weighed: readonly Weighed[];
}

/** A layer that is left as it is. */
export const NOTHING: AdaptedLayer = {
  ...{ lowRank: [], inputs: [], differences: [], biases: [] },
  ...{ inputScales: [], outputScales: [], rotations: [], weighed: [] },
};

/** What both add. */
export function joinedLayer(a: AdaptedLayer, b: AdaptedLayer): AdaptedLayer {
  return {
    lowRank: [...a.lowRank, ...b.lowRank],
    inputs: [...a.inputs, ...b.inputs],
    differences: [...a.differences, ...b.differences],
    biases: [...a.biases, ...b.biases],
    inputScales: [...a.inputScales, ...b.inputScales],
    outputScales: [...a.outputScales, ...b.outputScales],
    rotations: [...a.rotations, ...b.rotations],
    weighed: [...a.weighed, ...b.weighed],
  };
}

export interface OwnedChange {
  readonly adapter: number;
  readonly change: LayerChange;
}

/** `name`: before those of its tensors, which are added to `tensors`. `weight`: the layer's own. */
export function adaptedLayer(
  name: string,
  changes: readonly OwnedChange[],
  weight: TensorEntry | undefined,
  tensors: Map<string, TensorEntry>,
): AdaptedLayer {
  const add = (role: string, tensor: TensorEntry): string => {
    const named = { ...tensor, name: `${name}.${role}` };
    tensors.set(named.name, named);
    return named.name;
  };
  const ofKind = <Kind extends LayerChange["kind"]>(kind: Kind) =>
    changes.flatMap(({ adapter, change }, i) =>
      change.kind === kind ? [{ adapter, change: change as Extract<LayerChange, { kind: Kind }>, i }] : [],
    );
  const scaled = (role: string, adapter: number, tensor: TensorEntry): Scaled => ({
    tensor: add(role, tensor),
    adapter,
  });
  const scales = (onInput: boolean) =>
    ofKind("scale")
      .filter(({ change }) => change.onInput === onInput)
      .map(({ adapter, change, i }) => scaled(`scale${i}`, adapter, change.values));
  return {
    lowRank: joined("lora", ofKind("low-rank"), add),
    inputs: joined("input", ofKind("input-low-rank"), add),
    differences: ofKind("difference").map(({ adapter, change, i }) => scaled(`diff${i}`, adapter, change.weight)),
    biases: ofKind("bias").map(({ adapter, change, i }) => scaled(`bias${i}`, adapter, change.bias)),
    inputScales: scales(true),
    outputScales: scales(false),
    rotations: ofKind("rotation").map(({ adapter, change, i }) => rotated(`turn${i}`, adapter, change, add)),
    weighed: ofKind("magnitude").map(({ adapter, change: { change, magnitude, onInput }, i }): Weighed => {
      const role = `dora${i}`;
      const gain = add(`${role}.gain`, gainTensor(magnitude, weight!, change, onInput));
      if (change.kind === "difference") return { adapter, onInput, gain, change: add(`${role}.diff`, change.weight) };
      return { adapter, onInput, gain, change: joined(role, [{ adapter: CONSTANT, change }], add)[0]! };
    }),
  };
}

type Add = (role: string, tensor: TensorEntry) => string;

interface OwnedFactors {
  readonly adapter: number;
  readonly change: LowRankChange | InputLowRankChange;
}

function joined(role: string, changes: readonly OwnedFactors[], add: Add): readonly LowRank[] {
  const midOf = ({ change }: OwnedFactors) => (change.kind === "low-rank" ? change.mid : undefined);
  // What has a middle of its own can't be joined.
  const groups = Map.groupBy(changes, (owned, i) =>
    midOf(owned) ? `${i}` : `of ${owned.change.down.shape.slice(1).join("x")}`,
  );
  return [...groups.values()].map((group, i): LowRank => {
    const part = (factor: string) => `${role}.${factor}${i === 0 ? "" : i}`;
    const join = (factor: "down" | "up", axis: "rows" | "columns") =>
      add(
        part(factor),
        joinedTensor(
          group.map(({ change }) => shaped(change, factor)),
          axis,
        ),
      );
    const mid = midOf(group[0]!);
    return {
      down: join("down", "rows"),
      mid: mid && add(part("mid"), mid),
      up: join("up", "columns"),
      strengths: group.map(({ adapter, change }) => ({ adapter, scale: change.scale, count: change.down.shape[0]! })),
    };
  });
}

/** Both as matrices, or both as convolutions. */
function shaped({ down, up }: OwnedFactors["change"], factor: "down" | "up"): TensorEntry {
  if (factor === "down") return down;
  return { ...up, shape: [...up.shape.slice(0, 2), ...(down.shape.length === 4 ? [1, 1] : [])] };
}

/** Matrices along a diagonal are no wider, unless its blocks are ... */
const LEAST_PART = 128;
/** ... but never more than this. */
const MOST_PARTS = 16;

function rotated(role: string, adapter: number, change: RotationChange, add: Add): Rotated {
  const factors = change.factors.map(({ blocks, stride }, i) => {
    const [count, width] = blocks.shape as [number, number, number];
    const widest = Math.max(LEAST_PART, Math.ceil((count * width) / MOST_PARTS));
    let together = 1;
    for (let n = 1; n <= count; n++) if (count % n === 0 && n * width <= widest) together = n;
    const parts = Array.from({ length: count / together }, (_, j) =>
      add(`${role}.${i}.${j}`, blockDiagonal(blocks, j * together, together)),
    );
    return { parts, stride };
  });
  const rescale = change.rescale && add(`${role}.rescale`, change.rescale);
  return { adapter, onInput: change.onInput, rescale, factors };
}
