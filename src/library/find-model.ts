/** @file The model that a picture names, looked for on this machine: the demo, the hub's cache, the block store, folders and files around. */

import type { LibraryHost } from "./host.ts";
import { listStored } from "./list.ts";
import { type ModelName, modelNamed } from "./model-name.ts";

export interface FoundModel {
  /** As locateModel takes it; undefined is the demo. */
  readonly model: string | undefined;
  /** Its commit, where it has one. */
  readonly revision?: string | undefined;
}

/** Where people keep models beside their pictures, ComfyUI's and A1111's folders among them. */
const FOLDERS = ["", "models/", "models/checkpoints/", "models/Stable-diffusion/"];
/** A1111 names a file without its ending. */
const ENDINGS = ["", ".safetensors"];
/** A name is no path: it is of a picture, which anybody may have made. */
const NAME = /^[^\\/\0]{1,255}$/;

/** By name alone; undefined where there is none. `storeFolder`: the user's own by default. */
export async function findModelNamed(
  host: LibraryHost,
  { model: name, modelRevision }: ModelName,
  storeFolder?: string,
): Promise<FoundModel | undefined> {
  if (name === modelNamed(host.demoModel).model) return { model: undefined };
  if (host.hub.isId(name)) {
    const snapshot = await host.hub.resolve(name);
    if (snapshot !== undefined) return { model: name, revision: modelNamed(snapshot).modelRevision };
  }
  const stored = (await listStored(host.store(storeFolder)).catch(() => [])).find(
    (entry) => entry.companion === undefined && entry.name !== undefined && modelNamed(entry.name).model === name,
  );
  if (stored) return { model: `store:${stored.id}`, revision: modelRevision };
  // ComfyUI names a file by its way from the models' folder.
  const [base = ""] = /[^\\/]*$/.exec(name) ?? [];
  if (!NAME.test(base) || base === "." || base === "..") return undefined;
  for (const folder of FOLDERS) {
    for (const ending of ENDINGS) {
      const path = `${folder}${base}${ending}`;
      if (await host.kindOf(host.absolute(path))) return { model: path };
    }
  }
  return undefined;
}
