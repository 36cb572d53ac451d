/** @file What A1111's clients ask for before they draw: samplers, models and the rest, as lists in A1111's shapes. */
import { readdir } from "node:fs/promises";
import { freemem, totalmem } from "node:os";
import path from "node:path";
import { SAMPLERS } from "../../../sampler/samplers.ts";
import { SCHEDULES } from "../../../sampler/schedules.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import type { Route } from "../route.ts";
import { LATENT_UPSCALERS } from "./request.ts";

/**
 * @param model its name
 * @param loraDir where LoRAs are found by name
 */
export function listRoutes(model: () => string, loraDir: string | undefined): readonly Route[] {
  const lists: Readonly<Record<string, () => unknown>> = {
    samplers: () =>
      Object.entries(SAMPLERS).map(([name, { title, aliases }]) => ({
        name: title,
        aliases: [name, ...aliases],
        options: {},
      })),
    schedulers: () =>
      Object.entries(SCHEDULES).map(([name, { title: label, aliases }]) => ({
        ...{ name: name === "default" ? "automatic" : name.replaceAll("-", "_"), label, aliases: [...aliases] },
        ...{ default_rho: -1, need_inner_model: false },
      })),
    "sd-models": () => {
      const name = model();
      return [{ title: name, model_name: name, hash: null, sha256: null, filename: name, config: null }];
    },
    loras: async () => (loraDir === undefined ? [] : await lorasIn(loraDir)),
    embeddings: () => ({ loaded: {}, skipped: {} }),
    upscalers: () =>
      ["None", "Lanczos"].map((name) => ({ name, model_name: null, model_path: null, model_url: null, scale: 4 })),
    "latent-upscale-modes": () =>
      Object.keys(LATENT_UPSCALERS)
        .filter((name) => name !== "Lanczos")
        .map((name) => ({ name })),
    scripts: () => ({ txt2img: [], img2img: [] }),
    memory: () => ({
      ram: { free: freemem(), used: totalmem() - freemem(), total: totalmem() },
      cuda: { error: "unavailable" },
    }),
    "cmd-flags": () => ({ api: true }),
    // What there is none of.
    ...Object.fromEntries(
      ["sd-vae", "sd-modules", "script-info", "prompt-styles", "hypernetworks", "face-restorers", "extensions"].map(
        (name) => [name, () => []] as const,
      ),
    ),
  };
  return Object.entries(lists).map(([name, list]) => ({
    ...{ method: "get", path: `/sdapi/v1/${name}`, summary: `A1111's list of ${name}` },
    handle: async (context) => context.json(await list()),
  }));
}

async function lorasIn(folder: string): Promise<readonly JsonObject[]> {
  const ending = ".safetensors";
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith(ending)).toSorted();
  return files.map((file) => {
    const name = path.basename(file, ending);
    return { name, alias: name, path: file, metadata: {} };
  });
}
