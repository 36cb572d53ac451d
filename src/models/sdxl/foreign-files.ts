/** @file Files that people have and that are no SDXL model: told by the names and shapes that only such a file has. */
import { type FileKindId, fileKind } from "../../checkpoint/file-kind.ts";

/** Kinds of files that an SDXL may consist of. */
const OF_SDXL: ReadonlySet<FileKindId> = new Set(["checkpoint", "unet", "vae", "text-encoder"]);

interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Of several that fit the first counts. */
const BY_NAME: readonly (readonly [name: RegExp, words: string])[] = [
  [
    /^conditioner\.embedders\.0\.model\./,
    "an SDXL refiner, which goes on from a base model's picture and can't be the model",
  ],
  [/(^|\.)double_blocks\.\d+\.img_attn\.|^single_transformer_blocks\./, "a Flux model, not SDXL"],
  [/(^|\.)joint_blocks\.\d+\./, "a Stable Diffusion 3 model, not SDXL"],
  [/^cond_stage_model\.model\./, "a Stable Diffusion 2 checkpoint, not SDXL"],
  [/^cond_stage_model\.transformer\./, "a Stable Diffusion 1 checkpoint, not SDXL"],
  [
    /(^|\.)time_embedding\.cond_proj\./,
    "an LCM with its guidance built in (time_embedding.cond_proj), which Solvay does not compute",
  ],
  [
    /(^|\.)(transformer_blocks\.\d+\.(scale_shift_table|norm1_context)|noise_refiner\.|cap_embedder\.|double_layers\.|down_blocks\.0\.motion_modules\.|patchify_proj\.|clip_txt_mapper\.)/,
    "a model of another family, not SDXL",
  ],
];

/** By the width of the text that a UNet's cross-attention reads. SDXL's is 2048. */
const BY_CONTEXT: Readonly<Record<number, string>> = {
  768: "a Stable Diffusion 1 UNet, not SDXL's",
  1024: "a Stable Diffusion 2 UNet, not SDXL's",
  1280: "an SDXL refiner's UNet, which goes on from a base model's picture and can't be the model",
};

/** By what the first convolution reads. 9 are an inpainting model's. */
const BY_CHANNELS: Readonly<Record<number, string>> = {
  5: "a UNet for depth maps, which Solvay does not compute",
  8: "an InstructPix2Pix UNet, which Solvay does not compute",
};

const UNET = /(^|\.)(input_blocks|down_blocks)\./;

/** What the file is, in words; undefined where it may be an SDXL, or one of its networks. */
export function foreignFile(tensors: Iterable<Tensor>): string | undefined {
  const all = [...tensors];
  const kind = fileKind(all.map(({ name }) => name));
  if (kind && !OF_SDXL.has(kind.id)) return `${kind.words}, no model`;
  const named = BY_NAME.find(([pattern]) => all.some(({ name }) => pattern.test(name)));
  if (named) return named[1];
  if (!all.some(({ name }) => UNET.test(name))) return undefined;
  const context = all.find(({ name, shape }) => name.endsWith("attn2.to_k.weight") && shape.length === 2)?.shape[1];
  const shapeOf = (end: RegExp) => all.find(({ name }) => end.test(name) && !isVae(name))?.shape;
  const input = shapeOf(/(^|\.)(input_blocks\.0\.0|conv_in)\.weight$/)?.[1];
  const output = shapeOf(/(^|\.)(out\.2|conv_out)\.weight$/)?.[0];
  // What gives as much as it reads has nothing beside the latent.
  return BY_CONTEXT[context ?? 0] ?? (input === output ? undefined : BY_CHANNELS[input ?? 0]);
}

function isVae(name: string): boolean {
  return /(^|\.)(en|de)coder\./.test(name);
}

/** Where a file belongs that is no SDXL and has a place of its own here. */
export function placeOfOther(names: Iterable<string>): string | undefined {
  const kind = fileKind(names);
  return kind && !OF_SDXL.has(kind.id) ? kind.next : undefined;
}

/** What a file without a UNet is. */
export function withoutUnet(names: Iterable<string>): string {
  const kind = fileKind(names);
  if (kind === undefined) return "a file without a UNet";
  return kind.next === undefined ? kind.words : `${kind.words}: ${kind.next}`;
}
