/** @file The adapters that jobs ask for, by flag or in the prompt: each file opened once, for as long as the engine. */
import { sha256 } from "#hash";
import { type OpenedAdapter, openAdapter } from "../adapters/adapter.ts";
import { isTorchSource, readAdapterFile } from "../adapters/adapter-file.ts";
import { AdapterSet } from "../adapters/adapter-set.ts";
import { adviceText, followsAdvice, type SamplingAdvice, samplingAdvice } from "../adapters/few-steps.ts";
import { quoted } from "../adapters/kinds/adapted-layer.ts";
import { LayerNames } from "../adapters/layer-names.ts";
import { UsageError } from "../errors.ts";
import type { GenerateEvent } from "../job/events.ts";
import type { FullJob } from "../job/job.ts";
import { type LoraUse, MAX_LORAS } from "../job/lora-use.ts";
import type { JobAdapters, UsedAdapters } from "../pipeline/job-adapters.ts";
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
  /** Of the first pass. */
  readonly adapters: JobAdapters;
  /** Of a second pass that has others. */
  readonly hiresAdapters?: JobAdapters | undefined;
  /** "fur: 0123456789ab, other: ba9876543210", as A1111 records them. */
  readonly hashes: string;
  readonly notes: readonly string[];
  readonly events: readonly Extract<GenerateEvent, { type: "lora" }>[];
}

interface Asked {
  readonly use: LoraUse;
  /** It stands in a prompt. */
  readonly byName: boolean;
}

type Found = Asked & { readonly file: KnownFile };

/** Sets whose tensors are kept by name: their adapters' gains, if they have some, are not made again. */
const SETS_KEPT = 12;

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
    const { first, second } = askedBy(job);
    if (first.length === 0 && !second?.length) return undefined;
    const open = async (asked: readonly Asked[]): Promise<Found[]> => {
      const found: Found[] = [];
      for (const each of asked) found.push({ ...each, file: await this.#file(each.use, each.byName, signal) });
      return found;
    };
    const own = await open(first);
    const others = second && (await open(second));
    const all = [...own, ...(others ?? [])];
    const told = new Map(all.map(({ use, file }) => [nameOf(use), file] as const));
    const files = new Map(all.map(({ use, byName, file }) => [`${byName} ${use.file}`, { use, file }] as const));
    const advised = new Set(all.map(({ file }) => file.advice).filter((advice) => advice !== undefined));
    return {
      ...(others ? this.#ofPasses(own, others) : { adapters: this.#used(own) }),
      hashes: [...told].map(([name, { hash }]) => `${name}: ${hash}`).join(", "),
      events: [...files.values()].map(({ use, file: { hash, report } }) => {
        const { kinds, tensors, matched, unmatched } = report;
        return { type: "lora", file: use.file, hash, kinds, tensors, matched, unmatched };
      }),
      notes: [
        ...[...told].flatMap(([name, { report }]) => reportNotes(name, report)),
        ...[...advised].flatMap((advice) => (followsAdvice(job, advice) ? [] : [adviceText(advice)])),
        ...(this.#runtime.checkpoint.refiner ? ["LoRAs change the base model: the refiner draws without them"] : []),
      ],
    };
  }

  /** Each pass's denoiser reads its own adapters alone; the encoders, which read both passes' prompts, those of both. */
  #ofPasses(first: readonly Found[], second: readonly Found[]): Pick<OpenedLoras, "adapters" | "hiresAdapters"> {
    // What both passes have is read once.
    const places: { readonly file: KnownFile; first?: LoraUse; second?: LoraUse }[] = first.map(({ use, file }) => ({
      file,
      first: use,
    }));
    for (const { use, file } of second) {
      const place = places.find((other) => other.file === file && !other.second);
      if (place) place.second = use;
      else places.push({ file, second: use });
    }
    const set = this.#setOf(places.map(({ file }) => file));
    this.#runtime.adapters.provide(set);
    const usesOf = (pass: "first" | "second") =>
      places.map((place) => place[pass] ?? { file: (place.first ?? place.second)!.file, weight: 0 });
    return {
      adapters: { ...this.#used(first), encoders: { set, uses: usesOf("first") } },
      hiresAdapters: { ...this.#used(second), encoders: { set, uses: usesOf("second") } },
    };
  }

  #used(found: readonly Found[]): UsedAdapters {
    const set = this.#setOf(found.map(({ file }) => file));
    this.#runtime.adapters.provide(set);
    return { set, uses: found.map(({ use }) => use) };
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

/** Of both passes; `second` undefined: as the first. Throws UsageError `E_LORA`. */
function askedBy(job: FullJob): { readonly first: readonly Asked[]; readonly second?: readonly Asked[] | undefined } {
  const { loras = [], hiresLoras, prompt, hiresPrompt, promptSyntax } = job;
  const ofPrompt = (text: string) => (promptSyntax === "a1111" ? lorasOfPrompt(text) : []);
  const asked = (named: readonly LoraUse[], text: string): readonly Asked[] => [
    ...named.map((use) => ({ use, byName: false })),
    ...ofPrompt(text).map((use) => ({ use, byName: true })),
  ];
  const first = asked(loras, prompt);
  const second = asked(hiresLoras ?? loras, hiresPrompt || prompt);
  const count = Math.max(first.length, second.length);
  if (count > MAX_LORAS) {
    const problem = `too many of them (found ${count}, allowed ${MAX_LORAS})`;
    throw new UsageError({ code: "E_LORA", subject: "loras", problem, next: "take some away" });
  }
  const isSame = job.hiresScale === undefined || JSON.stringify(second) === JSON.stringify(first);
  return { first, second: isSame ? undefined : second };
}

/** A1111's `shorthash`. */
const HASH_CHARS = 12;
const PIECE_BYTES = 1024 ** 2;
/** Of a safetensors file: the header's length comes first. */
const LENGTH_BYTES = 8;

/** SHA-256 of what follows a safetensors file's header: A1111's hash of LoRAs, which their metadata doesn't change. Of others: of all. */
async function tensorsHash(source: ByteSource, signal?: AbortSignal): Promise<string> {
  const hash = sha256();
  const length = new Uint8Array(LENGTH_BYTES);
  await source.read(0, length, signal);
  const isTorch = await isTorchSource(source, signal);
  const from = isTorch ? 0 : LENGTH_BYTES + Number(new DataView(length.buffer).getBigUint64(0, true));
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
  return last!.replace(/\.(?:safetensors|pt|ckpt|bin)$/i, "").replace(/[:,]/g, "");
}

/** What of a file is not used. */
function reportNotes(name: string, { tensors, unmatched, twins, excess }: OpenedAdapter["report"]): string[] {
  const [first] = unmatched;
  const notes: string[] = [];
  if (excess) {
    const what = `${excess.layers} of its layers are scaled by up to ${Number(excess.scale.toPrecision(3))} (alpha / rank)`;
    notes.push(`${name}: ${what}: the file may be damaged`);
  }
  if (first !== undefined) {
    const what = `${unmatched.length} of its ${tensors} tensors are of layers that the model has not, the first ${quoted(first)}`;
    notes.push(`${name}: ${what}`);
  }
  if (twins.length > 0) {
    const what = `${twins.length} of its ${tensors} tensors are passed over: it has their layers by diffusers' names, too`;
    notes.push(`${name}: ${what}`);
  }
  return notes;
}
