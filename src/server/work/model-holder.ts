/** @file The one model that a worker has open, and those that it could open in its place. */
import type { Engine, EngineInfo } from "../../job/types.ts";
import type { Assets } from "../pictures/assets.ts";
import type { SavedStates } from "./saved-states.ts";
import { SharedPasses } from "./shared-passes.ts";

/** A model that is open: its engine, and where the states of its unfinished pictures lie. */
export interface OpenedModel {
  readonly engine: Engine;
  readonly states: SavedStates;
}

export type OpenModel = (model: string) => Promise<OpenedModel>;

export interface HeldModel extends OpenedModel {
  readonly model: string;
  /** Which of its jobs are drawn side by side. */
  readonly shared: SharedPasses;
}

export interface ModelHolderParts {
  readonly assets: Assets;
  readonly models: readonly string[];
  readonly open: OpenModel;
  readonly onOpened: (engine: Engine, model: string) => void;
}

export class ModelHolder implements AsyncDisposable {
  readonly #parts: ModelHolderParts;
  #models: readonly string[];
  #held: HeldModel | undefined;

  constructor(parts: ModelHolderParts) {
    this.#parts = parts;
    this.#models = parts.models;
  }

  /** Names of those that it can open. */
  get models(): readonly string[] {
    return this.#models;
  }

  /** The name of the one that is open. */
  get model(): string | undefined {
    return this.#held?.model;
  }

  /** Of the one that is open. */
  get info(): EngineInfo | undefined {
    return this.#held?.engine.info;
  }

  /** Opens it where another is open: never two at once. Rejects where it can't be opened. */
  async hold(model: string): Promise<HeldModel> {
    if (this.#held?.model === model) return this.#held;
    await this.close();
    const opened = await this.#parts.open(model);
    this.#held = { ...opened, model, shared: new SharedPasses(opened.engine, this.#parts.assets) };
    this.#parts.onOpened(opened.engine, model);
    return this.#held;
  }

  /** It can't be opened here any more. Throws why, where no model is left. */
  forget(model: string, why: unknown): void {
    this.#models = this.#models.filter((name) => name !== model);
    if (this.#models.length === 0) throw why;
  }

  /** For the next `hold` to open anew. */
  async close(): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    await held?.engine[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
