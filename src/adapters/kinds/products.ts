/**
 * @file LoHa and LoKr: differences that are products of small factors, elementwise or Kronecker's. Their rank is a product of the factors' ranks: where
 * that is low they are two factors as LoRA's are, made when read (Khatri-Rao and Kronecker products); else whole, row by row.
 */
import type { TensorEntry } from "../../container/table.ts";
import type { Role } from "../key-table.ts";
import type { LayerChange, LowRankChange } from "../layer-change.ts";
import { madeTensor } from "../made/made-tensor.ts";
import {
  elementwise,
  identity,
  kronecker,
  pairedRows,
  product,
  type Rows,
  rowProducts,
  storedRows,
  tucker,
} from "../made/rows.ts";
import {
  type AdaptedLayer,
  type AdapterKind,
  bounded,
  rankOf,
  refusal,
  scaleOf,
  shaped,
  tensorOf,
  weightSizes,
} from "./adapted-layer.ts";

/** dW = scale (w1_a w1_b) * (w2_a w2_b), each with Tucker's core where there is one. */
export const LOHA: AdapterKind = {
  title: "LoHa",
  marks: ["hadaW1A", "hadaW1B", "hadaW2A", "hadaW2B"],
  may: ["hadaT1", "hadaT2", "alpha"],
  rank: (tensors) => tensors.get("hadaW1B")?.shape[0],
  read(layer) {
    const { outputs, inputs, taps } = weightSizes(layer);
    const scale = scaleOf(layer, rankOf(layer, tensorOf(layer, "hadaW1B"), 0));
    const pair = (a: Role, b: Role): Pair => {
      const [left, right] = [tensorOf(layer, a), tensorOf(layer, b)];
      const rank = rankOf(layer, right, 0);
      return {
        up: storedRows(shaped(layer, left, [outputs, rank])),
        down: storedRows(shaped(layer, right, [rank, inputs * taps])),
      };
    };
    const half = (a: Role, b: Role, core: Role): Rows => {
      if (!layer.tensors.has(core)) {
        const { up, down } = pair(a, b);
        return product(up, down);
      }
      const [left, right] = [tensorOf(layer, a), tensorOf(layer, b)];
      const rank = rankOf(layer, right, 0);
      return tucker(
        shaped(layer, tensorOf(layer, core), [rank, rank, taps]),
        shaped(layer, left, [rank, outputs]),
        shaped(layer, right, [rank, inputs]),
      );
    };
    if (!layer.tensors.has("hadaT1") && !layer.tensors.has("hadaT2")) {
      const [first, second] = [pair("hadaW1A", "hadaW1B"), pair("hadaW2A", "hadaW2B")];
      // (A B) * (C D) = (each row of A with that of C) (each column of B with that of D).
      const low = lowRankOf(
        layer,
        { up: rowProducts(first.up, second.up), down: pairedRows(first.down, second.down) },
        scale,
      );
      if (low) return [low];
    }
    const rows = elementwise(half("hadaW1A", "hadaW1B", "hadaT1"), half("hadaW2A", "hadaW2B", "hadaT2"), scale);
    return [differenceOf(layer, rows)];
  },
};

/** up [out, R] times down [R, in taps]. */
interface Pair {
  readonly up: Rows;
  readonly down: Rows;
}

/** Undefined where the factors are larger than what they make. */
function lowRankOf(layer: AdaptedLayer, { up, down }: Pair, scale: number): LowRankChange | undefined {
  const [outputs, inputs, ...kernel] = layer.layer.shape as [number, number, ...number[]];
  const rank = down.rows;
  if (rank * (outputs + down.columns) > outputs * down.columns) return undefined;
  const { source } = [...layer.tensors.values()][0]!;
  return {
    kind: "low-rank",
    down: madeTensor(`${layer.root}.down`, [rank, inputs, ...kernel], bounded(layer, down), source),
    up: madeTensor(`${layer.root}.up`, [outputs, rank, ...kernel.map(() => 1)], bounded(layer, up), source),
    scale,
  };
}

function differenceOf(layer: AdaptedLayer, rows: Rows): LayerChange {
  const { source } = [...layer.tensors.values()][0]!;
  const weight = madeTensor(layer.root, layer.layer.shape, bounded(layer, rows), source);
  return { kind: "difference", weight };
}

/** dW = scale (w1 x w2), either of them whole, or of two factors; w2 also with Tucker's core. */
export const LOKR: AdapterKind = {
  title: "LoKr",
  marks: ["lokrW1", "lokrW1A", "lokrW1B", "lokrW2", "lokrW2A", "lokrW2B"],
  may: ["lokrT2", "alpha"],
  rank: (tensors) => (tensors.get("lokrW2B") ?? tensors.get("lokrW1B"))?.shape[0],
  read(layer) {
    const { outputs, inputs, taps } = weightSizes(layer);
    const first = matrixOf(layer, "lokrW1", "lokrW1A", "lokrW1B");
    const core = layer.tensors.get("lokrT2");
    const second = core ? tuckerOf(layer, taps) : matrixOf(layer, "lokrW2", "lokrW2A", "lokrW2B");
    if (
      first.rows * second.rows !== outputs ||
      first.columns * second.columns !== inputs * taps ||
      second.columns % taps !== 0
    ) {
      const found = `[${first.rows}, ${first.columns}] and [${second.rows}, ${second.columns}]`;
      throw refusal(
        layer,
        `its factors do not fit the model's ${layer.layer.module} [${layer.layer.shape}] (found ${found})`,
      );
    }
    // Whole factors have no rank: their alpha means nothing.
    const inner = layer.tensors.has("lokrW2B") ? "lokrW2B" : layer.tensors.has("lokrW1B") ? "lokrW1B" : undefined;
    const scale = inner ? scaleOf(layer, rankOf(layer, tensorOf(layer, inner), 0)) : 1;
    if (!core && !layer.tensors.has("lokrW2")) {
      const { up, down } = pairOf(layer, "lokrW2A", "lokrW2B");
      // w1 x (a b) = (w1 x a) (1 x b)
      const pair = { up: kronecker(first, up, 1), down: kronecker(identity(first.columns), down, 1) };
      const low = lowRankOf(layer, pair, scale);
      if (low) return [low];
    }
    return [differenceOf(layer, kronecker(first, second, scale))];
  },
};

/** A factor that is whole, or two whose product it is. */
function matrixOf(layer: AdaptedLayer, whole: Role, a: Role, b: Role): Rows {
  if (layer.tensors.has(whole)) {
    if (layer.tensors.has(a) || layer.tensors.has(b)) throw refusal(layer, `it has ${whole} as well as ${a} or ${b}`);
    return storedRows(nonEmpty(layer, tensorOf(layer, whole)));
  }
  const { up, down } = pairOf(layer, a, b);
  return product(up, down);
}

function pairOf(layer: AdaptedLayer, a: Role, b: Role): Pair {
  const [left, right] = [tensorOf(layer, a), tensorOf(layer, b)];
  const rank = rankOf(layer, right, 0);
  const tall = nonEmpty(layer, left);
  return {
    up: storedRows(shaped(layer, tall, [tall.shape[0]!, rank])),
    down: storedRows(nonEmpty(layer, right)),
  };
}

/** w2 of a convolution: core [r, r, taps], w2_a [r, C], w2_b [r, D]. */
function tuckerOf(layer: AdaptedLayer, taps: number): Rows {
  const [core, a, b] = [tensorOf(layer, "lokrT2"), tensorOf(layer, "lokrW2A"), tensorOf(layer, "lokrW2B")];
  const rank = rankOf(layer, b, 0);
  const [rows, columns] = [rankOf(layer, a, 1), rankOf(layer, b, 1)];
  return tucker(
    shaped(layer, core, [rank, rank, taps]),
    shaped(layer, a, [rank, rows]),
    shaped(layer, b, [rank, columns]),
  );
}

function nonEmpty(layer: AdaptedLayer, entry: TensorEntry): TensorEntry {
  if (entry.shape.length < 2 || entry.shape.includes(0)) {
    throw refusal(layer, `tensor ${JSON.stringify(entry.name.slice(0, 120))} is no matrix (found [${entry.shape}])`);
  }
  return entry;
}
