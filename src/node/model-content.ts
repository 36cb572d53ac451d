/** @file Whether files are still what they were: names, sizes, all of small files, and samples of large ones, in well under a second. */
import { createHash } from "node:crypto";
import { open, readdir, stat } from "node:fs/promises";
import path from "node:path";

/** A model's; others in its folder are none of it. */
const NAMES = /\.(safetensors|bin|json|txt|model|lzr2|pth|pt|ckpt)$/i;
const WHOLE_BYTES = 2 ** 20;
const SAMPLES = 16;
const SAMPLE_BYTES = 2 ** 16;

/** A text that differs where one of the files, or what a folder has of a model's, is another. Rejects with the system's errors. */
export async function contentOf(paths: readonly string[]): Promise<string> {
  const digest = createHash("sha256");
  for (const place of paths) {
    for (const { name, file } of await filesOf(place)) {
      await using handle = await open(file);
      const { size } = await handle.stat();
      digest.update(`${JSON.stringify([name, size])}\n`);
      const whole = size <= WHOLE_BYTES;
      const bytes = new Uint8Array(whole ? size : SAMPLE_BYTES);
      // Evenly, the first and the last bytes among them: headers, and each layer's weights.
      for (let at = 0; at < (whole ? 1 : SAMPLES); at++) {
        const start = whole ? 0 : Math.floor(((size - SAMPLE_BYTES) * at) / (SAMPLES - 1));
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
        digest.update(bytes.subarray(0, bytesRead));
      }
    }
  }
  return digest.digest("hex");
}

async function filesOf(place: string): Promise<readonly { readonly name: string; readonly file: string }[]> {
  if (!(await stat(place)).isDirectory()) return [{ name: "", file: place }];
  const names = (await readdir(place, { recursive: true })).filter((name) => NAMES.test(name)).toSorted();
  return names.map((name) => ({ name: name.replaceAll("\\", "/"), file: path.join(place, name) }));
}
