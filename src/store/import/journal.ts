/**
 * @file What an import has finished, a line each: CRC32, a space, JSON. A line is written after the work that it stands for was
 * synced. Killed at any moment, the journal has a sound beginning; the rest is cut off.
 */

import { crc32 } from "#zlib";
import { Field } from "../fields.ts";
import { readSmallFile, type StoreFile, type StoreFs, writeFully } from "../fs.ts";

const MAX_JOURNAL_BYTES = 256 * 1024 ** 2;

export class Journal implements AsyncDisposable {
  /** What was there when it was opened. */
  readonly entries: readonly Field[];
  readonly #file: StoreFile;
  #sizeBytes: number;

  private constructor(file: StoreFile, entries: readonly Field[], sizeBytes: number) {
    this.#file = file;
    this.entries = entries;
    this.#sizeBytes = sizeBytes;
  }

  static async open(fs: StoreFs, path: string): Promise<Journal> {
    const bytes = await readSmallFile(fs, path, MAX_JOURNAL_BYTES);
    const { entries, soundBytes } = bytes ? parse(bytes) : { entries: [], soundBytes: 0 };
    const file = await fs.open(path, bytes && soundBytes > 0 ? "edit" : "create");
    try {
      if (bytes && soundBytes < bytes.byteLength && soundBytes > 0) await file.truncate(soundBytes);
    } catch (error) {
      await file.close();
      throw error;
    }
    return new Journal(file, entries, soundBytes);
  }

  /** Appends and syncs. */
  async append(items: readonly object[]): Promise<void> {
    if (items.length === 0) return;
    const encoder = new TextEncoder();
    const lines = items.map((item) => {
      const line = JSON.stringify(item);
      return `${lineSum(encoder.encode(line))} ${line}\n`;
    });
    const bytes = encoder.encode(lines.join(""));
    await writeFully(this.#file, bytes, this.#sizeBytes);
    await this.#file.sync();
    this.#sizeBytes += bytes.byteLength;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

function parse(bytes: Uint8Array): { entries: Field[]; soundBytes: number } {
  const entries: Field[] = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf(10, at);
    if (end < 0) break;
    const line = bytes.subarray(at + 9, end);
    const crc = new TextDecoder().decode(bytes.subarray(at, Math.min(end, at + 9)));
    if (crc !== `${lineSum(line)} `) break;
    entries.push(Field.parse("import journal", new TextDecoder().decode(line)));
    at = end + 1;
  }
  return { entries, soundBytes: at };
}

function lineSum(line: Uint8Array): string {
  return crc32(line).toString(16).padStart(8, "0");
}
