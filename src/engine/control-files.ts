/** @file The ControlNets that jobs ask for: each opened once, its weights a component of the runtime, for as long as the engine. */
import type { TensorTable } from "../container/table.ts";
import { UsageError } from "../errors.ts";
import { type ControlUse, controlMode } from "../job/control-use.ts";
import type { FullJob } from "../job/job.ts";
import type { ControlNetwork } from "../models/control.ts";
import type { FilePlace } from "../models/file-place.ts";
import type { JobControl } from "../pipeline/job-controls.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import { BasedBlocks } from "../stream/based-blocks.ts";
import { type BlockReader, TableBlocks } from "../stream/blocks.ts";
import { type NetworkFile, networkFile } from "./model-hashes.ts";

/** Finds a file or a folder; `owned` gets what is opened. Rejects with UsageError `E_CONTROL`, or as files do. */
export type OpenControl = (reference: string, owned: AsyncDisposableStack, signal?: AbortSignal) => Promise<FilePlace>;

interface OpenedControls {
  readonly controls: readonly JobControl[];
  readonly files: readonly NetworkFile[];
}

interface Known extends Pick<JobControl, "component" | "network"> {
  readonly table: TensorTable;
}

export class ControlFiles implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #open: OpenControl | undefined;
  readonly #known = new Map<string, Known>();
  readonly #sources = new AsyncDisposableStack();

  /** `open`: absent where there are no files. */
  constructor(runtime: Runtime, open: OpenControl | undefined) {
    this.#runtime = runtime;
    this.#open = open;
  }

  /**
   * Those that the job names, their weights provided to the runtime; undefined where there are none. A file that was changed is another one. Rejects
   * with UsageError `E_CONTROL`, and as Checkpoint.openControl.
   */
  async ofJob({ controls }: FullJob, signal?: AbortSignal): Promise<OpenedControls | undefined> {
    if (!controls || controls.length === 0) return undefined;
    const opened: JobControl[] = [];
    const files: NetworkFile[] = [];
    for (const [i, use] of controls.entries()) {
      const { component, network, table } = await this.#file(use.file, signal);
      requireMode(use, network);
      opened.push({ use, component, network });
      files.push(...networkFile(`controls.${i}`, table));
    }
    return { controls: opened, files };
  }

  async #file(reference: string, signal?: AbortSignal): Promise<Known> {
    if (!this.#open) {
      const problem = "files can't be read here (found one, allowed none)";
      throw new UsageError({ code: "E_CONTROL", subject: reference, problem, next: "leave it out" });
    }
    await using owned = new AsyncDisposableStack();
    const place = await this.#open(reference, owned, signal);
    const { network, table, over } = await this.#runtime.checkpoint.openControl(place, { sources: owned, signal });
    const files = new Set(
      [...table.values()].map(({ source: { file, name } }) => JSON.stringify([file?.path ?? name, file?.stamp])),
    );
    const key = JSON.stringify([reference, ...files]);
    const known = this.#known.get(key);
    if (known) return known;
    const component = `control-${this.#known.size + 1}`;
    this.#runtime.provide(component, this.#blocks(component, table, over));
    const fresh = { component, network, table };
    this.#known.set(key, fresh);
    this.#sources.use(owned.move());
    return fresh;
  }

  /** `over`: see OpenedControl. */
  #blocks(component: string, table: TensorTable, over: string | undefined): BlockReader {
    if (over === undefined) return new TableBlocks(component, table);
    const { checkpoint } = this.#runtime;
    return new BasedBlocks(component, table, () => this.#runtime.reader(over), checkpoint.weightGraphs(over));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sources.disposeAsync();
  }
}

function requireMode(use: ControlUse, { modes, guesses = true }: ControlNetwork): void {
  if (use.guess && !guesses) {
    const problem = "it steers the prompts' answers alike, so there is no guess mode";
    throw new UsageError({ code: "E_CONTROL", subject: use.file, problem, next: "leave guess out (--control-guess)" });
  }
  const mode = controlMode(use);
  const [problem, next] =
    modes === undefined
      ? mode === undefined
        ? []
        : ["it looks at one kind of picture, and a mode was given", "leave the mode out (--control-mode)"]
      : mode === undefined
        ? ["it looks at several kinds of pictures, and none was named", "name it: --control-mode depth, canny, ..."]
        : mode >= modes
          ? [
              `it knows ${modes} kinds of pictures (found mode ${use.mode}, number ${mode})`,
              "name one of those, or take ProMax's file",
            ]
          : [];
  if (problem === undefined) return;
  throw new UsageError({ code: "E_CONTROL", subject: use.file, problem, next: next! });
}
