/**
 * @file How adapters' files name their tensors: what stands before a module's name, and what follows it. The styles are kohya's and LyCORIS's, peft's and
 * diffusers' (old and new), ComfyUI's, OneTrainer's (OMI) and SimpleTuner's.
 */

/** What a tensor is to its layer. */
export type Role =
  | "alpha"
  | "down"
  | "mid"
  | "up"
  | "upBias"
  | "doraScale"
  | "magnitudeVector"
  | "hadaW1A"
  | "hadaW1B"
  | "hadaW2A"
  | "hadaW2B"
  | "hadaT1"
  | "hadaT2"
  | "lokrW1"
  | "lokrW1A"
  | "lokrW1B"
  | "lokrW2"
  | "lokrW2A"
  | "lokrW2B"
  | "lokrT2"
  | "gloraA1"
  | "gloraA2"
  | "gloraB1"
  | "gloraB2"
  | "gloraBm"
  | "weight"
  | "onInput"
  | "ia3"
  | "oftBlocks"
  | "oftDiag"
  | "oftR"
  | "rescale"
  | "diff"
  | "diffBias"
  | "normWeight"
  | "normBias"
  | "setWeight"
  | "reshapeWeight"
  | "scalar";

/** Ends of names. Of several that fit, the longest counts. */
const ENDS: readonly (readonly [end: string, role: Role])[] = [
  [".alpha", "alpha"],
  [".lora.alpha", "alpha"],
  ["_lora.alpha", "alpha"],
  [".lora_linear_layer.alpha", "alpha"],
  [".lora_down.weight", "down"],
  [".lora_A.weight", "down"],
  [".lora_A", "down"],
  [".lora.down.weight", "down"],
  ["_lora.down.weight", "down"],
  [".lora_linear_layer.down.weight", "down"],
  [".lora_up.weight", "up"],
  [".lora_B.weight", "up"],
  [".lora_B", "up"],
  [".lora.up.weight", "up"],
  ["_lora.up.weight", "up"],
  [".lora_linear_layer.up.weight", "up"],
  [".lora_up.bias", "upBias"],
  [".lora_B.bias", "upBias"],
  [".lora_mid.weight", "mid"],
  [".dora_scale", "doraScale"],
  [".lora_magnitude_vector.weight", "magnitudeVector"],
  [".lora_magnitude_vector", "magnitudeVector"],
  [".hada_w1_a", "hadaW1A"],
  [".hada_w1_b", "hadaW1B"],
  [".hada_w2_a", "hadaW2A"],
  [".hada_w2_b", "hadaW2B"],
  [".hada_t1", "hadaT1"],
  [".hada_t2", "hadaT2"],
  [".lokr_w1", "lokrW1"],
  [".lokr_w1_a", "lokrW1A"],
  [".lokr_w1_b", "lokrW1B"],
  [".lokr_w2", "lokrW2"],
  [".lokr_w2_a", "lokrW2A"],
  [".lokr_w2_b", "lokrW2B"],
  [".lokr_t2", "lokrT2"],
  [".a1.weight", "gloraA1"],
  [".a2.weight", "gloraA2"],
  [".b1.weight", "gloraB1"],
  [".b2.weight", "gloraB2"],
  [".bm.weight", "gloraBm"],
  [".weight", "weight"],
  [".on_input", "onInput"],
  [".ia3_l", "ia3"],
  [".ia3_l.weight", "ia3"],
  [".oft_blocks", "oftBlocks"],
  [".oft_diag", "oftDiag"],
  [".oft_R", "oftR"],
  [".oft_R.weight", "oftR"],
  [".rescale", "rescale"],
  [".diff", "diff"],
  [".diff_b", "diffBias"],
  [".w_norm", "normWeight"],
  [".b_norm", "normBias"],
  [".set_weight", "setWeight"],
  [".reshape_weight", "reshapeWeight"],
  [".scalar", "scalar"],
];

const ROLE_OF_END: ReadonlyMap<string, Role> = new Map(ENDS);
/** Dots in the longest end. */
const MOST_DOTS = 3;

/** peft writes an adapter's name behind its own: "lora_A.default.weight", "hada_w1_a.default". */
const ADAPTER_NAME =
  /(\.(?:lora_[AB]|lora_magnitude_vector|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)|ia3_l|oft_R))\.(?!weight$|bias$)[^.]+(?=$|\.weight$|\.bias$)/;

interface SplitKey {
  readonly root: string;
  readonly role: Role;
}

/** A name without its end, and what the end says; undefined where no adapter has such a tensor. */
export function splitKey(key: string): SplitKey | undefined {
  const found = splitPlain(key);
  // An adapter's name before ".weight" hides what comes before it.
  return found && found.role !== "weight" ? found : splitPlain(key.replace(ADAPTER_NAME, "$1"));
}

function splitPlain(key: string): SplitKey | undefined {
  const starts = [key.lastIndexOf("_lora.")];
  for (let at = key.lastIndexOf("."), dots = 0; at >= 0 && dots < MOST_DOTS; dots++) {
    starts.push(at);
    at = at === 0 ? -1 : key.lastIndexOf(".", at - 1);
  }
  let found: SplitKey | undefined;
  for (const at of starts) {
    const role = at < 0 ? undefined : ROLE_OF_END.get(key.slice(at));
    if (role && (!found || at < found.root.length)) found = { root: key.slice(0, at), role };
  }
  return found;
}

/** What stands before a module's name, and the network that it means. Of several that fit, the longest counts. */
interface Prefix {
  readonly text: string;
  readonly folder: string;
  /** The module's dots are underscores. */
  readonly isFlat: boolean;
}

const flat = (text: string, folder: string): Prefix => ({ text, folder, isFlat: true });
const dotted = (text: string, folder: string): Prefix => ({ text, folder, isFlat: false });

const PREFIXES: readonly Prefix[] = [
  ...["lora_unet_", "oft_unet_", "lycoris_", "lycoris_unet_"].map((text) => flat(text, "unet")),
  ...["lora_te1_", "lora_te_", "oft_te1_", "lycoris_te1_", "lycoris_text_encoder_"].map((text) =>
    flat(text, "text_encoder"),
  ),
  ...["lora_te2_", "oft_te2_", "lycoris_te2_", "lycoris_text_encoder_2_"].map((text) => flat(text, "text_encoder_2")),
  ...[
    "",
    "unet.",
    "unet.unet.",
    "unet.base_model.model.",
    "base_model.model.",
    "base_model.model.unet.",
    "diffusion_model.",
    "model.diffusion_model.",
  ].map((text) => dotted(text, "unet")),
  ...[
    "text_encoder.",
    "text_encoder.base_model.model.",
    "base_model.model.text_encoder.",
    "text_encoders.clip_l.",
    "text_encoders.clip_l.transformer.",
    "clip_l.",
    "clip_l.transformer.",
    "te1.",
  ].map((text) => dotted(text, "text_encoder")),
  ...[
    "text_encoder_2.",
    "text_encoder_2.base_model.model.",
    "base_model.model.text_encoder_2.",
    "text_encoders.clip_g.",
    "text_encoders.clip_g.transformer.",
    "clip_g.",
    "clip_g.transformer.",
    "te2.",
  ].map((text) => dotted(text, "text_encoder_2")),
].toSorted((a, b) => b.text.length - a.text.length);

/** A module's possible names in a network, the likeliest first. */
export function* namesOfRoot(root: string): Generator<{ folder: string; name: string; isFlat: boolean }> {
  const plain = root.replace(".processor", "");
  for (const { text, folder, isFlat } of PREFIXES) {
    if (!plain.startsWith(text)) continue;
    const name = plain.slice(text.length);
    yield { folder, name, isFlat };
    const older = isFlat ? undefined : olderName(folder, name);
    if (older !== undefined) yield { folder, name: older, isFlat };
  }
}

/** diffusers' attention processors called their output "to_out", and those of text encoders as the UNet's. */
const OLDER: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  unet: { to_out: "to_out.0" },
  text_encoder: { to_q: "q_proj", to_k: "k_proj", to_v: "v_proj", to_out: "out_proj" },
};

function olderName(folder: string, name: string): string | undefined {
  const dot = name.lastIndexOf(".");
  const table = OLDER[folder === "unet" ? folder : "text_encoder"]!;
  const last = name.slice(dot + 1);
  return Object.hasOwn(table, last) ? name.slice(0, dot + 1) + table[last] : undefined;
}
