/** @file What the interactive loop remembers: the settings, the open model, the last prompt. */
import { existsSync } from "node:fs";
import path from "node:path";
import type { BudgetOptions, Engine, PlanReport } from "../engine-types.ts";
import { type CliContext, Interrupted } from "../terminal/context.ts";
import { budgetsOf, drawSeed, type ImageOptions } from "../terminal/options.ts";
import { writeNextOutput } from "../terminal/output-file.ts";
import { Progress } from "../terminal/progress.ts";

/** The published loader's artifact: used when it lies in the working folder ... */
export const ARTIFACT_NAME = "Marius_V18_SDXL.lzr2";
/** ... over this model. */
export const ARTIFACT_BASE = "stabilityai/stable-diffusion-xl-base-1.0";

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

export class Session implements AsyncDisposable {
  readonly settings: Mutable<ImageOptions>;
  readonly progress: Progress;
  lastPrompt: string | undefined;
  readonly #context: CliContext;
  #engine: Engine | undefined;

  constructor(context: CliContext, options: ImageOptions) {
    this.#context = context;
    this.progress = new Progress(context);
    this.settings = { ...options };
    if (options.artifact === undefined && existsSync(path.join(context.cwd, ARTIFACT_NAME))) {
      this.settings.artifact = path.join(context.cwd, ARTIFACT_NAME);
      this.settings.model ??= ARTIFACT_BASE;
      this.progress.say(
        `Found ${ARTIFACT_NAME}: laying it over ${this.settings.model} (this may take 2 to 5 minutes).`,
      );
    }
  }

  get modelName(): string {
    return this.settings.model ?? "demo";
  }

  /** Opens the model of the settings in place of the open one, which is closed first: there may be no room for two. */
  async open(signal: AbortSignal): Promise<void> {
    await this[Symbol.asyncDispose]();
    const { model, artifact, store, backend, adapter, precision, compat } = this.settings;
    const onEvent = this.progress.load.bind(this.progress);
    try {
      const budgets = budgetsOf(this.settings);
      const options = { model, artifact, store, backend, adapter, precision, compat, budgets, signal, onEvent };
      this.#engine = await this.#context.openEngine(options);
    } finally {
      this.progress.clear();
    }
  }

  /** Changes the model ("demo": the embedded one, without artifact); on failure the old one stays, and the error is thrown. */
  async changeModel(model: string, signal: AbortSignal): Promise<void> {
    const before = { ...this.settings };
    this.settings.model = model === "demo" ? undefined : model;
    if (model === "demo") this.settings.artifact = undefined;
    try {
      await this.open(signal);
    } catch (error) {
      Object.assign(this.settings, before);
      throw error;
    }
  }

  /** Other budgets from the next image on; on failure the old ones stay, and the error is thrown. */
  async changeBudgets(budgets: BudgetOptions): Promise<void> {
    await this.#engine?.setBudgets(budgets);
    Object.assign(this.settings, budgets);
  }

  /** What the next image would take. */
  async plan(signal: AbortSignal): Promise<PlanReport> {
    if (!this.#engine) await this.open(signal);
    const { steps, guidance, width, height } = this.settings;
    return await this.#engine!.plan({ steps, guidance, width, height });
  }

  /** Makes one image and saves it as the next free output_NNN.png. Returns the file's name. */
  async paint(prompt: string, signal: AbortSignal): Promise<string> {
    this.lastPrompt = prompt;
    if (!this.#engine) await this.open(signal);
    const { negative, seed, steps, guidance, width, height } = this.settings;
    const job = { prompt, negativePrompt: negative, seed: seed ?? drawSeed(), steps, guidance, width, height, signal };
    try {
      for await (const event of this.#engine!.generate(job)) {
        this.progress.generate(event);
        if (event.type === "image") return await writeNextOutput(this.#context.cwd, event.png);
      }
    } finally {
      this.progress.clear();
    }
    throw signal.aborted ? new Interrupted() : new Error("the engine ended without an image");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    await engine?.[Symbol.asyncDispose]();
  }
}
