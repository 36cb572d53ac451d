/** @file OFT and BOFT: the weight is rotated by orthogonal blocks, of the outputs (kohya, LyCORIS) or the inputs (peft). */
import type { TensorEntry } from "../../container/table.ts";
import type { RotationFactor } from "../layer-change.ts";
import { madeTensor } from "../made/made-tensor.ts";
import { cayleyBlocks, seriesBlocks, transposedBlocks } from "../made/rotations.ts";
import { type Rows, slice } from "../made/rows.ts";
import {
  type AdaptedLayer,
  type AdapterKind,
  refusal,
  shaped,
  tensorOf,
  unsupported,
  weightSizes,
} from "./adapted-layer.ts";

/** A block is inverted at once. kohya's OFT of one fourth of SDXL's widest layer has 2560. */
const MAX_BLOCK_SIDE = 2560;

export const OFT: AdapterKind = {
  title: "OFT",
  marks: ["oftBlocks", "oftDiag", "rescale"],
  // Of OFT it is how far blocks may turn, not a scale.
  may: ["alpha"],
  rank: (tensors) => tensors.get("oftBlocks")?.shape.at(-1),
  read(layer) {
    const { outputs } = weightSizes(layer);
    const isDiagonal = layer.tensors.has("oftDiag");
    const stored = tensorOf(layer, isDiagonal ? "oftDiag" : "oftBlocks");
    const isButterfly = stored.shape.length === 4;
    const [factorCount, blocks, side] = (isButterfly ? stored.shape : [1, ...stored.shape]) as [number, number, number];
    const isSquare =
      stored.shape.length >= 3 && stored.shape.length <= 4 && stored.shape.at(-1) === side && factorCount > 0;
    if (!isSquare || blocks * side !== outputs) {
      throw refusal(
        layer,
        `its blocks do not fit ${outputs} outputs (found [${stored.shape}], allowed [b, k, k] with b k = ${outputs})`,
      );
    }
    requireSide(layer, side);
    const constraint = (layer.numbers.get("alpha") ?? 0) * outputs;
    // OFT multiplies by R transposed, BOFT by R: LyCORIS's functional/diag_oft.py and boft.py.
    const rows = isDiagonal ? transposedBlocks(stored) : cayleyBlocks(stored, constraint, !isButterfly);
    const factors = Array.from({ length: factorCount }, (_, i) => {
      const stride = isButterfly ? (2 ** i * side) / 2 : 1;
      if (isButterfly && (side % 2 !== 0 || outputs % (2 * stride) !== 0)) {
        throw refusal(layer, `its butterflies do not fit ${outputs} outputs (found [${stored.shape}])`);
      }
      return factor(stored, factorCount === 1 ? rows : slice(rows, i * blocks * side, blocks * side), stride);
    });
    const rescale = layer.tensors.has("rescale")
      ? { rescale: shaped(layer, tensorOf(layer, "rescale"), [outputs]) }
      : {};
    return [{ kind: "rotation", factors, ...rescale, onInput: false }];
  },
};

export const PEFT_OFT: AdapterKind = {
  title: "OFT",
  marks: ["oftR"],
  may: [],
  rank: (tensors) => sideOf(tensors.get("oftR")?.shape[1] ?? 0),
  read(layer) {
    const { inputs, taps } = weightSizes(layer);
    if (taps > 1)
      throw unsupported(layer, "peft's OFT of a convolution turns its patches, which Solvay does not compute");
    const stored = tensorOf(layer, "oftR");
    const [rows, columns] = stored.shape;
    const side = sideOf(columns ?? 0);
    const fits =
      stored.shape.length === 2 &&
      side !== undefined &&
      (rows! * side === inputs || (rows === 1 && inputs % side === 0));
    if (!fits) throw refusal(layer, `its triangles do not fit ${inputs} inputs (found [${stored.shape}])`);
    requireSide(layer, side);
    return [
      { kind: "rotation", factors: [factor(stored, seriesBlocks(stored, side, inputs / side), 1)], onInput: true },
    ];
  },
};

/** k of k (k - 1) / 2. */
function sideOf(triangle: number): number | undefined {
  const side = (1 + Math.sqrt(1 + 8 * triangle)) / 2;
  return Number.isInteger(side) && side > 1 ? side : undefined;
}

function requireSide(layer: AdaptedLayer, side: number): void {
  if (side > MAX_BLOCK_SIDE)
    throw refusal(layer, `its blocks are too large to invert (found ${side}, allowed ${MAX_BLOCK_SIDE})`);
}

function factor(stored: TensorEntry, rows: Rows, stride: number): RotationFactor {
  const shape = [rows.rows / rows.columns, rows.columns, rows.columns];
  return { blocks: madeTensor(stored.name, shape, rows, stored.source), stride };
}
