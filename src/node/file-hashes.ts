/** @file sha256 of models' files, by which A1111 and Civitai know them: computed once a file, and remembered by path, size and time. */
import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import path from "node:path";
import { isJsonObject } from "../source/json-fields.ts";
import { readStateRecord, writeStateFile } from "./state/state-file.ts";

const FILE = "file-hashes.json";
/** Read at once: all that it takes of memory. */
const CHUNK_BYTES = 2 ** 20;
/** The digits that A1111 shows, Civitai's AutoV2. */
const SHORT_DIGITS = 10;
/** Oldest entries go: nobody has more models around. */
const MAX_ENTRIES = 1000;

export class FileHashes {
  readonly #file: string;

  constructor(stateFolder: string) {
    this.#file = path.join(stateFolder, FILE);
  }

  /** First ten digits of the file's sha256, if they are known already. */
  async known(file: string): Promise<string | undefined> {
    const entry = (await readStateRecord(this.#file))[path.resolve(file)];
    const stamp = await stampOf(file);
    if (!isJsonObject(entry) || stamp === undefined || entry.stamp !== stamp) return undefined;
    return typeof entry.sha256 === "string" && /^[0-9a-f]{64}$/.test(entry.sha256)
      ? entry.sha256.slice(0, SHORT_DIGITS)
      : undefined;
  }

  /** The same, computed where they are not known: seconds for a model. Rejects with the system's errors, or the signal's reason. */
  async of(file: string, signal?: AbortSignal): Promise<string> {
    const known = await this.known(file);
    if (known !== undefined) return known;
    const stamp = await stampOf(file);
    const digest = createHash("sha256");
    await using handle = await open(file);
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(chunk, 0, chunk.length);
      if (bytesRead === 0) break;
      digest.update(chunk.subarray(0, bytesRead));
    }
    const sha256 = digest.digest("hex");
    // A state folder that can't be written to costs the time again.
    if (stamp !== undefined && stamp === (await stampOf(file)))
      await this.#remember(file, { stamp, sha256 }).catch(() => {});
    return sha256.slice(0, SHORT_DIGITS);
  }

  /** A file whose hash is known and begins so, and which is still there. */
  async fileWith(hash: string): Promise<string | undefined> {
    if (!/^[0-9a-f]{10,64}$/i.test(hash)) return undefined;
    const wanted = hash.slice(0, SHORT_DIGITS).toLowerCase();
    for (const file of Object.keys(await readStateRecord(this.#file))) {
      if ((await this.known(file)) === wanted) return file;
    }
    return undefined;
  }

  async #remember(file: string, entry: { readonly stamp: string; readonly sha256: string }): Promise<void> {
    const { [path.resolve(file)]: _, ...others } = await readStateRecord(this.#file);
    const kept = Object.entries(others).slice(1 - MAX_ENTRIES);
    await writeStateFile(this.#file, Object.fromEntries([...kept, [path.resolve(file), entry]]));
  }
}

/** Differs where the file is another one. */
async function stampOf(file: string): Promise<string | undefined> {
  const info = await stat(file, { bigint: true }).catch(() => undefined);
  return info?.isFile() ? `${info.size}:${info.mtimeNs}` : undefined;
}
