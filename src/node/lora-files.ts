/** @file Files of LoRAs: by path, or by name in the folder that the user has named for them; names never lead out of it. */
import { stat } from "node:fs/promises";
import path from "node:path";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { OpenLora } from "../engine/lora-files.ts";
import { ArtifactError, UsageError } from "../errors.ts";
import { openFileSource } from "./files/file.ts";
import { filesIn } from "./named-files.ts";

/** In the order in which they count where several files have one name; the others as torch.save writes them. */
export const LORA_ENDINGS: readonly string[] = [".safetensors", ".pt", ".ckpt", ".bin"];

/** `folder`: of LoRAs, absolute; absent: none was named. `toAbsolute`: absent where nothing is named by path. */
export function loraOpener(folder: string | undefined, toAbsolute?: (path: string) => string): OpenLora {
  return async (reference, byName, signal) => {
    if (!byName && toAbsolute) {
      const direct = toAbsolute(reference);
      const found = await stat(direct).catch(() => undefined);
      // A path that isn't there is refused as files are.
      if (found?.isFile() || folder === undefined)
        return await openFileSource(direct, path.basename(direct), reference);
    }
    if (folder === undefined) {
      throw refusal(
        reference,
        `no folder of LoRAs was named, and ${byName ? "prompts name" : "jobs here name"} none by path`,
        "name it with --lora-dir",
      );
    }
    const wanted = withoutEnding(reference);
    const byFolder = await filesNamed(folder, wanted, signal);
    // Other programs' names have folders of their own.
    const isForeign = !byName && byFolder.length === 0;
    const [file, other] = isForeign ? await filesNamed(folder, path.win32.basename(wanted), signal) : byFolder;
    if (file === undefined) {
      const problem = `there is no ${wanted}${LORA_ENDINGS[0]} in the folder of LoRAs (found none, allowed one)`;
      throw refusal(reference, problem, "check its name, or name another folder with --lora-dir");
    }
    if (other !== undefined) {
      const shown = [file, other].map((each) => path.relative(folder, each)).join(" and ");
      const next = "write its folder before its name, or rename one of them";
      throw refusal(reference, `more than one file is called so: ${shown} (allowed one)`, next);
    }
    return await openFileSource(file, path.basename(file), path.relative(folder, file));
  };
}

/** Up to two, in the folder or below it: by their own names, or paths in it ("style/fur"), else by those that their training gave them. */
async function filesNamed(folder: string, name: string, signal?: AbortSignal): Promise<string[]> {
  const files = await Array.fromAsync(filesIn(folder, LORA_ENDINGS, signal)).catch((cause: unknown) => {
    signal?.throwIfAborted();
    throw refusal(name, `the folder of LoRAs ${folder} can't be opened`, "check --lora-dir", cause);
  });
  const wanted = name.replaceAll("\\", "/");
  const nameOf = wanted.includes("/")
    ? (file: string) => withoutEnding(path.relative(folder, file).replaceAll(path.sep, "/"))
    : (file: string) => withoutEnding(path.basename(file));
  const named = files.filter((file) => nameOf(file) === wanted);
  const ending = LORA_ENDINGS.find((each) => named.some((file) => file.toLowerCase().endsWith(each)));
  const found = named.filter((file) => file.toLowerCase().endsWith(ending!));
  if (found.length > 0) return found.slice(0, 2);
  for (const file of files) {
    if (found.length < 2 && (await nameInFile(file, signal)) === name) found.push(file);
  }
  return found;
}

function withoutEnding(name: string): string {
  const ending = LORA_ENDINGS.find((each) => name.toLowerCase().endsWith(each));
  return ending === undefined ? name : name.slice(0, -ending.length);
}

/** A1111's alias of a LoRA, as kohya's tools write it; undefined where the file can't be read. */
async function nameInFile(file: string, signal?: AbortSignal): Promise<string | undefined> {
  try {
    await using source = await openFileSource(file, path.basename(file), file);
    return (await readSafetensorsHeader(source, signal)).metadata.get("ss_output_name");
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ArtifactError) return undefined;
    throw error;
  }
}

function refusal(subject: string, problem: string, next: string, cause?: unknown): UsageError {
  return new UsageError({ code: "E_LORA", subject, problem, next, cause });
}
