/**
 * @file The adapters that lie in the user's folders, as people choose among them: what each is by its header, whether it was made for a family that is
 * known here, words that it listens to, and the picture beside it.
 */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { type AdapterDescription, describeAdapter } from "../adapters/description.ts";
import { describeEmbedding } from "../adapters/embedding-file.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import { SolvayError } from "../errors.ts";
import { FAMILIES } from "../models/families.ts";
import { EMBEDDING_ENDINGS } from "./embedding-files.ts";
import { openFileSource } from "./files/file.ts";
import { LORA_ENDINGS } from "./lora-files.ts";
import { filesIn, stemOf } from "./named-files.ts";

export type AdapterKind = "lora" | "embedding";

export interface FoundAdapter {
  /** Of its path: stays while the file stays where it is. */
  readonly id: string;
  readonly kind: AdapterKind;
  /** As jobs and prompts name it. */
  readonly name: string;
  /** Its folder within the user's. */
  readonly folder: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly modifiedMs: number;
  /** "LoRA of 264 layers", "a textual inversion of two text encoders". */
  readonly what: string;
  readonly ranks: readonly number[];
  readonly triggers: readonly string[];
  /** Of its training pictures' captions, the most frequent first. */
  readonly tags: readonly string[];
  readonly trainedOn?: string | undefined;
  readonly advice?: AdapterDescription["advice"];
  /** A picture lies beside it. */
  readonly pictured: boolean;
  /** Why it can't be used. */
  readonly problem?: string | undefined;
}

/** With the place of its ending. */
interface Ordered extends FoundAdapter {
  readonly order: number;
}

/** What its header says; the same for as long as the file is. */
type Described = Pick<FoundAdapter, "what" | "ranks" | "triggers" | "tags" | "trainedOn" | "advice" | "problem">;

/** More than people have; the rest is not listed. */
const MAX_FILES = 10_000;
const TAGS_SHOWN = 8;
/** As A1111, ComfyUI and Civitai's tools put them beside a file. */
const PICTURE_ENDINGS = [
  ".preview.png",
  ".png",
  ".preview.jpg",
  ".jpg",
  ".preview.jpeg",
  ".jpeg",
  ".preview.webp",
  ".webp",
];
/** A larger one is no thumbnail. */
const MAX_PICTURE_BYTES = 32 * 1024 ** 2;
const ENDINGS = { lora: LORA_ENDINGS, embedding: EMBEDDING_ENDINGS } as const;

export class AdapterFiles {
  readonly #folders: Readonly<Partial<Record<AdapterKind, string | undefined>>>;
  /** By path and what changes with the file. */
  readonly #described = new Map<string, Described>();
  readonly #paths = new Map<string, string>();

  /** `folders`: absolute; absent: none was named. */
  constructor(folders: Readonly<Partial<Record<AdapterKind, string | undefined>>>) {
    this.#folders = folders;
  }

  /** By name. Headers are read once a file. Rejects with the signal's reason. */
  async list(signal?: AbortSignal): Promise<readonly FoundAdapter[]> {
    const found: Ordered[] = [];
    for (const kind of ["lora", "embedding"] as const) {
      const folder = this.#folders[kind];
      if (folder === undefined) continue;
      const files = filesIn(folder, ENDINGS[kind], signal);
      try {
        for await (const file of files) {
          if (found.length >= MAX_FILES) break;
          const adapter = await this.#look(kind, folder, file, signal);
          if (adapter) found.push(adapter);
        }
      } catch {
        // A folder that can't be read has nothing in it that could be used.
        signal?.throwIfAborted();
      }
    }
    const names = Map.groupBy(found, ({ kind, name }) => `${kind} ${name}`);
    return [...names.values()]
      .flatMap((twins) => {
        // Of one name, the ending that comes first in the list is meant, as jobs find it.
        const best = Math.min(...twins.map(({ order }) => order));
        const own = twins.filter(({ order }) => order === best).map(({ order: _, ...adapter }) => adapter);
        const problem = own.length > 1 ? "another file has the same name" : undefined;
        return own.map((adapter) => ({ ...adapter, problem: adapter.problem ?? problem }));
      })
      .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  }

  /** The picture beside it; undefined where there is none, or nothing of that id was listed. */
  async picture(id: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const file = this.#paths.get(id);
    const picture = file === undefined ? undefined : await pictureBeside(file);
    return picture === undefined ? undefined : new Uint8Array(await readFile(picture));
  }

  async #look(
    kind: AdapterKind,
    folder: string,
    file: string,
    signal: AbortSignal | undefined,
  ): Promise<Ordered | undefined> {
    const info = await stat(file).catch(() => undefined);
    if (!info?.isFile()) return undefined;
    const key = `${file}\0${info.size}\0${info.mtimeMs}`;
    const described = this.#described.get(key) ?? (await describe(kind, file, signal));
    this.#described.set(key, described);
    if (this.#described.size > 2 * MAX_FILES) this.#described.clear();
    const id = createHash("sha256").update(`${kind}\0${file}`).digest("hex").slice(0, 24);
    this.#paths.set(id, file);
    return {
      ...{ id, kind, name: stemOf(file), folder: path.dirname(path.relative(folder, file)).replace(/^\.$/, "") },
      ...{ bytes: info.size, modifiedMs: Math.round(info.mtimeMs) },
      ...described,
      order: ENDINGS[kind].indexOf(path.extname(file).toLowerCase()),
      pictured: (await pictureBeside(file)) !== undefined,
    };
  }
}

const NOTHING = { ranks: [], triggers: [], tags: [] } as const;

async function describe(kind: AdapterKind, file: string, signal: AbortSignal | undefined): Promise<Described> {
  // A file of torch.save says nothing of itself before it is opened.
  if (!/\.safetensors$/i.test(file)) return { ...NOTHING, what: "a file of PyTorch's" };
  try {
    await using source = await openFileSource(file, path.basename(file));
    const header = await readSafetensorsHeader(source, signal);
    const tensors = [...header.table.values(), ...header.foreign.values()];
    if (kind === "embedding") {
      const what = describeEmbedding(tensors);
      return what === undefined ? { ...NOTHING, what: "", problem: "this is no embedding" } : { ...NOTHING, what };
    }
    const adapter = describeAdapter(path.basename(file), tensors, header.metadata);
    if (!adapter) return { ...NOTHING, what: "", problem: "this is no adapter" };
    const { kinds, ranks, madeFor, trainedOn, triggers, tags, advice } = adapter;
    const counted = Object.entries(kinds).map(
      ([name, layers]) => `${name} of ${layers} ${layers === 1 ? "layer" : "layers"}`,
    );
    const isKnown = FAMILIES.some(({ name }) => madeFor?.toLowerCase() === `an adapter for ${name}`);
    return {
      ...{ what: counted.join(", "), ranks, triggers, trainedOn, advice },
      tags: tags.slice(0, TAGS_SHOWN).map(({ tag }) => tag),
      ...(madeFor !== undefined && !isKnown && { problem: `this is ${madeFor}` }),
    };
  } catch (error) {
    signal?.throwIfAborted();
    return { ...NOTHING, what: "", problem: error instanceof SolvayError ? error.problem : "it can't be read" };
  }
}

async function pictureBeside(file: string): Promise<string | undefined> {
  const stem = file.slice(0, -path.extname(file).length);
  for (const ending of PICTURE_ENDINGS) {
    const info = await stat(stem + ending).catch(() => undefined);
    if (info?.isFile() && info.size <= MAX_PICTURE_BYTES) return stem + ending;
  }
  return undefined;
}

/** Where A1111 and ComfyUI keep adapters: from their own folder, or from its models/. */
const PLACES = {
  lora: ["Lora", "loras", "models/Lora", "models/loras"],
  embedding: ["embeddings", "models/embeddings", "../embeddings"],
} as const;

/** The folder of such adapters beside models that are A1111's or ComfyUI's; undefined where there is none. */
export async function adapterFolderIn(models: string, kind: AdapterKind): Promise<string | undefined> {
  for (const place of PLACES[kind]) {
    const folder = path.join(models, place);
    if ((await stat(folder).catch(() => undefined))?.isDirectory()) return folder;
  }
  return undefined;
}
