/**
 * @file The second text encoder in OpenCLIP's layout, as transformers' parameters (diffusers' `single_file_utils.py`,
 * convert_open_clip_checkpoint): q, k and v lie in one tensor, and the projection is stored transposed. Both are read in place.
 */
import { rowsOf, transposed } from "../../checkpoint/views.ts";
import type { TensorEntry } from "../../container/table.ts";

const ORIGINAL = /^(transformer\.resblocks\.|positional_embedding$|token_embedding\.|ln_final\.|text_projection$)/;

/** Whether a text encoder with such a name, without prefix, is in OpenCLIP's layout. */
export function isOpenClip(name: string): boolean {
  return ORIGINAL.test(name);
}

const OUTSIDE_LAYERS: Readonly<Record<string, string>> = {
  positional_embedding: "text_model.embeddings.position_embedding.weight",
  "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
  "ln_final.weight": "text_model.final_layer_norm.weight",
  "ln_final.bias": "text_model.final_layer_norm.bias",
};

const IN_LAYER: Readonly<Record<string, string>> = {
  ln_1: "layer_norm1",
  ln_2: "layer_norm2",
  "attn.out_proj": "self_attn.out_proj",
  "mlp.c_fc": "mlp.fc1",
  "mlp.c_proj": "mlp.fc2",
};

const LAYER = /^transformer\.resblocks\.(\d{1,3})\.(.+)$/;
const FUSED = /^attn\.in_proj_(weight|bias)$/;

/** transformers' parameters that the tensor `name` holds; none if no text encoder has it. A fused one of odd height gives none. */
export function openClipTensors(name: string, entry: TensorEntry): readonly (readonly [string, TensorEntry])[] {
  if (name === "text_projection" && entry.shape.length === 2) return [["text_projection.weight", transposed(entry)]];
  if (Object.hasOwn(OUTSIDE_LAYERS, name)) return [[OUTSIDE_LAYERS[name]!, entry]];
  const [, layer, inner] = LAYER.exec(name) ?? [];
  if (inner === undefined) return [];
  const path = `text_model.encoder.layers.${Number(layer)}`;
  const [, parameter] = FUSED.exec(inner) ?? [];
  if (parameter !== undefined) {
    const rows = (entry.shape[0] ?? 0) / 3;
    if (!Number.isInteger(rows)) return [];
    return ["q", "k", "v"].map((part, i) => [
      `${path}.self_attn.${part}_proj.${parameter}`,
      rowsOf(entry, i * rows, (i + 1) * rows),
    ]);
  }
  const dot = inner.lastIndexOf(".");
  const module = inner.slice(0, dot);
  return Object.hasOwn(IN_LAYER, module) ? [[`${path}.${IN_LAYER[module]}${inner.slice(dot)}`, entry]] : [];
}
