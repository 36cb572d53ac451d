/** @file A weight file by itself: which of SDXL's networks it holds, and what that network must hold. */
import { JsonConfig } from "../../checkpoint/json-config.ts";
import type { ComponentRules } from "../../checkpoint/schema.ts";
import type { TensorTable } from "../../container/table.ts";
import type { RecognisedNetwork } from "../family.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET, SDXL_BASE_VAE } from "./base.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";
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

/** Files that people have of these models, by names that only such a file has; of several that fit the first counts. */
const OTHER_LAYOUTS: readonly (readonly [name: RegExp, words: string])[] = [
  [/(^|[._])lora[._]|\.hada_w1|\.lokr_w1|\.oft_blocks/, "a LoRA or another adapter, no model"],
  [/^(control_model\.|controlnet_cond_embedding\.)/, "a ControlNet, no model"],
  [/^(image_proj|ip_adapter)\./, "an IP-Adapter, no model"],
  [
    /^conditioner\.embedders\.1\./,
    "a single-file SDXL checkpoint in its original layout; not supported yet as --model, whose diffusers folder is",
  ],
  [/^conditioner\.embedders\.0\.model\./, "a single-file SDXL refiner, which can't be the model"],
  [/^cond_stage_model\./, "a single-file Stable Diffusion 1 or 2 checkpoint, not SDXL"],
  [/^(model\.)?diffusion_model\./, "a UNet in its original layout, which is not supported yet"],
  [/^(first_stage_model\.|(en|de)coder\.(down|up)\.)/, "a VAE in its original layout, which is not supported yet"],
];

/** See Family.otherLayout. */
export function otherLayout(names: Iterable<string>): string | undefined {
  const all = [...names];
  return OTHER_LAYOUTS.find(([pattern]) => all.some((name) => pattern.test(name)))?.[1];
}
