/** @file The kinds of adapters there are, and a layer read by those that it is changed by. */
import { elementCount } from "../../tensor/dtype.ts";
import type { Role } from "../key-table.ts";
import type { LayerChange, MagnitudeChange } from "../layer-change.ts";
import {
  type AdaptedLayer,
  type AdapterKind,
  quoted,
  refusal,
  shaped,
  tensorOf,
  unsupported,
} from "./adapted-layer.ts";
import { GLORA, LORA } from "./low-rank.ts";
import { LOHA, LOKR } from "./products.ts";
import { OFT, PEFT_OFT } from "./rotations.ts";
import { FULL, IA3, NORM, PEFT_IA3 } from "./whole.ts";

const KINDS: readonly AdapterKind[] = [LORA, LOHA, LOKR, GLORA, IA3, PEFT_IA3, OFT, PEFT_OFT, FULL, NORM];

/** A magnitude beside any of them makes it one that is told by direction and magnitude apart: DoRA. */
const MAGNITUDES: readonly Role[] = ["doraScale", "magnitudeVector"];

/** What tensors with these roles make of a layer, for people: "LoRA", "LoCon", "DoRA (LoKr)". `taps`: a factor is a convolution. */
export function titleOf(tensors: ReadonlyMap<Role, { readonly shape: readonly number[] }>, kind: AdapterKind): string {
  const shapes = [tensors.get("down"), tensors.get("mid"), tensors.get("oftBlocks")].map((entry) => entry?.shape);
  const isConv = shapes.slice(0, 2).some((shape) => shape !== undefined && elementCount(shape.slice(2)) > 1);
  const plain =
    kind === LORA && (isConv || tensors.has("mid"))
      ? "LoCon"
      : kind === OFT && shapes[2]?.length === 4
        ? "BOFT"
        : kind.title;
  if (!MAGNITUDES.some((role) => tensors.has(role))) return plain;
  return kind === LORA ? "DoRA" : `DoRA (${plain})`;
}

/** The kinds that a layer's tensors show. */
export function kindsOf(roles: { has(role: Role): boolean }): readonly AdapterKind[] {
  return KINDS.filter(({ marks }) => marks.some((role) => roles.has(role)));
}

/** Throws ArtifactError `E_LORA_TENSOR` or `E_LORA_KIND`: no tensor of a layer is left aside. */
export function readLayer(layer: AdaptedLayer): LayerChange[] {
  const kinds = kindsOf(layer.tensors);
  const known = new Set<Role>([...kinds.flatMap(({ marks, may }) => [...marks, ...may]), ...MAGNITUDES]);
  for (const [role, entry] of layer.tensors) {
    if (kinds.length === 0) throw refusal(layer, `it has ${quoted(entry.name)} and nothing that it belongs to`);
    if (!known.has(role)) throw unsupported(layer, `Solvay does not know what to do with ${quoted(entry.name)}`);
  }
  const changes = kinds.flatMap((kind) => kind.read(layer));
  return MAGNITUDES.some((role) => layer.tensors.has(role)) ? withMagnitude(layer, changes) : changes;
}

function withMagnitude(layer: AdaptedLayer, changes: readonly LayerChange[]): LayerChange[] {
  const directed = changes.filter((change) => change.kind === "low-rank" || change.kind === "difference");
  const [change] = directed;
  if (!change || directed.length > 1 || layer.layer.shape.length < 2) {
    throw unsupported(layer, "a magnitude goes with one change of a matrix");
  }
  return changes.map((other) => (other === change ? magnitudeOf(layer, change) : other));
}

/** LyCORIS's dora_scale is [out, 1, ...] or [1, in, ...]; peft's vector is the outputs'. */
function magnitudeOf(layer: AdaptedLayer, change: MagnitudeChange["change"]): MagnitudeChange {
  const role = layer.tensors.has("doraScale") ? "doraScale" : "magnitudeVector";
  const stored = tensorOf(layer, role);
  const [outputs, inputs] = layer.layer.shape as [number, number];
  const onInput = role === "doraScale" && stored.shape[0] !== outputs && stored.shape[1] === inputs;
  return { kind: "magnitude", change, magnitude: shaped(layer, stored, [onInput ? inputs : outputs]), onInput };
}
