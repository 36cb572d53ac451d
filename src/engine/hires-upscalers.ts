/** @file Networks that enlarge pictures between a job's passes: opened from the files that jobs name, each once, for as long as the engine. */
import { UsageError } from "../errors.ts";
import type { FullJob } from "../job/job.ts";
import type { UpscalerShape } from "../models/job-shape.ts";
import type { UpscalerFile } from "../models/upscaler-file.ts";
import { UPSCALER_COMPONENT } from "../models/upscaling.ts";
import { hiresUpscaler } from "../pipeline/job-settings.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import type { ByteSource } from "../source/source.ts";
import { TableBlocks } from "../stream/blocks.ts";

/** A recognised network. Who asked disposes of `source`, which its weights are read from. */
export type OpenUpscaler = (
  reference: string,
  signal?: AbortSignal,
) => Promise<UpscalerFile & { readonly source: ByteSource }>;

export class HiresUpscalers implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #open: OpenUpscaler | undefined;
  readonly #known = new Map<string, UpscalerShape>();
  readonly #sources = new AsyncDisposableStack();

  /** `open`: absent where there are no files. */
  constructor(runtime: Runtime, open: OpenUpscaler | undefined) {
    this.#runtime = runtime;
    this.#open = open;
  }

  /**
   * What a job's second pass enlarges with, its weights provided to the runtime; undefined where it names no file. A file that was changed is
   * another one. Rejects with UsageError `E_JOB`, ArtifactError `E_UPSCALER` and as files do.
   */
  async ofJob(job: FullJob, signal?: AbortSignal): Promise<UpscalerShape | undefined> {
    if (job.hiresScale === undefined || hiresUpscaler(job) !== "network") return undefined;
    const reference = job.hiresUpscaler!;
    if (!this.#open) {
      const problem = "files can't be read here (allowed: latent, latent-nearest, lanczos)";
      throw new UsageError({ code: "E_JOB", subject: "hiresUpscaler", problem, next: "name one of those" });
    }
    const { source, config, table } = await this.#open(reference, signal);
    await using opened = new AsyncDisposableStack();
    opened.use(source);
    const key = JSON.stringify([source.file?.path ?? reference, source.file?.stamp]);
    const known = this.#known.get(key);
    if (known) return known;
    const number = this.#known.size + 1;
    const component = number === 1 ? UPSCALER_COMPONENT : `${UPSCALER_COMPONENT}-${number}`;
    this.#runtime.provide(component, new TableBlocks(component, table));
    const shape = { component, config };
    this.#known.set(key, shape);
    this.#sources.use(opened.move());
    return shape;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sources.disposeAsync();
  }
}
