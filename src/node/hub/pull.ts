/** @file A model from the hub into the cache: what is needed and not there yet, checked, then named. */

import { mkdir, readFile, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { BudgetError, DeviceError, UsageError } from "../../errors.ts";
import type { PullDone, PullEvent, PullOptions } from "../../library/pull-events.ts";
import type { FileListing, ModelChooser } from "../../source/listing.ts";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { acquireLock } from "../disk/lock.ts";
import { type Environment, hubCacheDir, hubRepoDir, isHubId, isRevision } from "./cache.ts";
import { type Blob, downloadBlob, identifyBlob, resolvePath } from "./download.ts";
import { HubHttp, withRetries } from "./http.ts";
import { type HubListing, listModel } from "./listing.ts";
import { findCached } from "./offline.ts";
import { type HubSettings, hubSettings } from "./settings.ts";
import { Snapshot } from "./snapshot.ts";

export interface HubPullOptions extends PullOptions {
  readonly env: Environment;
  /** Which of a repository's files are needed. */
  readonly choose: ModelChooser;
  readonly clock?: Clock;
  /** Free bytes on the disk of a folder. */
  readonly freeBytes?: (folder: string) => Promise<number>;
}

/** Kept free for everything else on the disk. */
const SPARE_BYTES = 64 * 1024 ** 2;

/** Throws UsageError, ArtifactError, BudgetError or DeviceError, or the signal's reason; what was fetched until then is kept. */
export async function pullFromHub(id: string, options: HubPullOptions): Promise<PullDone> {
  const { env, revision = "main", variant = "auto", choose, onEvent } = options;
  requireNames(id, revision);
  const settings = await hubSettings(env);
  const { offlineBy, tokenNote } = settings;
  if (offlineBy) {
    const cached = await findCached(id, { env, revision, variant, choose, offlineBy });
    const done: PullDone = { type: "done", model: id, ...cached, downloadedBytes: 0, online: false };
    onEvent?.(done);
    return done;
  }
  if (tokenNote) onEvent?.({ type: "note", text: tokenNote });
  return await new Pull(id, revision, settings, options).run();
}

/** What a listing has that a model needs. */
interface Chosen {
  readonly blobs: readonly Blob[];
  readonly totalBytes: number;
}

class Pull {
  readonly #id: string;
  readonly #revision: string;
  readonly #settings: HubSettings;
  readonly #options: HubPullOptions;
  readonly #http: HubHttp;
  readonly #clock: Clock;
  readonly #emit: (event: PullEvent) => void;
  readonly #identified = new Map<string, Blob>();
  #doneBytes = 0;
  #totalBytes = 0;
  #downloadedBytes = 0;

  constructor(id: string, revision: string, settings: HubSettings, options: HubPullOptions) {
    this.#id = id;
    this.#revision = revision;
    this.#settings = settings;
    this.#options = options;
    this.#http = new HubHttp(settings);
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#emit = options.onEvent ?? (() => {});
  }

  async run(): Promise<PullDone> {
    const { signal, env } = this.#options;
    await using lock = await this.#lock();
    const listing = await withRetries(
      { what: this.#id, clock: this.#clock, signal, onRetry: this.#retry(this.#id) },
      () => listModel(this.#http, this.#id, this.#revision, signal),
    );
    const snapshot = new Snapshot(hubRepoDir(this.#id, env), listing.commit, this.#settings.symlinks);
    if ("refused" in lock) {
      // A cache that can't be written is good enough where all is in it.
      const there = await this.#whole(listing, snapshot);
      if (!there) throw readOnly(hubCacheDir(env), lock.refused);
      this.#plan(there, listing.commit, 0);
      return this.#report(there, snapshot, listing.commit);
    }
    const { commit } = listing;
    const chosen = await this.#choose(listing, snapshot, (blob) => this.#fetch(blob, snapshot, commit));
    this.#totalBytes = chosen.totalBytes;
    let missingBytes = 0;
    // Files of one content (both tokenizers have the same vocabulary) are one blob.
    for (const blob of new Map(chosen.blobs.map((blob) => [blob.id, blob])).values()) {
      missingBytes += blob.sizeBytes - (await snapshot.haveBytes(blob));
    }
    this.#plan(chosen, commit, missingBytes);
    await this.#requireSpace(missingBytes);

    this.#doneBytes = 0;
    for (const blob of chosen.blobs) {
      await this.#fetch(blob, snapshot, commit);
      this.#doneBytes += blob.sizeBytes;
    }
    await snapshot.seal(this.#revision);
    return this.#report(chosen, snapshot, commit);
  }

  /** What is needed, if all of it is in its place already. Writes nothing. */
  async #whole(listing: HubListing, snapshot: Snapshot): Promise<Chosen | undefined> {
    if (!(await snapshot.isSealed(this.#revision))) return undefined;
    const requirePublished = async (blob: Blob) => {
      if (!(await snapshot.isPublished(blob))) throw new NotPublished();
    };
    try {
      const chosen = await this.#choose(listing, snapshot, requirePublished);
      for (const blob of chosen.blobs) await requirePublished(blob);
      return chosen;
    } catch (error) {
      if (error instanceof NotPublished) return undefined;
      throw error;
    }
  }

  /** `bring`: puts a file that the choice reads into the snapshot. */
  async #choose(listing: HubListing, snapshot: Snapshot, bring: (blob: Blob) => Promise<void>): Promise<Chosen> {
    const { variant = "auto", choose } = this.#options;
    // What the choice reads is here before the rest is planned.
    const read = new Map<string, Blob>();
    const repository: FileListing = {
      name: this.#id,
      has: (name) => listing.files.has(name),
      readText: async (name) => {
        if (!listing.files.has(name)) return undefined;
        const blob = await this.#identify(name, listing);
        if (!read.has(name)) await bring(blob);
        read.set(name, blob);
        return await readFile(snapshot.filePath(name), "utf8");
      },
    };
    const { files } = await choose(repository, { variant });
    const blobs = [...read.values()];
    for (const name of new Set(files)) if (!read.has(name)) blobs.push(await this.#identify(name, listing));
    return { blobs, totalBytes: blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0) };
  }

  /** `refused`: why there can be none, in a cache that can't be written. */
  async #lock(): Promise<AsyncDisposable | (AsyncDisposable & { readonly refused: unknown })> {
    const { env, signal } = this.#options;
    const file = join(hubCacheDir(env), ".locks", basename(hubRepoDir(this.#id, env)), "solvay-pull.lock");
    const onWait = (owner: string) => this.#emit({ type: "wait", owner });
    return await acquireLock(file, { clock: this.#clock, signal, onWait }).catch((refused: unknown) => {
      if (!isReadOnly(refused)) throw refused;
      return { refused, [Symbol.asyncDispose]: async () => {} };
    });
  }

  #plan({ blobs, totalBytes }: Chosen, commit: string, missingBytes: number): void {
    const count = { files: blobs.length, totalBytes };
    this.#emit({ type: "plan", model: this.#id, revision: this.#revision, commit, ...count, missingBytes });
  }

  #report({ blobs, totalBytes }: Chosen, { path }: Snapshot, commit: string): PullDone {
    const found = { model: this.#id, commit, path, files: blobs.length, totalBytes };
    const done: PullDone = { type: "done", ...found, downloadedBytes: this.#downloadedBytes, online: true };
    this.#emit(done);
    return done;
  }

  /** Each file is asked about once. */
  async #identify(name: string, listing: HubListing): Promise<Blob> {
    const known = this.#identified.get(name);
    if (known) return known;
    const blob = await identifyBlob(listing.files.get(name) ?? { name }, this.#request(name, listing.commit));
    this.#identified.set(name, blob);
    return blob;
  }

  #request(name: string, commit: string) {
    const { signal } = this.#options;
    const path = resolvePath(this.#id, commit, name);
    const what = `${this.#id}/${name}`;
    return { http: this.#http, clock: this.#clock, signal, path, what, onRetry: this.#retry(name) };
  }

  #retry(file: string) {
    return (problem: string, waitMs: number) => this.#emit({ type: "retry", file, problem, waitMs });
  }

  /** Does nothing for a file that is in its place. */
  async #fetch(blob: Blob, snapshot: Snapshot, commit: string): Promise<void> {
    if (await snapshot.publish(blob, false)) return;
    const { name: file, sizeBytes: fileBytes } = blob;
    let last = 0;
    await downloadBlob(blob, snapshot.blobPath(blob), {
      ...this.#request(file, commit),
      commit,
      onStart: (haveBytes) => {
        last = haveBytes;
        this.#emit({ type: "file", file, fileBytes, haveBytes });
      },
      onBytes: (haveBytes) => {
        this.#downloadedBytes += Math.max(0, haveBytes - last);
        last = haveBytes;
        const [doneBytes, totalBytes] = [this.#doneBytes + haveBytes, this.#totalBytes];
        if (totalBytes > 0) this.#emit({ type: "progress", file, doneBytes, totalBytes });
      },
    });
    await snapshot.publish(blob, true);
  }

  async #requireSpace(missingBytes: number): Promise<void> {
    const folder = hubCacheDir(this.#options.env);
    await mkdir(folder, { recursive: true });
    const free = await (this.#options.freeBytes ?? freeBytes)(folder);
    if (missingBytes === 0 || free >= missingBytes + SPARE_BYTES) return;
    throw new BudgetError({
      code: "E_DISK_FULL",
      subject: folder,
      problem: `needs ${megabytes(missingBytes + SPARE_BYTES)}, ${megabytes(free)} are free`,
      next: "free some space, or set HF_HOME to a folder on a larger disk",
    });
  }
}

/** A file that is needed is not in the snapshot. Never leaves this file. */
class NotPublished extends Error {}

function isReadOnly(error: unknown): boolean {
  return ["EROFS", "EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "");
}

function readOnly(cache: string, cause: unknown): DeviceError {
  return new DeviceError({
    code: "E_CACHE_READ_ONLY",
    subject: cache,
    problem: "the model is not whole in this cache, and the cache can't be written",
    next: "set HF_HOME to a folder that you can write to",
    cause,
  });
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6).toLocaleString("en-US")} MB`;
}

function requireNames(id: string, revision: string): void {
  if (!isHubId(id)) {
    throw new UsageError({
      code: "E_HUB_ID",
      subject: id,
      problem: "not the name of a model on the hub",
      next: "give it as OWNER/NAME, such as stabilityai/stable-diffusion-xl-base-1.0",
    });
  }
  if (isRevision(revision)) return;
  const problem = `--revision ${JSON.stringify(revision.slice(0, 100))} is no branch, tag or commit`;
  throw new UsageError({ code: "E_USAGE", problem, next: "check --revision" });
}
