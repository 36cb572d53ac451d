/** @file The IP-Adapters that jobs ask for, with their image encoders: each opened once, their weights components of the runtime; and what they see. */
import type { TensorTable } from "../container/table.ts";
import { UsageError } from "../errors.ts";
import type { FullJob } from "../job/job.ts";
import { adapterPicture } from "../job/named-pictures.ts";
import type { FilePlace } from "../models/file-place.ts";
import {
  type JobImagePrompt,
  type JobMask,
  maskingBytes,
  pictureMask,
  seeingBytes,
  seenPicture,
} from "../pipeline/job-image-prompt.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import { TableBlocks } from "../stream/blocks.ts";
import { type NetworkFile, networkFile } from "./model-hashes.ts";
import { type FieldPicture, passSizes, type ReadFieldPicture } from "./read-job.ts";

/** Opens an adapter's file and its encoder's folder, or those among which one fits it; `owned` gets what is opened. Rejects as files do. */
export type OpenImagePrompt = (
  adapter: string,
  encoder: string | undefined,
  owned: AsyncDisposableStack,
  signal?: AbortSignal,
) => Promise<{ readonly tables: ReadonlyMap<string, TensorTable>; readonly encoders: readonly FilePlace[] }>;

interface Known extends Pick<JobImagePrompt, "network" | "encoder" | "adapter"> {
  readonly tables: Readonly<Record<"encoder" | "adapter", TensorTable>>;
}

/** All adapters of a job. */
export interface ReadImagePrompts {
  readonly adapters: readonly JobImagePrompt[];
  /** "ipAdapters.0.images.0: 0123...": sha256 of the files of pictures and masks. */
  readonly hashes: readonly string[];
  readonly files: readonly NetworkFile[];
  /** What was done to them that their maker may not expect. */
  readonly notes: readonly string[];
}

export class ImagePromptFiles implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #open: OpenImagePrompt | undefined;
  readonly #known = new Map<string, Known>();
  /** Components by what they hold: adapters that were trained with one encoder share it. */
  readonly #components = new Map<string, string>();
  readonly #sources = new AsyncDisposableStack();

  /** `open`: absent where there are no files. */
  constructor(runtime: Runtime, open: OpenImagePrompt | undefined) {
    this.#runtime = runtime;
    this.#open = open;
  }

  /** What the job is told of its pictures; undefined where it names no adapter. Rejects with UsageError, and as SideNetworks.openImagePrompt. */
  async ofJob(job: FullJob, read: ReadFieldPicture, signal?: AbortSignal): Promise<ReadImagePrompts | undefined> {
    const { ipAdapters = [] } = job;
    if (ipAdapters.length === 0) return undefined;
    const { checkpoint, ledger } = this.#runtime;
    const [first, hires] = passSizes(checkpoint, job);
    const hashes: string[] = [];
    const notes: string[] = [];
    const pictureOf = async (name: string, reference: string): Promise<FieldPicture> => {
      const picture = await read(name, reference, signal);
      if (picture.sha256 !== undefined) hashes.push(`${name}: ${picture.sha256}`);
      notes.push(...picture.notes.map((text) => `${name}: ${text}`));
      return picture;
    };
    const adapters: JobImagePrompt[] = [];
    const files: NetworkFile[] = [];
    let standing: string | undefined;
    for (const [i, use] of ipAdapters.entries()) {
      const { file, encoder = standing, images = [], masks = [] } = use;
      standing = encoder;
      const { tables, ...known } = await this.#files(file, encoder, signal);
      files.push(...networkFile(`ipAdapters.${i}`, tables.adapter));
      files.push(...networkFile(`ipAdapters.${i}.encoder`, tables.encoder));
      const pictures: Float32Array[] = [];
      for (const [j, reference] of images.entries()) {
        const picture = await pictureOf(adapterPicture(i, "images", j), reference);
        const bytes = seeingBytes(picture, known.network);
        using _ = ledger.reserve("ram", bytes, "a picture, until an encoder sees it");
        pictures.push(seenPicture(picture, known.network));
      }
      const placed: JobMask[] = [];
      for (const [j, reference] of masks.entries()) {
        const picture = await pictureOf(adapterPicture(i, "masks", j), reference);
        using _ = ledger.reserve("ram", maskingBytes(picture, hires ?? first), "a mask, until it has the job's size");
        const at = { first: pictureMask(picture, first) };
        placed.push(hires ? { ...at, hires: pictureMask(picture, hires) } : at);
      }
      adapters.push({ ...known, use, pictures, masks: placed });
    }
    return { adapters, hashes, files, notes };
  }

  async #files(adapter: string, encoder: string | undefined, signal?: AbortSignal): Promise<Known> {
    if (!this.#open) {
      const problem = "files can't be read here (found one, allowed none)";
      throw new UsageError({ code: "E_JOB", subject: "ipAdapters", problem, next: "leave it out" });
    }
    await using owned = new AsyncDisposableStack();
    const place = await this.#open(adapter, encoder, owned, signal);
    const { checkpoint } = this.#runtime;
    const opened = await checkpoint.openImagePrompt({ subject: adapter, tables: place.tables }, place.encoders, {
      ...{ sources: owned, signal },
    });
    const keys = {
      encoder: JSON.stringify(["encoder", ...stampsOf(opened.encoder)]),
      adapter: JSON.stringify(["adapter", ...stampsOf(opened.adapter)]),
    };
    const key = JSON.stringify(keys);
    const known = this.#known.get(key);
    if (known) return known;
    const fresh = {
      network: opened.network,
      tables: { encoder: opened.encoder, adapter: opened.adapter },
      encoder: this.#component(keys.encoder, "image-encoder", opened.encoder),
      adapter: this.#component(keys.adapter, "ip-adapter", opened.adapter),
    };
    this.#known.set(key, fresh);
    this.#sources.use(owned.move());
    return fresh;
  }

  #component(key: string, kind: string, table: TensorTable): string {
    const known = this.#components.get(key);
    if (known !== undefined) return known;
    const component = `${kind}-${this.#components.size + 1}`;
    this.#runtime.provide(component, new TableBlocks(component, table));
    this.#components.set(key, component);
    return component;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sources.disposeAsync();
  }
}

/** A file that was changed is another one. */
function stampsOf(table: TensorTable): ReadonlySet<string> {
  return new Set(
    [...table.values()].map(({ source: { file, name } }) => JSON.stringify([file?.path ?? name, file?.stamp])),
  );
}
