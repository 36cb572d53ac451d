/** @file Where a server keeps bytes by name: finished pictures, uploads, the states of unfinished ones. In a folder, or in a bucket (s3-store.ts). */
import { mkdir, readdir, readFile, unlink } from "node:fs/promises";
import path from "node:path";
import { replaceFile } from "../../node/disk/atomic-file.ts";

/** Names are ours: words of letters, digits and - . joined by "/". What is put is whole, or not there. */
export interface PictureStore {
  put(name: string, pieces: readonly Uint8Array[]): Promise<void>;
  /** Undefined: there is nothing of that name. */
  get(name: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Of what isn't there, too. */
  remove(name: string): Promise<void>;
  /** Names of what lies in that folder, at any depth. */
  list(folder: string): AsyncIterable<string>;
}

/** Throws RangeError: what a client says never gets here; a mistake of ours should not leave the folder either. */
export function requireOurs(name: string): void {
  if (!/^[a-z0-9-]+(\/[a-z0-9-]+)*(\.[a-z0-9]+)?$/.test(name)) throw new RangeError(`no name of ours: ${name}`);
}

export function folderStore(folder: string): PictureStore {
  const fileOf = (name: string) => {
    requireOurs(name);
    return path.join(folder, name);
  };
  return {
    async put(name, pieces) {
      const file = fileOf(name);
      await mkdir(path.dirname(file), { recursive: true });
      await replaceFile(file, (handle) => handle.writeFile(pieces));
    },
    async get(name) {
      const file = fileOf(name);
      return await readFile(file).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined;
        throw error;
      });
    },
    async remove(name) {
      await unlink(fileOf(name)).catch(() => {});
    },
    async *list(part) {
      const entries = await readdir(fileOf(part), { recursive: true, withFileTypes: true }).catch(() => []);
      for (const entry of entries) {
        if (!entry.isFile()) continue;
        const name = path.relative(folder, path.join(entry.parentPath, entry.name));
        yield name.split(path.sep).join("/");
      }
    },
  };
}
