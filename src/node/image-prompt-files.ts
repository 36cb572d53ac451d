/**
 * @file Files of IP-Adapters (.safetensors, .bin by a reader that runs nothing) and their image encoders, folders or files, on this machine: by path, or by
 * name in the folder that the user has named for them.
 */
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { kindOfTables } from "../checkpoint/file-kind.ts";
import { MAX_CONFIG_BYTES } from "../checkpoint/json-config.ts";
import { tensorTables } from "../checkpoint/tensor-file.ts";
import type { OpenImagePrompt } from "../engine/image-prompt-files.ts";
import { UsageError } from "../errors.ts";
import type { LibraryHost } from "../library/host.ts";
import { locateFiles } from "../library/locate.ts";
import { openPlace } from "../library/model-files.ts";
import { isVisionFile } from "../models/clip-vision-file.ts";
import { openFileSource } from "./files/file.ts";
import { filesIn, stemOf } from "./named-files.ts";

/** Where a name stands for several files, the first counts. */
const ENDINGS = [".safetensors", ".bin"];
const NAME = /^[^/\\:.\0][^/\\:\0]*$/;

/** `folder`: of both, absolute; absent: none was named. `onlyNames`: nothing is named by path. */
export function imagePromptOpener(host: LibraryHost, folder: string | undefined, onlyNames: boolean): OpenImagePrompt {
  return async (adapter, encoder, owned, signal) => {
    const found = await imagePromptsIn(folder, signal);
    const file = adapterNamed(found, adapter) ?? (onlyNames ? undefined : host.absolute(adapter));
    if (file === undefined) throw unnamed(adapter, "IP-Adapter", folder);
    const source = owned.use(await host.openFile(file, adapter));
    const tables = await tensorTables(source, signal);
    const places = await encodersNamed(host, found, encoder, { folder, onlyNames });
    return { tables, encoders: await Promise.all(places.map((place) => openPlace(host, place, owned))) };
  };
}

/** What lies in a folder, or deeper. */
export interface FoundImagePrompts {
  /** Absolute paths, sorted by name. */
  readonly adapters: readonly string[];
  /** Of CLIP vision encoders: folders with a config.json, and single files. */
  readonly encoders: readonly string[];
}

/** Rejects as the system does where the folder can't be read. */
export async function imagePromptsIn(folder: string | undefined, signal?: AbortSignal): Promise<FoundImagePrompts> {
  if (folder === undefined) return { adapters: [], encoders: [] };
  const files = await Array.fromAsync(filesIn(folder, [...ENDINGS, ".json"], signal));
  const configs = files.filter((file) => path.basename(file) === "config.json");
  const encoders: string[] = [];
  for (const file of configs) if (await isVision(file)) encoders.push(path.dirname(file));
  // Files beside a config are parts of a model.
  const models = new Set(configs.map((file) => path.dirname(file)));
  const adapters: string[] = [];
  for (const file of files.filter((each) => ENDINGS.includes(path.extname(each)) && !models.has(path.dirname(each)))) {
    const use = await useOf(file, signal);
    if (use === "encoder") encoders.push(file);
    else if (use === "adapter") adapters.push(file);
  }
  const byName = (a: string, b: string) =>
    path.basename(a) < path.basename(b) || (path.basename(a) === path.basename(b) && a < b) ? -1 : 1;
  return { adapters: adapters.toSorted(byName), encoders: encoders.toSorted(byName) };
}

/** As jobs name them. */
export function imagePromptNames({ adapters, encoders }: FoundImagePrompts) {
  return {
    adapters: [...new Set(adapters.map(stemOf))],
    encoders: [...new Set(encoders.map(nameOf))],
  };
}

/** A folder's name, or a file's without its ending. */
function nameOf(encoder: string): string {
  return ENDINGS.includes(path.extname(encoder)) ? stemOf(encoder) : path.basename(encoder);
}

type Use = "adapter" | "encoder" | "none";
/** What headers have told, by file and state. */
const USES = new Map<string, Use>();
const MAX_USES = 10_000;

/** A file that tells nothing counts as an adapter: who names it learns what is wrong with it. */
async function useOf(file: string, signal?: AbortSignal): Promise<Use> {
  try {
    await using source = await openFileSource(file);
    const key = JSON.stringify(source.file);
    const known = USES.get(key);
    if (known) return known;
    const tables = await tensorTables(source, signal);
    const isOther = kindOfTables(tables)?.id === "image-encoder";
    const use = isVisionFile(tables) ? "encoder" : isOther ? "none" : "adapter";
    if (USES.size >= MAX_USES) USES.clear();
    USES.set(key, use);
    return use;
  } catch {
    signal?.throwIfAborted();
    return "adapter";
  }
}

async function isVision(config: string): Promise<boolean> {
  if ((await stat(config)).size > MAX_CONFIG_BYTES) return false;
  try {
    const { architectures, model_type: type } = JSON.parse(await readFile(config, "utf8")) as Readonly<
      Record<string, unknown>
    >;
    return (
      type === "clip_vision_model" ||
      (Array.isArray(architectures) && String(architectures[0]).startsWith("CLIPVision"))
    );
  } catch {
    // Of others.
    return false;
  }
}

/** With its ending or without. */
export function adapterNamed({ adapters }: FoundImagePrompts, name: string): string | undefined {
  if (!NAME.test(name)) return undefined;
  const whole = adapters.find((file) => path.basename(file) === name);
  if (whole !== undefined) return whole;
  const stems = adapters.filter((file) => stemOf(file) === name);
  return stems.find((file) => file.endsWith(ENDINGS[0]!)) ?? stems[0];
}

/** Those that it may be: `name` undefined stands for any. */
export function encodersOf({ encoders }: FoundImagePrompts, name: string | undefined): readonly string[] {
  return encoders.filter((each) => name === undefined || [path.basename(each), nameOf(each)].includes(name));
}

/** As encodersOf, and by path; one of them fits the adapter. */
async function encodersNamed(
  host: LibraryHost,
  found: FoundImagePrompts,
  name: string | undefined,
  { folder, onlyNames }: { readonly folder: string | undefined; readonly onlyNames: boolean },
): Promise<readonly string[]> {
  const named = encodersOf(found, name);
  if (named.length > 0) return named;
  if (name !== undefined && !onlyNames) return [await locateFiles(host, name)];
  if (name !== undefined) throw unnamed(name, "image encoder", folder);
  const problem =
    folder === undefined
      ? "an IP-Adapter needs its image encoder"
      : "an IP-Adapter needs its image encoder, and none is in the folder of IP-Adapters";
  throw new UsageError({
    code: "E_JOB",
    subject: "ipAdapters",
    problem,
    next: "name its file or folder (--image-encoder)",
  });
}

function unnamed(subject: string, what: string, folder: string | undefined): UsageError {
  return new UsageError({
    code: "E_IP_ADAPTER",
    subject,
    problem:
      folder === undefined
        ? "no folder of IP-Adapters was named"
        : `there is no ${what} of that name in the folder of IP-Adapters`,
    next: folder === undefined ? "name it with --ip-adapter-dir" : "check its name, or --ip-adapter-dir",
  });
}
