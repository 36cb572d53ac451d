/**
 * @file The part of a file that is here already. Bytes are written at their own places and the file is never cut:
 * to begin anew it gets a new file under the old name. So two writers of one content can't harm each other.
 */
import { createHash, type Hash } from "node:crypto";
import { type FileHandle, lstat, open, unlink } from "node:fs/promises";
import { ArtifactError } from "../../errors.ts";
import { renamePatiently } from "../disk/atomic-file.ts";

/** What the content must be. */
export interface Expected {
  readonly sizeBytes: number;
  readonly sha256?: string;
  readonly gitId?: string;
}

const READ_BYTES = 4 * 1024 ** 2;

export class PartialFile implements AsyncDisposable {
  readonly #path: string;
  readonly #expected: Expected;
  #handle: FileHandle | undefined;
  #hash: Hash;
  #length = 0;

  private constructor(path: string, expected: Expected) {
    this.#path = path;
    this.#expected = expected;
    this.#hash = hashFor(expected);
  }

  /** Takes up what is there, reading it once for its checksum; what can't be a part of this content is removed. */
  static async open(path: string, expected: Expected, signal?: AbortSignal): Promise<PartialFile> {
    const partial = new PartialFile(path, expected);
    const there = await lstat(path).catch(() => undefined);
    if (there && (!there.isFile() || there.size > expected.sizeBytes)) await unlink(path);
    else if (there) await partial.#takeUp(signal);
    if (!partial.#handle) partial.#handle = await open(path, "wx");
    return partial;
  }

  async #takeUp(signal?: AbortSignal): Promise<void> {
    const handle = await open(this.#path, "r+");
    try {
      const buffer = new Uint8Array(READ_BYTES);
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, this.#length);
        if (bytesRead === 0) break;
        this.#hash.update(buffer.subarray(0, bytesRead));
        this.#length += bytesRead;
      }
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.#handle = handle;
  }

  get lengthBytes(): number {
    return this.#length;
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.#open().write(bytes, done, bytes.byteLength - done, this.#length);
      this.#hash.update(bytes.subarray(done, done + bytesWritten));
      this.#length += bytesWritten;
      done += bytesWritten;
    }
  }

  /** Forgets what is here. */
  async restart(): Promise<void> {
    await this.discard();
    this.#handle = await open(this.#path, "wx");
    this.#hash = hashFor(this.#expected);
    this.#length = 0;
  }

  async discard(): Promise<void> {
    await this[Symbol.asyncDispose]();
    await unlink(this.#path).catch(() => {});
  }

  /** Checks size and checksum and moves the whole file, synced, to `target`; syncing the folder is the caller's. Throws ArtifactError `E_HASH` or `E_SIZE`, the part then being gone. */
  async finish(target: string, what: string): Promise<void> {
    const { sizeBytes, sha256, gitId } = this.#expected;
    const handle = this.#open();
    const found = this.#hash.digest("hex");
    const wanted = sha256 ?? gitId ?? found;
    const size = (await handle.stat()).size;
    if (found !== wanted || size !== sizeBytes) {
      await this.discard();
      const hashes = `checksum differs (found ${found.slice(0, 12)}..., the hub says ${wanted.slice(0, 12)}...), ${sizeBytes} bytes`;
      throw new ArtifactError({
        code: found === wanted ? "E_SIZE" : "E_HASH",
        subject: what,
        problem: `${found === wanted ? `size differs (found ${size}, allowed ${sizeBytes})` : hashes}; deleted`,
        next: "run the same command again; if it stays so, check the network and the disk",
      });
    }
    await handle.sync();
    await this[Symbol.asyncDispose]();
    await renamePatiently(this.#path, target);
  }

  /** Closes the file; what is written stays, to go on from. */
  async [Symbol.asyncDispose](): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  #open(): FileHandle {
    if (!this.#handle) throw new Error("the partial file is closed");
    return this.#handle;
  }
}

/** sha256 of large files; git's blob id, a sha1 over a small header too, of others. */
function hashFor({ sizeBytes, sha256, gitId }: Expected): Hash {
  if (sha256 !== undefined || gitId === undefined) return createHash("sha256");
  return createHash("sha1").update(`blob ${sizeBytes}\0`);
}
