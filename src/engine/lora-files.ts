/** @file The adapters that jobs ask for, by flag or in the prompt: each file opened once, for as long as the engine. */
import { sha256 } from "#hash";
import { type OpenedAdapter, openAdapter } from "../adapters/adapter.ts";
import { readAdapterFile } from "../adapters/adapter-file.ts";
import { AdapterSet } from "../adapters/adapter-set.ts";
import { adviceText, followsAdvice, type SamplingAdvice, samplingAdvice } from "../adapters/few-steps.ts";
import { LayerNames } from "../adapters/layer-names.ts";
import { UsageError } from "../errors.ts";
import type { GenerateEvent } from "../job/events.ts";
import type { FullJob } from "../job/job.ts";
import { type LoraUse, MAX_LORAS } from "../job/lora-use.ts";
import type { JobAdapters } from "../pipeline/job-adapters.ts";
import { lorasOfPrompt } from "../pipeline/prompt-loras.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import type { ByteSource } from "../source/source.ts";

/**
 * Opens a file that is a path, or a name in the folder of LoRAs. Who asked disposes of it. Rejects with UsageError `E_LORA`, or as files do.
 * @param byName it stands in a prompt, and is no path whatever it looks like
 */
export type OpenLora = (reference: string, byName: boolean, signal?: AbortSignal) => Promise<ByteSource>;

interface KnownFile extends OpenedAdapter {
  /** As A1111 abbreviates it. */
  readonly hash: string;
  readonly advice: SamplingAdvice | undefined;
}

/** A job's adapters, and what is told of them. */
export interface OpenedLoras {
  readonly adapters: JobAdapters;
  /** "fur: 0123456789ab, other: ba9876543210", as A1111 records them. */
  readonly hashes: string;
  readonly notes: readonly string[];
  readonly events: readonly Extract<GenerateEvent, { type: "lora" }>[];
}

/** Sets whose tensors are kept by name: their adapters' gains, if they have some, are not made again. */
const SETS_KEPT = 4;

export class LoraFiles implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #open: OpenLora | undefined;
  readonly #files = new Map<string, KnownFile>();
  readonly #sets = new Map<string, AdapterSet>();
  readonly #sources = new AsyncDisposableStack();
  #names: LayerNames | undefined;

  /** `open`: absent where there are no files. */
  constructor(runtime: Runtime, open: OpenLora | undefined) {
    this.#runtime = runtime;
    this.#open = open;
  }

  /**
   * Those that the job names, then those of its prompt, provided to the runtime; undefined where there are none. A file that was changed is another
   * one. Rejects with UsageError `E_LORA`, and as openAdapter does.
   */
  async ofJob(job: FullJob, signal?: AbortSignal): Promise<OpenedLoras | undefined> {
    const { loras = [], prompt, promptSyntax } = job;
    const asked = [
      ...loras.map((use) => ({ use, byName: false })),
      ...(promptSyntax === "a1111" ? lorasOfPrompt(prompt) : []).map((use) => ({ use, byName: true })),
    ];
    if (asked.length === 0) return undefined;
    if (asked.length > MAX_LORAS) {
      const problem = `too many of them (found ${asked.length}, allowed ${MAX_LORAS})`;
      throw new UsageError({ code: "E_LORA", subject: "loras", problem, next: "take some away" });
    }
    const files: KnownFile[] = [];
    for (const { use, byName } of asked) files.push(await this.#file(use, byName, signal));
    const set = this.#setOf(files);
    this.#runtime.adapters.provide(set);
    const told = new Map(asked.map(({ use }, i) => [nameOf(use), files[i]!] as const));
    return {
      adapters: { set, uses: asked.map(({ use }) => use) },
      hashes: [...told].map(([name, { hash }]) => `${name}: ${hash}`).join(", "),
      events: asked.map(({ use: { file } }, i) => {
        const { hash, report } = files[i]!;
        const { kinds, tensors, matched, unmatched } = report;
        return { type: "lora", file, hash, kinds, tensors, matched, unmatched };
      }),
      notes: [
        ...[...told].flatMap(([name, { report }]) => reportNotes(name, report)),
        ...files.flatMap(({ advice }) => (advice && !followsAdvice(job, advice) ? [adviceText(advice)] : [])),
        ...(this.#runtime.checkpoint.refiner ? ["LoRAs change the base model: the refiner draws without them"] : []),
      ],
    };
  }

  async #file({ file }: LoraUse, byName: boolean, signal?: AbortSignal): Promise<KnownFile> {
    if (!this.#open) {
      const problem = "files can't be read here (found one, allowed none)";
      throw new UsageError({ code: "E_LORA", subject: file, problem, next: "leave it out" });
    }
    await using opened = new AsyncDisposableStack();
    const source = opened.use(await this.#open(file, byName, signal));
    const key = JSON.stringify([source.file?.path ?? file, source.file?.stamp]);
    const known = this.#files.get(key);
    if (known) return known;
    const { checkpoint } = this.#runtime;
    this.#names ??= new LayerNames(checkpoint.family.adapterParts(checkpoint));
    const read = await readAdapterFile(source, signal);
    const adapter = await openAdapter(read, this.#names, signal);
    const hash = (read.metadata.get("sshs_model_hash") ?? (await tensorsHash(source, signal))).slice(0, HASH_CHARS);
    const fresh = { ...adapter, hash, advice: samplingAdvice(source.name, read.metadata) };
    this.#files.set(key, fresh);
    this.#sources.use(opened.move());
    return fresh;
  }

  #setOf(files: readonly KnownFile[]): AdapterSet {
    const key = JSON.stringify(files.map(({ adapter }) => adapter.id));
    const { components } = this.#runtime.checkpoint;
    const set =
      this.#sets.get(key) ??
      new AdapterSet(
        files.map(({ adapter }) => adapter),
        (component) => components.get(component)?.table,
      );
    this.#sets.delete(key);
    this.#sets.set(key, set);
    for (const oldest of this.#sets.keys()) if (this.#sets.size > SETS_KEPT) this.#sets.delete(oldest);
    return set;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sources.disposeAsync();
  }
}

/** A1111's `shorthash`. */
const HASH_CHARS = 12;
const PIECE_BYTES = 1024 ** 2;
/** Of a safetensors file: the header's length comes first. */
const LENGTH_BYTES = 8;

/** SHA-256 of what follows a safetensors file's header: A1111's hash of LoRAs, which their metadata doesn't change. */
async function tensorsHash(source: ByteSource, signal?: AbortSignal): Promise<string> {
  const hash = sha256();
  const length = new Uint8Array(LENGTH_BYTES);
  await source.read(0, length, signal);
  const from = LENGTH_BYTES + Number(new DataView(length.buffer).getBigUint64(0, true));
  const memory = new Uint8Array(PIECE_BYTES);
  for (let at = from; at < source.byteLength; at += memory.length) {
    const piece = memory.subarray(0, Math.min(memory.length, source.byteLength - at));
    await source.read(at, piece, signal);
    hash.update(piece);
  }
  return hash.digestHex();
}

/** A file's name without folder and ending, and without what would break A1111's list apart. */
function nameOf({ file }: LoraUse): string {
  const [last] = file.split(/[\\/]/).slice(-1);
  return last!.replace(/\.safetensors$/i, "").replace(/[:,]/g, "");
}

/** What of a file is not used. */
function reportNotes(name: string, { tensors, unmatched, twins }: OpenedAdapter["report"]): string[] {
  const [first] = unmatched;
  const notes: string[] = [];
  if (first !== undefined) {
    const what = `${unmatched.length} of its ${tensors} tensors are of layers that the model has not, the first ${first}`;
    notes.push(`${name}: ${what}`);
  }
  if (twins.length > 0) {
    const what = `${twins.length} of its ${tensors} tensors are passed over: it has their layers by diffusers' names, too`;
    notes.push(`${name}: ${what}`);
  }
  return notes;
}
