/**
 * @file The networks that one file holds together, each by diffusers' names: original layout (Stability's), diffusers' own under
 * prefixes, or a UNet without any. Reads names and shapes; the weights stay where they are.
 */
import type { TensorEntry, TensorTable } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import { isOpenClip, openClipTensors } from "../open-clip.ts";
import { WEIGHT_FOLDERS, type WeightFolder } from "./files.ts";
import { isOriginalUnet, originalUnetNames } from "./original-unet.ts";
import { isOriginalVae, originalVaeNames } from "./original-vae.ts";

/** What stands before a network's own names, by tools that write such files. */
const PREFIXES: Readonly<Record<WeightFolder, readonly string[]>> = {
  unet: ["model.diffusion_model.", "diffusion_model.", "unet."],
  vae: ["first_stage_model.", "vae."],
  text_encoder: [
    "conditioner.embedders.0.transformer.",
    "text_encoders.clip_l.transformer.",
    "text_encoder.",
    "clip_l.transformer.",
    "clip_l.",
    "te1.",
    "te.",
  ],
  text_encoder_2: [
    "conditioner.embedders.1.model.",
    // A refiner's only one.
    "conditioner.embedders.0.model.",
    "text_encoders.clip_g.transformer.",
    "text_encoder_2.",
    "clip_g.transformer.",
    "clip_g.",
    "te2.",
  ],
};

/** A UNet's names without a prefix, in either layout. */
const BARE_UNET =
  /^(input_blocks|middle_block|output_blocks|time_embed|label_emb|out|conv_in|conv_out|conv_norm_out|time_embedding|add_embedding|down_blocks|mid_block|up_blocks)\./;

/** What training leaves in such files, and buffers that are computed: no weights of any network that pictures are made with. */
const LEFT_ASIDE =
  /^(model_ema|optimizer(_states)?|lr_schedulers|callbacks|embedding_manager|denoiser|first_stage_model\.loss)\.|(^|\.)(position_ids|logit_scale|betas|alphas_cumprod(_prev)?|log_one_minus_alphas_cumprod|sqrt_\w+|posterior_\w+|logvar|global_step|num_updates)$/;

/** Tensors that say how the others are meant (markers.ts). */
const MARKER = /^(v_pred|ztsnr|edm_vpred\.sigma_(min|max)|edm_mean|edm_std)$/;

export interface FileParts {
  /** diffusers' (or an older export's) name -> tensor, of each network that the file holds something of. */
  readonly tables: ReadonlyMap<WeightFolder, TensorTable>;
  readonly markers: TensorTable;
  /** Tensors that are known to be of no use here. */
  readonly leftAside: readonly string[];
  /** Tensors that nothing is known of. */
  readonly unknown: readonly string[];
}

/** `file`: for messages. Throws ArtifactError `E_DUP_KEY` where two tensors are one parameter of a network. */
export function partsOf(tensors: TensorTable, file: string): FileParts {
  const stored = new Map<WeightFolder, Map<string, TensorEntry>>();
  const markers = new Map<string, TensorEntry>();
  const leftAside: string[] = [];
  const unknown: string[] = [];
  const bare: [string, TensorEntry][] = [];
  for (const [name, entry] of tensors) {
    const place = placeOf(name);
    if (isMarker(name)) markers.set(name, entry);
    else if (isLeftAside(name)) leftAside.push(name);
    else if (place) addTo(stored, place.folder, place.name, entry, file);
    else bare.push([name, entry]);
  }
  const isUnetAlone = !stored.has("unet");
  for (const [name, entry] of bare) {
    if (isUnetAlone && BARE_UNET.test(name)) addTo(stored, "unet", name, entry, file);
    else unknown.push(name);
  }
  const tables = new Map([...stored].map(([folder, table]) => [folder, diffusersNames(folder, table, file)] as const));
  return { tables, markers, leftAside, unknown };
}

/**
 * The tensors of one network, by diffusers' (or an older export's) names, from a file of any layout: a whole checkpoint, or that network
 * alone. `file`: for messages. Throws ArtifactError `E_DUP_KEY`.
 */
export function tensorsOfNetwork(folder: WeightFolder, tensors: TensorTable, file: string): TensorTable {
  const own = new Map<WeightFolder, Map<string, TensorEntry>>();
  for (const [name, entry] of tensors) {
    const place = placeOf(name);
    if (place?.folder === folder && !isLeftAside(name)) addTo(own, folder, place.name, entry, file);
  }
  return diffusersNames(folder, own.get(folder) ?? tensors, file);
}

/** Known to be of no use here. */
export function isLeftAside(name: string): boolean {
  return LEFT_ASIDE.test(name);
}

/** Says how other tensors are meant. */
export function isMarker(name: string): boolean {
  return MARKER.test(name);
}

/** The network that a name in a file of several belongs to, and its name there; undefined for names without a known prefix. */
export function placeOf(name: string): { readonly folder: WeightFolder; readonly name: string } | undefined {
  for (const { folder } of WEIGHT_FOLDERS) {
    const prefix = PREFIXES[folder].find((start) => name.startsWith(start));
    if (prefix !== undefined) return { folder, name: name.slice(prefix.length) };
  }
  return undefined;
}

function addTo(
  stored: Map<WeightFolder, Map<string, TensorEntry>>,
  folder: WeightFolder,
  name: string,
  entry: TensorEntry,
  file: string,
): void {
  const table = stored.get(folder) ?? new Map<string, TensorEntry>();
  stored.set(folder, table);
  addOnce(table, name, entry, file);
}

/** Names that a layout doesn't have stay as they are, for the check against the network to judge. */
function diffusersNames(folder: WeightFolder, stored: TensorTable, file: string): TensorTable {
  const table = new Map<string, TensorEntry>();
  const add = ([key, entry]: readonly [string, TensorEntry]) => addOnce(table, key, entry, file);
  switch (folder) {
    case "unet": {
      const nameOf = originalUnetNames(stored.keys());
      for (const [name, entry] of stored) add([(isOriginalUnet(name) && nameOf(name)) || name, entry]);
      break;
    }
    case "vae": {
      const nameOf = originalVaeNames(stored.keys());
      for (const [name, entry] of stored) add([(isOriginalVae(name) && nameOf(name)) || name, entry]);
      break;
    }
    case "text_encoder":
    case "text_encoder_2":
      for (const [name, entry] of stored) {
        const views = isOpenClip(name) ? openClipTensors(name, entry) : [];
        if (views.length > 0) views.forEach(add);
        else add([name, entry]);
      }
  }
  return table;
}

function addOnce(table: Map<string, TensorEntry>, key: string, entry: TensorEntry, file: string): void {
  const other = table.get(key);
  if (other) {
    const names = [other.name, entry.name].map((name) => JSON.stringify(name.slice(0, 120))).join(" and ");
    throw new ArtifactError({
      code: "E_DUP_KEY",
      subject: file,
      problem: `${names} are both ${JSON.stringify(key.slice(0, 120))}`,
      next: "use a file with one copy of each network: this one has two layouts in it",
    });
  }
  table.set(key, entry);
}
