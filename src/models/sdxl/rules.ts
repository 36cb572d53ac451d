/** @file What each of SDXL's networks must hold, and the names it is stored under. */
import type { ComponentRules, Schema } from "../../checkpoint/schema.ts";
import { type VaeConfig, vaeDecoderSchema, vaeEncoderSchema } from "../autoencoder.ts";
import { type ClipConfig, clipSchema } from "../clip.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_UNET, SDXL_BASE_VAE } from "./base.ts";
import type { SdxlConfigs, UNetConfig } from "./config.ts";
import type { RefinerComponentId, SdxlComponentId } from "./files.ts";
import { unetSchema } from "./unet.ts";

export function rulesOf(configs: SdxlConfigs, component: SdxlComponentId): ComponentRules {
  switch (component) {
    case "textEncoder":
      return clipRules("text_encoder", configs.textEncoder);
    case "textEncoder2":
      return clipRules("text_encoder_2", configs.textEncoder2);
    case "unet":
      return unetRules(configs.unet);
    case "vae":
      return vaeDecoderRules(configs.vae);
    case "vaeEncoder":
      return vaeEncoderRules(configs.vae);
  }
}

/** Canonical name of a stored one. */
export const CANONICAL_NAME: Readonly<Record<SdxlComponentId | RefinerComponentId, (storedName: string) => string>> = {
  textEncoder: canonicalClipName,
  textEncoder2: canonicalClipName,
  unet: (name) => name,
  vae: canonicalVaeName,
  vaeEncoder: canonicalVaeName,
  "refiner.textEncoder2": canonicalClipName,
  "refiner.unet": (name) => name,
};

export function unetRules(config: UNetConfig): ComponentRules {
  return {
    component: "unet",
    schema: unetSchema(config),
    canonical: (name) => name,
    ignored: () => false,
    familiar: isFamiliar,
  };
}

/** `component`: "text_encoder", or "text_encoder_2", which has a projection. */
export function clipRules(component: string, config: ClipConfig): ComponentRules {
  const projection = component === "text_encoder_2";
  return {
    component,
    schema: clipSchema(config, projection),
    canonical: canonicalClipName,
    ignored: (name) => name === "text_model.embeddings.position_ids" || name === "text_projection.weight",
    familiar: isFamiliar,
  };
}

export function vaeDecoderRules(config: VaeConfig): ComponentRules {
  return vaeRules(vaeDecoderSchema(config), (name) => name.startsWith("encoder.") || name.startsWith("quant_conv."));
}

export function vaeEncoderRules(config: VaeConfig): ComponentRules {
  return vaeRules(
    vaeEncoderSchema(config),
    (name) => name.startsWith("decoder.") || name.startsWith("post_quant_conv."),
  );
}

function vaeRules(schema: Schema, ignored: ComponentRules["ignored"]): ComponentRules {
  return { component: "vae", schema, canonical: canonicalVaeName, ignored, familiar: isFamiliar };
}

/** Whether any of SDXL's networks has such a tensor, in whatever block and layer. */
function isFamiliar(name: string): boolean {
  familiarNames ??= new Set(
    [
      unetSchema(SDXL_BASE_UNET),
      clipSchema(SDXL_BASE_CLIP_BIG_G, true),
      vaeDecoderSchema(SDXL_BASE_VAE),
      vaeEncoderSchema(SDXL_BASE_VAE),
    ].flatMap((schema) => [...schema.keys()].map(withoutNumbers)),
  );
  return familiarNames.has(withoutNumbers(name));
}

let familiarNames: ReadonlySet<string> | undefined;

function withoutNumbers(name: string): string {
  return name.replace(/\d+/g, "#");
}

/** transformers 5 saves CLIPTextModel without its "text_model." prefix. */
function canonicalClipName(name: string): string {
  return /^(embeddings|encoder|final_layer_norm)\./.test(name) ? `text_model.${name}` : name;
}

const OLD_VAE_ATTENTION: Readonly<Record<string, string>> = {
  query: "to_q",
  key: "to_k",
  value: "to_v",
  proj_attn: "to_out.0",
};

/** diffusers before 0.18 called the VAE's attention projections query, key, value and proj_attn. */
function canonicalVaeName(name: string): string {
  return name.replace(
    /(attentions\.\d+\.)(query|key|value|proj_attn)\./,
    (_, path: string, part: string) => `${path}${OLD_VAE_ATTENTION[part]}.`,
  );
}
