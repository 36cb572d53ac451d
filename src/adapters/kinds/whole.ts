/** @file Differences that are stored whole: of weights and biases, and of norms; IA3, which scales channels. */
import type { Role } from "../key-table.ts";
import type { LayerChange } from "../layer-change.ts";
import { madeTensor } from "../made/made-tensor.ts";
import { mapped, storedRows } from "../made/rows.ts";
import { type AdaptedLayer, type AdapterKind, refusal, shaped, tensorOf, unsupported } from "./adapted-layer.ts";

export const FULL: AdapterKind = {
  title: "full difference",
  marks: ["diff", "diffBias"],
  may: ["alpha"],
  read: (layer) => wholeChanges(layer, "diff", "diffBias"),
};

export const NORM: AdapterKind = {
  title: "norms",
  marks: ["normWeight", "normBias"],
  may: ["alpha"],
  read(layer) {
    if (layer.layer.shape.length !== 1) throw refusal(layer, `the model's ${layer.layer.module} is no norm`);
    return wholeChanges(layer, "normWeight", "normBias");
  },
};

function wholeChanges(layer: AdaptedLayer, weight: Role, bias: Role): LayerChange[] {
  const { shape } = layer.layer;
  const changes: LayerChange[] = [];
  if (layer.tensors.has(weight)) {
    changes.push({ kind: "difference", weight: shaped(layer, tensorOf(layer, weight), shape) });
  }
  if (layer.tensors.has(bias)) {
    changes.push({ kind: "bias", bias: shaped(layer, tensorOf(layer, bias), [shape[0]!]) });
  }
  return changes;
}

/** LyCORIS's: W' = W (1 + s v), along the inputs or the outputs. */
export const IA3: AdapterKind = {
  title: "IA3",
  marks: ["onInput", "weight"],
  may: ["alpha"],
  read(layer) {
    const onInput = layer.numbers.get("onInput");
    if (onInput === undefined)
      throw refusal(layer, "it has a weight that says not whether it scales inputs or outputs (on_input)");
    const values = tensorOf(layer, "weight");
    return [{ kind: "scale", values: shaped(layer, values, [channels(layer, onInput !== 0)]), onInput: onInput !== 0 }];
  },
};

/** peft's: W' = W v, the sides told by shape: [out, 1] or [1, in]. */
export const PEFT_IA3: AdapterKind = {
  title: "IA3",
  marks: ["ia3"],
  may: [],
  read(layer) {
    const values = tensorOf(layer, "ia3");
    const [outputs, inputs] = [channels(layer, false), channels(layer, true)];
    const isConv = values.shape.length > 2;
    if (isConv && outputs === inputs) {
      throw unsupported(
        layer,
        "peft's IA3 does not say whether it scales the inputs or the outputs of a square convolution",
      );
    }
    const onInput = isConv ? values.shape[1] === inputs : values.shape[0] === 1 && values.shape[1] !== 1;
    if (!onInput && layer.layer.hasBias) {
      throw unsupported(layer, "peft's IA3 scales the bias too, which Solvay does not compute");
    }
    const stored = shaped(layer, values, [onInput ? inputs : outputs]);
    const rows = mapped(storedRows(stored, 1), (value) => value - 1);
    return [{ kind: "scale", values: madeTensor(values.name, stored.shape, rows, values.source), onInput }];
  },
};

function channels(layer: AdaptedLayer, onInput: boolean): number {
  const count = layer.layer.shape[onInput ? 1 : 0];
  if (count === undefined || layer.layer.shape.length < 2)
    throw refusal(layer, `the model's ${layer.layer.module} is a norm`);
  return count;
}
