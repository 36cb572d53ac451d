/** @file LoRA, and LoCon where layers are convolutions: two factors, or three with Tucker's core between them; GLoRA, which has a pair before the weight too. */
import type { TensorEntry } from "../../container/table.ts";
import type { Role } from "../key-table.ts";
import type { LayerChange, LowRankChange } from "../layer-change.ts";
import { madeTensor } from "../made/made-tensor.ts";
import { mapped, storedRows } from "../made/rows.ts";
import {
  type AdaptedLayer,
  type AdapterKind,
  rankOf,
  refusal,
  scaleOf,
  shaped,
  tensorOf,
  weightSizes,
} from "./adapted-layer.ts";

export const LORA: AdapterKind = {
  title: "LoRA",
  marks: ["down", "up", "mid"],
  may: ["alpha", "upBias"],
  rank: (tensors) => tensors.get("down")?.shape[0],
  read(layer) {
    const change = pairOf(layer, { down: "down", mid: "mid", up: "up" });
    const changes: LayerChange[] = [change];
    if (layer.tensors.has("upBias")) {
      const bias = shaped(layer, tensorOf(layer, "upBias"), [weightSizes(layer).outputs]);
      const scaled = mapped(storedRows(bias, 1), (value) => change.scale * value);
      changes.push({ kind: "bias", bias: madeTensor(bias.name, bias.shape, scaled, bias.source) });
    }
    return changes;
  },
};

/** W' = W + s (W a1 a2 + b1 b2). Older files have each pair the other way round (Komeiji's first release); then a1 and b1 come first. */
export const GLORA: AdapterKind = {
  title: "GLoRA",
  marks: ["gloraA1", "gloraA2", "gloraB1", "gloraB2"],
  may: ["gloraBm", "alpha"],
  rank: (tensors) => tensors.get("gloraB2")?.shape[0],
  read(layer) {
    const { outputs, inputs } = weightSizes(layer);
    const [a1, a2, b1] = [tensorOf(layer, "gloraA1"), tensorOf(layer, "gloraA2"), tensorOf(layer, "gloraB1")];
    const isNew = a1.shape[0] === inputs && a2.shape[1] === inputs && b1.shape[0] === outputs;
    const [down, up] = isNew ? [a2, a1] : [a1, a2];
    const rank = rankOf(layer, down, 0);
    const isConv = layer.layer.shape.length > 2;
    const unit = isConv ? [1, 1] : [];
    const output = pairOf(
      layer,
      isNew ? { down: "gloraB2", mid: "gloraBm", up: "gloraB1" } : { down: "gloraB1", mid: "gloraBm", up: "gloraB2" },
    );
    return [
      {
        kind: "input-low-rank",
        down: shaped(layer, down, [rank, inputs, ...unit]),
        up: shaped(layer, up, [inputs, rank, ...unit]),
        scale: scaleOf(layer, rank),
      },
      output,
    ];
  },
};

/** Checks the factors of up(mid(down(x))) against the layer, whichever way they were stored: a 1x1 convolution's may be matrices, and the reverse. */
function pairOf(layer: AdaptedLayer, roles: { down: Role; mid: Role; up: Role }): LowRankChange {
  const { outputs, inputs, taps } = weightSizes(layer);
  const [down, up] = [tensorOf(layer, roles.down), tensorOf(layer, roles.up)];
  const rank = rankOf(layer, down, 0);
  const scale = scaleOf(layer, rank);
  const kernel = layer.layer.shape.slice(2);
  const unit = kernel.map(() => 1);
  const wide = shaped(layer, up, [outputs, rank, ...unit]);
  if (!layer.tensors.has(roles.mid)) {
    return { kind: "low-rank", down: shaped(layer, down, [rank, inputs, ...kernel]), up: wide, scale };
  }
  const mid: TensorEntry = shaped(layer, tensorOf(layer, roles.mid), [rank, rank, ...kernel]);
  const narrow = shaped(layer, down, [rank, inputs, ...unit]);
  if (taps === 1 && kernel.length === 0) throw refusal(layer, "a core between the factors of a linear layer");
  return { kind: "low-rank", down: narrow, mid, up: wide, scale };
}
