/** @file Files of LoRAs: by path, or by name in the folder that the user has named for them; names never lead out of it. */
import { readdir, realpath, stat } from "node:fs/promises";
import path from "node:path";
import type { OpenLora } from "../engine/lora-files.ts";
import { UsageError } from "../errors.ts";
import { openFileSource } from "./files/file.ts";

const ENDING = ".safetensors";
/** Folders within folders are looked through so deep, and so many entries at most. */
const MAX_DEPTH = 8;
const MAX_ENTRIES = 100_000;

/** `folder`: of LoRAs, absolute; absent: none was named. */
export function loraOpener(folder: string | undefined, toAbsolute: (path: string) => string): OpenLora {
  return async (reference, byName, signal) => {
    if (!byName) {
      const direct = toAbsolute(reference);
      const found = await stat(direct).catch(() => undefined);
      // A path that isn't there is refused as files are.
      if (found?.isFile() || folder === undefined)
        return await openFileSource(direct, path.basename(direct), reference);
    }
    if (folder === undefined) {
      throw refusal(
        reference,
        "no folder of LoRAs was named, and prompts name none by path",
        "name it with --lora-dir",
      );
    }
    const wanted = reference.endsWith(ENDING) ? reference.slice(0, -ENDING.length) : reference;
    const [file, other] = await filesNamed(folder, wanted, signal);
    if (file === undefined) {
      const problem = `there is no ${wanted}${ENDING} in the folder of LoRAs (found none, allowed one)`;
      throw refusal(reference, problem, "check its name, or name another folder with --lora-dir");
    }
    if (other !== undefined) {
      const shown = [file, other].map((each) => path.relative(folder, each)).join(" and ");
      throw refusal(reference, `more than one file is called so: ${shown} (allowed one)`, "rename one of them");
    }
    return await openFileSource(file, path.basename(file), path.relative(folder, file));
  };
}

/** Up to two, in the folder or below it. */
async function filesNamed(folder: string, name: string, signal?: AbortSignal): Promise<string[]> {
  const root = await realpath(folder).catch((cause: unknown) => {
    throw refusal(name, `the folder of LoRAs ${folder} can't be opened`, "check --lora-dir", cause);
  });
  const found: string[] = [];
  let entries = 0;
  const look = async (dir: string, depth: number): Promise<void> => {
    signal?.throwIfAborted();
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (++entries > MAX_ENTRIES || found.length > 1) return;
      const file = path.join(dir, entry.name);
      if (entry.isDirectory() && depth < MAX_DEPTH) await look(file, depth + 1);
      else if (!entry.isDirectory() && entry.name === `${name}${ENDING}`) found.push(file);
    }
  };
  await look(root, 0);
  return found;
}

function refusal(subject: string, problem: string, next: string, cause?: unknown): UsageError {
  return new UsageError({ code: "E_LORA", subject, problem, next, cause });
}
