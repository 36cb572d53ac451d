/** @file The networks of an SDXL's folder: each table of weights from where it is, checked against what its config asks for. */
import { compareWithSchema, requireSchema } from "../../checkpoint/schema.ts";
import { type OpenWeightsOptions, openWeights } from "../../checkpoint/weight-folder.ts";
import type { Folder } from "../../source/folder.ts";
import type { Component, OpenOptions } from "../family.ts";
import type { GivenWeights, SdxlConfigs } from "./config.ts";
import { SDXL_COMPONENTS, type SdxlComponentId, WEIGHT_FOLDERS, type WeightFolder, weightFiles } from "./files.ts";
import { rulesOf } from "./rules.ts";

interface WeightPlaces extends OpenWeightsOptions, Pick<OpenOptions, "weights"> {
  /** In place of the folder's. */
  readonly given?: ReadonlyMap<WeightFolder, GivenWeights> | undefined;
  readonly absent: Map<string, string>;
  readonly onNote: (note: string) => void;
}

/** All networks, each from where it is. A VAE whose encoder isn't there, or isn't as expected, has none, and `absent` says why. */
export async function componentsOf(
  folder: Folder,
  configs: SdxlConfigs,
  { sources, signal, weights, given, absent, onNote }: WeightPlaces,
): Promise<ReadonlyMap<string, Component>> {
  const tables = new Map<WeightFolder, GivenWeights>(given);
  const found = new Map<SdxlComponentId, Component>();
  for (const { id, folder: name, ...rest } of SDXL_COMPONENTS) {
    const rules = rulesOf(configs, id);
    if (weights && !given?.has(name)) {
      const known = weights(id);
      if (known)
        found.set(id, { ...known, table: requireSchema(known.table, rules, `${folder.name}/${rules.component}`) });
      continue;
    }
    if (!tables.has(name)) {
      const { stem } = WEIGHT_FOLDERS.find((entry) => entry.folder === name)!;
      const table = await openWeights(folder, name, weightFiles(stem, ["fp16", "none"]), { sources, signal });
      tables.set(name, { table, subject: `${folder.name}/${name}` });
    }
    const { table, subject } = tables.get(name)!;
    if (!("onDemand" in rest)) found.set(id, { table: requireSchema(table, rules, subject, onNote) });
    else if (!absent.has(id)) {
      const compared = compareWithSchema(table, rules);
      if (compared.problems.length > 0) absent.set(id, compared.problems[0]!);
      else found.set(id, { table: compared.table });
    }
  }
  return found;
}
