/** @file Imports into the block store that a page asked for: one after the other, each with its progress, and a way to stop it; what was done stays. */
import { randomUUID } from "node:crypto";
import { TurnQueue } from "../../engine/turn-queue.ts";
import type { LibraryHost } from "../../library/host.ts";
import { type ImportModelRequest, importNamedModel } from "../../library/import.ts";
import type { ModelParts } from "../../library/model-files.ts";
import { failureOf } from "../http/failures.ts";
import type { JobError } from "../queue/job-record.ts";

export interface ImportState {
  readonly id: string;
  readonly model: string;
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled";
  readonly doneBytes: number;
  /** 0: not known yet. */
  readonly totalBytes: number;
  readonly error?: JobError;
  /** As --model names what came of it: store:ID. */
  readonly result?: string;
}

/** The latest ones. */
const MAX_KEPT = 20;

export class Imports {
  readonly #library: LibraryHost;
  readonly #store: string | undefined;
  readonly #closing: AbortSignal;
  readonly #turns = new TurnQueue();
  readonly #states = new Map<string, ImportState>();
  readonly #stops = new Map<string, AbortController>();

  /** `store`: its folder; undefined: the user's own. */
  constructor(library: LibraryHost, store: string | undefined, closing: AbortSignal) {
    this.#library = library;
    this.#store = store;
    this.#closing = closing;
  }

  /** The latest first. */
  get all(): readonly ImportState[] {
    return [...this.#states.values()].reverse();
  }

  /** Begins one; one of the same model that is open stands for it. `parts`: where its files are, if not by its name, and what stands in for some. */
  begin(model: string, parts: ModelParts & { readonly model?: string | undefined } = {}): ImportState {
    const open = this.all.find(
      (each) => each.model === model && (each.state === "waiting" || each.state === "running"),
    );
    if (open) return open;
    const begun: ImportState = { id: randomUUID(), model, state: "waiting", doneBytes: 0, totalBytes: 0 };
    this.#states.set(begun.id, begun);
    const stop = new AbortController();
    this.#stops.set(begun.id, stop);
    void this.#run(begun, { model, ...parts }, AbortSignal.any([stop.signal, this.#closing]));
    for (const { id, state } of [...this.#states.values()]) {
      if (this.#states.size > MAX_KEPT && state !== "waiting" && state !== "running") this.#states.delete(id);
    }
    return begun;
  }

  /** Undefined: there is no such import. */
  cancel(id: string): ImportState | undefined {
    this.#stops.get(id)?.abort();
    const state = this.#states.get(id);
    if (state?.state === "waiting") this.#change(id, { state: "cancelled" });
    return this.#states.get(id);
  }

  async #run(
    { id }: ImportState,
    parts: Pick<ImportModelRequest, "model" | keyof ModelParts>,
    signal: AbortSignal,
  ): Promise<void> {
    using _ = await this.#turns.take();
    try {
      signal.throwIfAborted();
      this.#change(id, { state: "running" });
      const { id: stored, plainBytes } = await importNamedModel(
        this.#library,
        { ...parts, packed: "auto", store: this.#store },
        {
          signal,
          onEvent: (event) => {
            if (event.type !== "progress") return;
            this.#change(id, { doneBytes: event.doneBytes, totalBytes: event.totalBytes });
          },
        },
      );
      this.#change(id, { state: "done", doneBytes: plainBytes, totalBytes: plainBytes, result: `store:${stored}` });
    } catch (error) {
      const { code, message } = failureOf(error);
      this.#change(id, signal.aborted ? { state: "cancelled" } : { state: "failed", error: { code, message } });
    } finally {
      this.#stops.delete(id);
    }
  }

  #change(id: string, changed: Partial<ImportState>): void {
    const before = this.#states.get(id);
    if (before) this.#states.set(id, { ...before, ...changed });
  }
}
