/**
 * @file CLIP's encoders in OpenCLIP's layout, as transformers' parameters (diffusers' `single_file_utils.py`, convert_open_clip_checkpoint, and
 * transformers' `convert_clip_original_pytorch_to_hf.py`): q, k and v lie in one tensor, and projections are stored transposed. Both are read in place.
 */
import { rowsOf, transposed } from "../checkpoint/views.ts";
import type { TensorEntry } from "../container/table.ts";

const ORIGINAL = /^(transformer\.resblocks\.|positional_embedding$|token_embedding\.|ln_final\.|text_projection$)/;

/** Whether a text encoder with such a name, without prefix, is in OpenCLIP's layout. */
export function isOpenClip(name: string): boolean {
  return ORIGINAL.test(name);
}

interface Encoder {
  /** Of transformers' names. */
  readonly root: string;
  readonly outsideLayers: Readonly<Record<string, string>>;
  /** Stored transposed, and what it is called. */
  readonly projection: readonly [stored: string, own: string];
}

const TEXT: Encoder = {
  root: "text_model",
  outsideLayers: {
    positional_embedding: "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
  },
  projection: ["text_projection", "text_projection.weight"],
};

const VISION: Encoder = {
  root: "vision_model",
  outsideLayers: {
    class_embedding: "vision_model.embeddings.class_embedding",
    positional_embedding: "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
  },
  projection: ["proj", "visual_projection.weight"],
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

type Named = readonly (readonly [string, TensorEntry])[];

/** transformers' parameters that the tensor `name` holds; none if no text encoder has it. A fused one of odd height gives none. */
export function openClipTensors(name: string, entry: TensorEntry): Named {
  return tensorsOf(TEXT, name, entry);
}

/** The same of an image encoder. `name`: without "visual.". */
export function openClipVisionTensors(name: string, entry: TensorEntry): Named {
  return tensorsOf(VISION, name, entry);
}

function tensorsOf({ root, outsideLayers, projection }: Encoder, name: string, entry: TensorEntry): Named {
  if (name === projection[0] && entry.shape.length === 2) return [[projection[1], transposed(entry)]];
  if (Object.hasOwn(outsideLayers, name)) return [[outsideLayers[name]!, entry]];
  const [, layer, inner] = LAYER.exec(name) ?? [];
  if (inner === undefined) return [];
  const path = `${root}.encoder.layers.${Number(layer)}`;
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
