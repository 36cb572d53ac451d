/** @file The IP-Adapters that jobs ask for, with their image encoders: each opened once, their weights components of the runtime; and what they see. */
import type { TensorTable } from "../container/table.ts";
import { UsageError } from "../errors.ts";
import type { FullJob } from "../job/job.ts";
import { imagePromptPicture } from "../job/named-pictures.ts";
import type { FilePlace } from "../models/file-place.ts";
import { type JobImagePrompt, seeingBytes, seenPicture } from "../pipeline/job-image-prompt.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import { TableBlocks } from "../stream/blocks.ts";
import type { ReadFieldPicture } from "./read-job.ts";

/** Opens an adapter's file and its encoder's folder; `owned` gets what is opened. Rejects as files do. */
export type OpenImagePrompt = (
  adapter: string,
  encoder: string,
  owned: AsyncDisposableStack,
  signal?: AbortSignal,
) => Promise<{ readonly tables: ReadonlyMap<string, TensorTable>; readonly encoder: FilePlace }>;

type Known = Omit<JobImagePrompt, "pictures">;

export class ImagePromptFiles implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #open: OpenImagePrompt | undefined;
  readonly #known = new Map<string, Known>();
  readonly #sources = new AsyncDisposableStack();

  /** `open`: absent where there are no files. */
  constructor(runtime: Runtime, open: OpenImagePrompt | undefined) {
    this.#runtime = runtime;
    this.#open = open;
  }

  /** What the job is told of its pictures; undefined where it names no adapter. Rejects with UsageError, and as SideNetworks.openImagePrompt. */
  async ofJob(job: FullJob, read: ReadFieldPicture, signal?: AbortSignal): Promise<JobImagePrompt | undefined> {
    const { ipAdapter, imageEncoder, ipImages = [] } = job;
    if (ipAdapter === undefined) return undefined;
    const known = await this.#files(ipAdapter, imageEncoder!, signal);
    const pictures: Float32Array[] = [];
    for (const [i, reference] of ipImages.entries()) {
      const picture = await read(imagePromptPicture(i), reference, signal);
      using _ = this.#runtime.ledger.reserve(
        "ram",
        seeingBytes(picture, known.network),
        "a picture, until an encoder sees it",
      );
      pictures.push(seenPicture(picture, known.network));
    }
    return { ...known, pictures };
  }

  async #files(adapter: string, encoder: string, signal?: AbortSignal): Promise<Known> {
    if (!this.#open) {
      const problem = "files can't be read here (found one, allowed none)";
      throw new UsageError({ code: "E_JOB", subject: "ipAdapter", problem, next: "leave it out" });
    }
    await using owned = new AsyncDisposableStack();
    const place = await this.#open(adapter, encoder, owned, signal);
    const { checkpoint } = this.#runtime;
    const opened = await checkpoint.openImagePrompt({ subject: adapter, tables: place.tables }, place.encoder, {
      ...{ sources: owned, signal },
    });
    const stamps = [...opened.adapter.values(), ...opened.encoder.values()].map(({ source: { file, name } }) =>
      JSON.stringify([file?.path ?? name, file?.stamp]),
    );
    const key = JSON.stringify([adapter, encoder, ...new Set(stamps)]);
    const known = this.#known.get(key);
    if (known) return known;
    const number = this.#known.size + 1;
    const fresh = { network: opened.network, encoder: `image-encoder-${number}`, adapter: `ip-adapter-${number}` };
    this.#runtime.provide(fresh.encoder, new TableBlocks(fresh.encoder, opened.encoder));
    this.#runtime.provide(fresh.adapter, new TableBlocks(fresh.adapter, opened.adapter));
    this.#known.set(key, fresh);
    this.#sources.use(owned.move());
    return fresh;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sources.disposeAsync();
  }
}
