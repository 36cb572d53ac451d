/** @file LoHa and LoKr: differences that are products of small factors, elementwise or Kronecker's. They have no low rank, and are made row by row when read. */
import type { TensorEntry } from "../../container/table.ts";
import type { Role } from "../key-table.ts";
import { madeTensor } from "../made/made-tensor.ts";
import { elementwise, kronecker, product, type Rows, storedRows, tucker } from "../made/rows.ts";
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
    const half = (a: Role, b: Role, core: Role): Rows => {
      const [left, right] = [tensorOf(layer, a), tensorOf(layer, b)];
      const rank = rankOf(layer, right, 0);
      if (layer.tensors.has(core)) {
        return tucker(
          shaped(layer, tensorOf(layer, core), [rank, rank, taps]),
          shaped(layer, left, [rank, outputs]),
          shaped(layer, right, [rank, inputs]),
        );
      }
      const [tall, wide] = [shaped(layer, left, [outputs, rank]), shaped(layer, right, [rank, inputs * taps])];
      return product(storedRows(tall), storedRows(wide));
    };
    const scale = scaleOf(layer, rankOf(layer, tensorOf(layer, "hadaW1B"), 0));
    const rows = elementwise(half("hadaW1A", "hadaW1B", "hadaT1"), half("hadaW2A", "hadaW2B", "hadaT2"), scale);
    const { source } = tensorOf(layer, "hadaW1A");
    return [{ kind: "difference", weight: madeTensor(layer.root, layer.layer.shape, bounded(layer, rows), source) }];
  },
};

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
    const rows = bounded(layer, kronecker(first, second, scale));
    const { source } = [...layer.tensors.values()][0]!;
    return [{ kind: "difference", weight: madeTensor(layer.root, layer.layer.shape, rows, source) }];
  },
};

/** A factor that is whole, or two whose product it is. */
function matrixOf(layer: AdaptedLayer, whole: Role, a: Role, b: Role): Rows {
  if (layer.tensors.has(whole)) {
    if (layer.tensors.has(a) || layer.tensors.has(b)) throw refusal(layer, `it has ${whole} as well as ${a} or ${b}`);
    return storedRows(nonEmpty(layer, tensorOf(layer, whole)));
  }
  const [left, right] = [tensorOf(layer, a), tensorOf(layer, b)];
  const rank = rankOf(layer, right, 0);
  const tall = nonEmpty(layer, left);
  return product(storedRows(shaped(layer, tall, [tall.shape[0]!, rank])), storedRows(nonEmpty(layer, right)));
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
