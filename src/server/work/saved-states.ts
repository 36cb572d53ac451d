/** @file What running jobs have come to, saved now and then so that another claim goes on from it (the file of job/resume-file.ts). */
import type { OpenRequest } from "../../job/checked.ts";
import type { DrawnState } from "../../job/events.ts";
import { encodeUnfinished, readUnfinished, type UnfinishedPicture } from "../../job/resume-file.ts";
import type { EngineInfo, GenerateJob } from "../../job/types.ts";
import { memorySource } from "../../source/memory.ts";
import { SOLVAY_VERSION } from "../../version.ts";
import type { PictureStore } from "../pictures/picture-store.ts";

export interface SavedStatesOptions {
  readonly store: PictureStore;
  readonly request: OpenRequest;
  readonly info: EngineInfo;
  /** Differs where another model would be opened. */
  readonly modelContent: string | undefined;
}

export class SavedStates {
  readonly #options: SavedStatesOptions;

  constructor(options: SavedStatesOptions) {
    this.#options = options;
  }

  /** Rejects where the store takes it not. */
  async save(id: string, job: GenerateJob, state: DrawnState, steps: number): Promise<void> {
    const { store, request, modelContent } = this.#options;
    const picture: UnfinishedPicture = {
      ...{ version: SOLVAY_VERSION, job, request, modelContent, computed: this.#computed, pictures: {}, cwd: "/" },
      ...{ output: `${id}.png`, steps },
    };
    await store.put(nameOf(id), encodeUnfinished(picture, state));
  }

  /** The state that the job can go on from to the same pixels; undefined where there is none. */
  async read(id: string, job: GenerateJob): Promise<DrawnState | undefined> {
    const { store, modelContent } = this.#options;
    const bytes = await store.get(nameOf(id)).catch(() => undefined);
    if (!bytes) return undefined;
    // A damaged file is none: the job begins anew.
    const saved = await readUnfinished(memorySource(nameOf(id), bytes)).catch(() => undefined);
    if (!saved || saved.modelContent !== modelContent || saved.version !== SOLVAY_VERSION) return undefined;
    const same = sameJson(saved.job, job) && sameJson(saved.computed, this.#computed);
    return same ? saved.state : undefined;
  }

  get #computed(): UnfinishedPicture["computed"] {
    const { model, backend, adapter, precision } = this.#options.info;
    return { model, backend, precision, ...(adapter !== undefined && { adapter }) };
  }
}

/** Of a job that is over. What can't be removed now is pruned later (prune.ts). */
export async function removeState(store: PictureStore, id: string): Promise<void> {
  await store.remove(nameOf(id));
}

function nameOf(id: string): string {
  return `unfinished/${id}.solvay`;
}

function sameJson(a: object, b: object): boolean {
  const text = (value: object) => JSON.stringify(Object.entries(value).toSorted(([x], [y]) => (x < y ? -1 : 1)));
  return text(a) === text(b);
}
