/** @file What the interactive loop remembers: the settings, the open model, the last prompt. */
import { existsSync } from "node:fs";
import path from "node:path";
import { printable } from "../errors.ts";
import type { Budgets, OpenRequest } from "../job/checked.ts";
import type { Engine, PlanReport } from "../job/types.ts";
import { modelNamed } from "../library/model-name.ts";
import { ARTIFACT_BASE, ARTIFACT_NAME } from "../library/published-artifact.ts";
import { type CliContext, Interrupted } from "../terminal/context.ts";
import { keepPreview } from "../terminal/kept-preview.ts";
import { KeptState, keepAndTell, keptText } from "../terminal/kept-state.ts";
import {
  type JobSettings,
  jobSettingsOf,
  type OptionValues,
  openRequestOf,
  planJobOf,
  previewOf,
  saveEveryOf,
} from "../terminal/options.ts";
import { checkNextOutput, largestPngBytes, requireFreeDisk, savePicture } from "../terminal/output-file.ts";
import { readSettings } from "../terminal/picture-settings.ts";
import { Progress } from "../terminal/progress.ts";

export class Session implements AsyncDisposable {
  /** Of the images to come. */
  job: JobSettings;
  readonly progress: Progress;
  lastPrompt: string | undefined;
  readonly #context: CliContext;
  readonly #saveEvery: number | undefined;
  #request: OpenRequest;
  #engine: Engine | undefined;

  /** `options` as commander read them. */
  constructor(context: CliContext, options: OptionValues) {
    this.#context = context;
    this.progress = new Progress(context, previewOf(options));
    this.job = jobSettingsOf(options);
    this.#saveEvery = saveEveryOf(options);
    this.#request = openRequestOf(options);
    if (this.#request.artifact === undefined && existsSync(path.join(context.cwd, ARTIFACT_NAME))) {
      const { model = ARTIFACT_BASE } = this.#request;
      this.#request = { ...this.#request, model, artifact: path.join(context.cwd, ARTIFACT_NAME) };
      this.progress.say(`Found ${ARTIFACT_NAME}: laying it over ${model} (this may take 2 to 5 minutes).`);
    }
  }

  get modelName(): string {
    return this.#request.model ?? "demo";
  }

  get budgets(): Budgets {
    return this.#request.budgets ?? {};
  }

  /** Opens the model of the settings in place of the open one, which is closed first: there may be no room for two. */
  async open(signal: AbortSignal): Promise<void> {
    await this[Symbol.asyncDispose]();
    const onEvent = this.progress.load.bind(this.progress);
    try {
      this.#engine = await this.#context.openEngine({ ...this.#request, signal, onEvent });
    } finally {
      this.progress.clear();
    }
  }

  /** Changes the model ("demo": the embedded one, without artifact); on failure the old one stays, and the error is thrown. */
  async changeModel(model: string, signal: AbortSignal): Promise<void> {
    const before = this.#request;
    // What goes with one file alone: its config files, and what lent it parts.
    const kept = { ...before, config: undefined, base: undefined };
    const after =
      model === "demo" ? { ...kept, model: undefined, artifact: undefined, vae: undefined } : { ...kept, model };
    // Of a name that is mistyped nothing is closed.
    await this.#context.checkModel(after);
    this.#request = after;
    try {
      await this.open(signal);
    } catch (error) {
      this.#request = before;
      throw error;
    }
  }

  /** The settings and the prompt that a picture says; the model stays. Returns what to print. Rejects with ArtifactError `E_NO_SETTINGS`. */
  async loadSettings(file: string, signal: AbortSignal): Promise<string> {
    const { tool, job, facts, notes } = await readSettings(this.#context, file, signal);
    // The prompt is what its template has come to; the next one is typed.
    const { prompt, ...settings } = job;
    const drawn = {
      template: undefined,
      negativeTemplate: undefined,
      template2: undefined,
      negativeTemplate2: undefined,
      hiresTemplate: undefined,
      hiresNegativeTemplate: undefined,
    };
    this.job = { ...settings, ...drawn };
    this.lastPrompt = prompt ?? this.lastPrompt;
    const same = facts.model === undefined || facts.model === modelNamed(this.modelName).model;
    const model = same ? [] : [`Its model was ${facts.model}, this is ${this.modelName}.`];
    const lines = [
      `Settings of ${tool}${prompt === undefined ? ", without a prompt" : `: ${prompt}`}`,
      ...model,
      ...notes,
    ];
    return lines.map(printable).join("\n");
  }

  /** Other budgets from the next image on; on failure the old ones stay, and the error is thrown. */
  async changeBudgets(changed: Budgets): Promise<void> {
    await this.#engine?.setBudgets(changed);
    this.#request = { ...this.#request, budgets: { ...this.budgets, ...changed } };
  }

  /** What the next image would take. */
  async plan(signal: AbortSignal): Promise<PlanReport> {
    const engine = await this.#opened(signal);
    return await engine.plan(planJobOf(this.job));
  }

  /** Makes one image and saves it as the next free output_NNN.png. Returns the file's name. */
  async paint(prompt: string, signal: AbortSignal): Promise<string> {
    this.lastPrompt = prompt;
    const { cwd } = this.#context;
    await checkNextOutput(cwd);
    const engine = await this.#opened(signal);
    const { defaultWidth, defaultHeight } = engine.info;
    const { negativePrompt = "", width = defaultWidth, height = defaultHeight } = this.job;
    await requireFreeDisk(cwd, cwd, largestPngBytes({ width, height }, prompt.length + negativePrompt.length));
    const job = { ...this.job, prompt };
    const kept = new KeptState(this.#context, {
      ...{ info: engine.info, request: this.#request, job, target: undefined },
      everySteps: this.#saveEvery,
    });
    try {
      for await (const event of engine.generate(job, { ...this.progress.asked, states: true, signal })) {
        this.progress.generate(event);
        await kept.observe(event);
        if (event.type !== "image") continue;
        const { shown } = await savePicture(cwd, undefined, event, kept.output);
        await kept.discard();
        return shown;
      }
    } catch (error) {
      // What stopped the picture is told, whatever becomes of this.
      const say = (line: string) => this.progress.say(line);
      await keepAndTell(kept, { kept: (state) => say(keptText(state)), say });
      await keepPreview(this.#context, this.progress, 0, { first: kept.output }).catch(() => {});
      throw error;
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

  async #opened(signal: AbortSignal): Promise<Engine> {
    if (!this.#engine) await this.open(signal);
    if (!this.#engine) throw new Error("the engine did not open");
    return this.#engine;
  }
}
