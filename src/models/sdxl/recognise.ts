/** @file A weight file by itself: which of SDXL's networks it holds, and what that network's schema is. */
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { TensorTable } from "../container/table.ts";
import { JsonConfig } from "./json-config.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";
import type { ComponentRules } from "./schema.ts";
import { SDXL_BASE_CLIP_BIG_G, SDXL_BASE_CLIP_L, SDXL_BASE_UNET, SDXL_BASE_VAE } from "./sdxl-base.ts";
import { clipRules, unetRules, vaeRules } from "./sdxl-folder.ts";

const RULES_OF: Readonly<Record<string, (config: JsonConfig) => ComponentRules>> = {
  unet: (config) => unetRules(unetConfig(config)),
  vae: (config) => vaeRules(vaeConfig(config)),
  text_encoder: (config) => clipRules("text_encoder", clipConfig(config)),
  text_encoder_2: (config) => clipRules("text_encoder_2", clipConfig(config)),
};

export interface FileRules {
  readonly rules: ComponentRules;
  /** For the summary. */
  readonly network: string;
}

/**
 * By the config.json beside a file in a model folder; else the network of SDXL base 1.0 that shares most names with it.
 * Undefined if none shares any. Throws ArtifactError for a config.json that can't be used.
 */
export async function rulesForFile(path: string, table: TensorTable): Promise<FileRules | undefined> {
  const folder = dirname(path);
  const component = basename(folder);
  const configFile = join(folder, "config.json");
  const text = Object.hasOwn(RULES_OF, component)
    ? await readFile(configFile, "utf8").catch(() => undefined)
    : undefined;
  if (text !== undefined) {
    return { rules: RULES_OF[component]!(new JsonConfig(configFile, text)), network: `this model's ${component}` };
  }
  const candidates = [
    unetRules(SDXL_BASE_UNET),
    vaeRules(SDXL_BASE_VAE),
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
