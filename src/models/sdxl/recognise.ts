/** @file A weight file by itself: which of SDXL's networks it holds, and what they must hold. */
import { JsonConfig } from "../../checkpoint/json-config.ts";
import type { ComponentRules } from "../../checkpoint/schema.ts";
import type { TensorTable } from "../../container/table.ts";
import type { NetworkInFile, RecognisedNetwork } from "../recognised.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET, SDXL_BASE_VAE } from "./base.ts";
import { partsOf, placeOf, tensorsOfNetwork } from "./file-parts.ts";
import { type SdxlComponentId, WEIGHT_FOLDERS, type WeightFolder } from "./files.ts";
import { inferredConfig } from "./inferred-config.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";
import { isOriginalUnet } from "./original-unet.ts";
import { isOriginalVae } from "./original-vae.ts";
import { clipRules, unetRules, vaeDecoderRules } from "./rules.ts";

const RULES_OF: Readonly<Record<string, (config: JsonConfig) => ComponentRules>> = {
  unet: (config) => unetRules(unetConfig(config)),
  vae: (config) => vaeDecoderRules(vaeConfig(config)),
  text_encoder: (config) => clipRules("text_encoder", clipConfig(config)),
  text_encoder_2: (config) => clipRules("text_encoder_2", clipConfig(config)),
};

/** See Family.recognise. Without a config.json: the network of SDXL base 1.0 that shares most names with it. */
export function recogniseNetwork(
  table: TensorTable,
  beside?: { readonly folder: string; readonly config: string },
): RecognisedNetwork | undefined {
  if (beside && Object.hasOwn(RULES_OF, beside.folder)) {
    const { folder, config } = beside;
    const rules = RULES_OF[folder]!(new JsonConfig(`${folder}/config.json`, config));
    return { rules, network: `this model's ${folder}` };
  }
  const candidates = [
    unetRules(SDXL_BASE_UNET),
    vaeDecoderRules(SDXL_BASE_VAE),
    clipRules("text_encoder_2", SDXL_BASE_CLIP_BIG_G),
    clipRules("text_encoder", SDXL_BASE_CLIP_L),
  ].map((rules) => ({ rules, shared: sharedNames(table, rules), network: `SDXL base's ${rules.component}` }));
  // The encoders share their names: of equals, the one whose shapes fit.
  const best = candidates.reduce((a, b) => (b.shared.shapes > a.shared.shapes ? b : a));
  const nearest =
    best.shared.shapes > 0 ? best : candidates.reduce((a, b) => (b.shared.names > a.shared.names ? b : a));
  return nearest.shared.names > 0 ? nearest : undefined;
}

function sharedNames(table: TensorTable, { schema, canonical }: ComponentRules): { names: number; shapes: number } {
  let names = 0;
  let shapes = 0;
  for (const { name, shape } of table.values()) {
    const expected = schema.get(canonical(name));
    if (expected === undefined) continue;
    names++;
    if (expected.join() === shape.join()) shapes++;
  }
  return { names, shapes };
}

const COMPONENT_OF: Readonly<Record<WeightFolder, SdxlComponentId>> = {
  unet: "unet",
  vae: "vae",
  text_encoder: "textEncoder",
  text_encoder_2: "textEncoder2",
};

/** See Family.networksIn. */
export function networksIn(table: TensorTable, file: string): readonly NetworkInFile[] {
  const isMapped = (name: string) => placeOf(name) !== undefined || isOriginalUnet(name) || isOriginalVae(name);
  if (![...table.keys()].some(isMapped)) return [];
  const parts = new Map(partsOf(table, file).tables);
  // A VAE by itself, as --vae takes it.
  if (parts.size === 0 && [...table.keys()].some(isOriginalVae)) parts.set("vae", tensorsOfNetwork("vae", table, file));
  return WEIGHT_FOLDERS.flatMap(({ folder }): NetworkInFile[] => {
    const part = parts.get(folder);
    if (!part) return [];
    const config = inferredConfig(folder, part);
    const found = { component: COMPONENT_OF[folder], network: `an SDXL's ${folder}`, table: part };
    if (config === undefined) return [{ ...found, rules: undefined }];
    return [{ ...found, rules: RULES_OF[folder]!(new JsonConfig(`${folder}/config.json`, config)) }];
  });
}
