/** @file Files and folders of ControlNets on this machine: by path, by Hugging Face id, or by name in the folder that the user has named for them. */
import { stat } from "node:fs/promises";
import path from "node:path";
import type { OpenControl } from "../engine/control-files.ts";
import { UsageError } from "../errors.ts";
import type { LibraryHost } from "../library/host.ts";
import { locateFiles } from "../library/locate.ts";
import { openPlace } from "../library/model-files.ts";

const ENDING = ".safetensors";

/** `folder`: of ControlNets, absolute; absent: none was named. `onlyNames`: nothing is named by path. */
export function controlOpener(host: LibraryHost, folder: string | undefined, onlyNames: boolean): OpenControl {
  return async (reference, owned) => {
    const named = folder === undefined ? undefined : await controlNamed(folder, reference);
    if (named !== undefined) return await openPlace(host, named, owned);
    if (!onlyNames) return await openPlace(host, await locateFiles(host, reference), owned);
    throw new UsageError({
      code: "E_CONTROL",
      subject: reference,
      problem:
        folder === undefined
          ? "no folder of ControlNets was named"
          : "there is none of that name in the folder of ControlNets",
      next: folder === undefined ? "name it with --control-dir" : "check its name, or --control-dir",
    });
  };
}

/** A file, or a folder of diffusers, that lies in the folder itself. */
export async function controlNamed(folder: string, name: string): Promise<string | undefined> {
  if (!/^[^/\\:.\0][^/\\:\0]*$/.test(name)) return undefined;
  for (const each of [name, `${name}${ENDING}`]) {
    const place = path.join(folder, each);
    if (await stat(place).catch(() => undefined)) return place;
  }
  return undefined;
}
