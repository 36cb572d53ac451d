/**
 * @file What a file of tensors is, by names that only such a file has: so that one that is given in the wrong place is refused by what it is, with the
 * option that it belongs to.
 */

export type FileKindId =
  | "adapter"
  | "controlnet"
  | "ip-adapter"
  | "embedding"
  | "upscaler"
  | "tiny-autoencoder"
  | "image-encoder"
  | "motion-model"
  | "checkpoint"
  | "unet"
  | "vae"
  | "text-encoder";

export interface FileKind {
  readonly id: FileKindId;
  /** With its article. */
  readonly words: string;
  /** What to do with such a file; undefined where Solvay has no place for it. */
  readonly next?: string;
}

const VAE_NAME = /^(en|de)coder\.(down|up|mid|conv)|^(post_)?quant_conv\./;
const UNET_START = /^((model\.)?diffusion_model|unet)\./;

/** Of several that fit the first counts: files hold parts of other kinds, a checkpoint a VAE. */
const KINDS: readonly (FileKind & { readonly names: RegExp })[] = [
  { id: "controlnet", words: "a Control-LoRA", next: "give it with --control", names: /^lora_controlnet$/ },
  {
    id: "controlnet",
    words: "a ControlNet or T2I-Adapter",
    names:
      /(^|_)lllite_|^(control_model|controlnet_\w+|zero_convs|input_hint_block)\.|^adapter\.(body|conv_in)\.|^body\.\d+\.(resnets|block[12])\./,
  },
  {
    id: "adapter",
    words: "a LoRA or another adapter",
    next: "give it with --lora",
    names:
      /(^|[._])lora[._]|\.hada_w1|\.lokr_w1|\.oft_(blocks|diag|R)|\.ia3_l|\.dora_scale$|\.on_input$|\.diff(_b)?$|^(lora_unet|lora_te\d?|lycoris|oft_unet)_/,
  },
  { id: "ip-adapter", words: "an IP-Adapter", names: /^(image_proj|ip_adapter)\./ },
  {
    id: "embedding",
    words: "a textual inversion embedding",
    next: "give it with --embedding",
    names: /^(emb_params$|string_to_param|clip_[lg]$|text_encoders_[01]$)/,
  },
  {
    id: "upscaler",
    words: "an upscaler",
    next: "give it with --hires-upscaler, or to: solvay upscale",
    names:
      /^(model\.\d+\.sub\.|conv_first\.|body\.\d+\.(rdb1|weight)|RRDB_trunk\.|params(_ema)?\.|layers\.\d+\.residual_group\.)/,
  },
  {
    id: "tiny-autoencoder",
    words: "a tiny autoencoder",
    next: "give it with --preview-model",
    names: /^(taesd_)?(de|en)coder\.(layers\.)?\d+\.(conv\.\d+\.)?weight$|^\d+\.conv\.\d+\.weight$/,
  },
  {
    id: "image-encoder",
    words: "an image encoder",
    next: "give it with --image-encoder, to an IP-Adapter",
    names: /^(vision_model|visual)\./,
  },
  { id: "motion-model", words: "an AnimateDiff motion model", names: /(^|\.)motion_modules\./ },
  { id: "checkpoint", words: "a whole checkpoint", next: "give it with --model", names: UNET_START },
  {
    id: "unet",
    words: "a UNet",
    next: "give it with --model",
    names: /^(input_blocks|output_blocks|middle_block|down_blocks|mid_block|up_blocks)\./,
  },
  { id: "vae", words: "a VAE by itself", next: "give it with --vae, over a model", names: VAE_NAME },
  {
    id: "vae",
    words: "a VAE by itself",
    next: "give it with --vae, over a model",
    names: /^(first_stage_model|vae)\./,
  },
  {
    id: "text-encoder",
    words: "a text encoder by itself",
    names: /^(text_model|transformer\.resblocks|conditioner|text_encoders?|te\d|embeddings|encoder\.layers)\b/,
  },
];

/** `tables`: of a file of torch.save, by path. */
export function kindOfTables(tables: ReadonlyMap<string, ReadonlyMap<string, unknown>>): FileKind | undefined {
  const names = [...tables].flatMap(([path, table]) =>
    Array.from(table.keys(), (name) => (path === "" || path === "state_dict" ? name : `${path}.${name}`)),
  );
  return fileKind(names);
}

/** Undefined where the names tell nothing. */
export function fileKind(names: Iterable<string>): FileKind | undefined {
  const all = [...names];
  return KINDS.find((kind) => all.some((name) => kind.names.test(name)));
}
