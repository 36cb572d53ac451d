/** @file What A1111's clients ask for before they draw: samplers, models and the rest, as lists in A1111's shapes. */

import { freemem, totalmem } from "node:os";
import type { OpenRequest } from "../../../job/checked.ts";
import { imagePromptNames, imagePromptsIn } from "../../../node/image-prompt-files.ts";
import { upscalersIn } from "../../../node/upscaler-files.ts";
import { SAMPLERS } from "../../../sampler/samplers.ts";
import { SCHEDULES } from "../../../sampler/schedules.ts";
import type { Route, RouteContext } from "../route.ts";
import { ADAPTER_MODULES } from "./adapter-units.ts";
import { CONTROL_MODULES } from "./control-units.ts";
import { PICTURE_FILTERS } from "./extras.ts";
import { controlNetsIn, embeddingsIn, lorasIn } from "./files.ts";
import { LATENT_UPSCALERS } from "./request.ts";
import type { Served } from "./settings.ts";

/** Not at all, or each pixel by itself. */
const UPSCALERS = ["None", ...Object.keys(PICTURE_FILTERS)];

/** @param served what there is now */
export function listRoutes(
  served: (context: RouteContext) => Promise<Served>,
  { loraDir, embeddingsDir, controlDir, ipAdapterDir, upscalerDir }: OpenRequest,
): readonly Route[] {
  const scripts = controlDir === undefined && ipAdapterDir === undefined ? [] : ["controlnet"];
  const named = (name: string | undefined) => (name === undefined ? [] : [{ model_name: name, filename: name }]);
  const lists: Readonly<Record<string, (context: RouteContext) => unknown>> = {
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
    "sd-models": async (context) => {
      const { models, refiner } = await served(context);
      return [...models, refiner].flatMap((name) =>
        named(name).map((each) => ({ title: name, ...each, hash: null, sha256: null, config: null })),
      );
    },
    "sd-vae": async (context) => named((await served(context)).vae),
    // The same, as Forge asks for it.
    "sd-modules": async (context) => named((await served(context)).vae),
    loras: () => lorasIn(loraDir),
    embeddings: async () => ({ loaded: await embeddingsIn(embeddingsDir), skipped: {} }),
    upscalers: async () => {
      // A1111 says 4 where it doesn't know.
      const filters = UPSCALERS.map((name) => ({ name, scale: 4 }));
      return [...filters, ...(await upscalersIn(upscalerDir))].map(({ name, scale }) => {
        return { name, model_name: null, model_path: null, model_url: null, scale };
      });
    },
    "latent-upscale-modes": () =>
      Object.keys(LATENT_UPSCALERS)
        .filter((name) => name !== "Lanczos")
        .map((name) => ({ name })),
    scripts: () => ({ txt2img: scripts, img2img: scripts }),
    memory: () => {
      const used = process.memoryUsage.rss();
      return { ram: { free: freemem(), used, total: totalmem() }, cuda: { error: "unavailable" } };
    },
    "cmd-flags": () => ({ api: true, lora_dir: null, embeddings_dir: null }),
    // What there is none of.
    ...Object.fromEntries(
      ["script-info", "prompt-styles", "hypernetworks", "face-restorers", "realesrgan-models", "extensions"].map(
        (name) => [name, () => []] as const,
      ),
    ),
  };
  /** Of the ControlNet extension. */
  const controls: Readonly<Record<string, () => unknown>> = {
    version: () => ({ version: 3 }),
    model_list: async () => ({
      model_list: [
        ...(await controlNetsIn(controlDir)),
        ...imagePromptNames(await imagePromptsIn(ipAdapterDir)).adapters,
      ],
    }),
    module_list: () => ({ module_list: [...CONTROL_MODULES, ...(ipAdapterDir === undefined ? [] : ADAPTER_MODULES)] }),
  };
  return Object.entries({ "sdapi/v1": lists, controlnet: controls }).flatMap(([start, each]) =>
    Object.entries(each).map(([name, list]) => ({
      ...{ method: "get" as const, path: `/${start}/${name}`, summary: `A1111's list of ${name}` },
      handle: async (context: RouteContext) => context.json(await list(context)),
    })),
  );
}
