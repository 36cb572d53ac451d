/** @file The library's view of this machine: disk, the Hugging Face cache, the user's block store. */
import { stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { LibraryHost } from "../library/host.ts";
import { replaceFile } from "./disk/atomic-file.ts";
import { defaultStoreFolder, nodeStore } from "./disk/node-store.ts";
import { openFileSource } from "./files/file.ts";
import { openFileFolder } from "./files/file-folder.ts";
import { type Environment, isHubId, resolveHubModel } from "./hub/cache.ts";
import { pullFromHub } from "./hub/pull.ts";

/** The embedded demo model. */
export const DEMO_MODEL = fileURLToPath(new URL("../../models/demo", import.meta.url));

/** CLIP's merges.txt, which comes with Solvay (docs/decisions/single-files.md). */
const CLIP_VOCABULARY = fileURLToPath(new URL("../../models/clip", import.meta.url));

/** `absolute`: of a path as the user wrote it. */
export function nodeLibraryHost(absolute: (path: string) => string, env: Environment): LibraryHost {
  return {
    demoModel: DEMO_MODEL,
    clipVocabulary: CLIP_VOCABULARY,
    absolute,
    async kindOf(file) {
      const info = await stat(file).catch(() => undefined);
      return info && (info.isDirectory() ? "folder" : "file");
    },
    openFolder: openFileFolder,
    openFile: openFileSource,
    async readBeside(file, name) {
      const folder = path.dirname(path.resolve(file));
      const beside = await openFileFolder(folder);
      const text = await beside.readText(name, MAX_BESIDE_BYTES).catch(() => undefined);
      return text === undefined ? undefined : { folder: path.basename(folder), text };
    },
    store: (folder) => nodeStore(absolute(folder ?? defaultStoreFolder(env))),
    replaceFile: (file, fill) => replaceFile(file, (handle) => fill((bytes) => handle.writeFile(bytes))),
    hub: {
      isId: isHubId,
      resolve: (id) => resolveHubModel(id, { env }),
      pull: (id, options) => pullFromHub(id, { env, ...options }),
    },
  };
}

/** Config files are a few KB. */
const MAX_BESIDE_BYTES = 4 * 1024 ** 2;
