/** @file An SDXL, opened: configs, tokenizers and the places of its weights, checked to belong together. */
import { JsonConfig, MAX_CONFIG_BYTES } from "../../checkpoint/json-config.ts";
import { parseSchedulerConfig, scheduleTypeName } from "../../checkpoint/scheduler-config.ts";
import type { ComponentRules } from "../../checkpoint/schema.ts";
import type { OpenWeightsOptions } from "../../checkpoint/weight-folder.ts";
import { ArtifactError } from "../../errors.ts";
import type { LatentColours } from "../../image/latent-preview.ts";
import type { Graph } from "../../ir/graph.ts";
import type { SchedulerConfig } from "../../sampler/training.ts";
import type { Folder } from "../../source/folder.ts";
import type { CutTexts } from "../../tokenizer/cut-text.ts";
import { vaeScaleFactor } from "../autoencoder.ts";
import type { Prompt, PromptText } from "../conditioning.ts";
import type { OpenedControl } from "../control.ts";
import type {
  ArtifactTarget,
  Checkpoint,
  Component,
  DescribedJob,
  Family,
  ModelDefaults,
  OpenOptions,
  Refiner,
} from "../family.ts";
import type { FilePlace } from "../file-place.ts";
import type { OpenedImagePrompt } from "../image-prompt.ts";
import type { JobShape } from "../job-shape.ts";
import { normalisedColours, SDXL_BASE_VAE, SDXL_LATENT_COLOURS } from "./base.ts";
import { componentsOf } from "./components.ts";
import { promptChunks, wordReader } from "./conditioning.ts";
import type { GivenWeights, SdxlConfigs, SdxlParts } from "./config.ts";
import { openSdxlControl } from "./control-file.ts";
import { MODEL_INDEX, SCHEDULER_CONFIG, type SdxlComponentId, type WeightFolder } from "./files.ts";
import { sdxlWeightGraphs } from "./graphs.ts";
import { openSdxlImagePrompt } from "./ip-adapter-file.ts";
import { SdxlJob } from "./job.ts";
import { parseModelIndex } from "./model-index.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";
import { SdxlRefiner } from "./refiner.ts";
import { rulesOf } from "./rules.ts";
import { openTokenizers, requireMatchingTokens } from "./tokenizers.ts";

export class SdxlCheckpoint implements Checkpoint {
  readonly parts: SdxlParts;
  readonly components: ReadonlyMap<string, Component>;
  readonly refiner: SdxlRefiner | undefined;
  readonly #owned: AsyncDisposable | undefined;

  constructor(
    parts: SdxlParts,
    components: ReadonlyMap<string, Component>,
    owned?: AsyncDisposable,
    refiner?: SdxlRefiner,
  ) {
    this.parts = parts;
    this.refiner = refiner;
    this.components = components;
    this.#owned = owned;
  }

  get family(): Family {
    return this.parts.family;
  }

  get name(): string {
    return this.parts.name;
  }

  get absent(): ReadonlyMap<string, string> {
    return this.parts.absent;
  }

  get notes(): readonly string[] {
    return this.parts.notes;
  }

  get pixelsPerCell(): number {
    return vaeScaleFactor(this.parts.configs.vae);
  }

  get inpaints(): boolean {
    const { unet, vae } = this.parts.configs;
    return unet.inChannels === 2 * vae.latentChannels + 1;
  }

  get defaults(): ModelDefaults {
    const side = this.parts.configs.unet.sampleSize * this.pixelsPerCell;
    return { width: side, height: side, sampler: this.parts.sampler };
  }

  get scheduler(): SchedulerConfig {
    return this.parts.scheduler;
  }

  get latentColours(): LatentColours | undefined {
    const { latentColours, latentChannels, latentStatistics, scalingFactor } = this.parts.configs.vae;
    if (latentColours || latentChannels !== SDXL_BASE_VAE.latentChannels) return latentColours;
    // Playground 2.5's are SDXL's, in a measure of their own.
    if (latentStatistics) return normalisedColours(SDXL_LATENT_COLOURS, latentStatistics, scalingFactor);
    // Another scale is another VAE, with channels of its own.
    return scalingFactor === SDXL_BASE_VAE.scalingFactor ? SDXL_LATENT_COLOURS : undefined;
  }

  get scheduleTitle(): string {
    return scheduleTypeName(this.parts.scheduler);
  }

  get zerosForAbsentPrompt(): boolean {
    return this.parts.zerosForAbsentPrompt;
  }

  isGuided(guidanceScale: number): boolean {
    return guidanceScale > 1;
  }

  get artifactTarget(): ArtifactTarget {
    return { component: "unet", schema: rulesOf(this.parts.configs, "unet").schema };
  }

  withWeights(weights: ReadonlyMap<string, Component>): SdxlCheckpoint {
    return new SdxlCheckpoint(this.parts, new Map([...this.components, ...weights]), undefined, this.refiner);
  }

  withRefiner(refiner: Refiner): SdxlCheckpoint {
    if (!(refiner instanceof SdxlRefiner)) throw new TypeError("a refiner of another family");
    refiner.requireFits(this.parts);
    return new SdxlCheckpoint(this.parts, this.components, undefined, refiner);
  }

  get maxClipSkip(): number {
    const { textEncoder, textEncoder2 } = this.parts.configs;
    return Math.min(textEncoder.layers, textEncoder2.layers) - 1;
  }

  promptChunks(prompt: PromptText): readonly Prompt[] {
    return promptChunks(this.parts, prompt);
  }

  cutText({ text, second = text, words }: Parameters<Checkpoint["cutText"]>[0]): CutTexts {
    const [tokenizer, tokenizer2] = [this.parts.tokenizer, this.parts.tokenizer2].map((each) =>
      wordReader(each, words),
    );
    const cut = { tokenizer: tokenizer!.cut(text), tokenizer_2: tokenizer2!.cut(second) };
    return Object.fromEntries(Object.entries(cut).flatMap(([name, text]) => (text ? [[name, text]] : [])));
  }

  rulesOf(component: string): ComponentRules {
    return rulesOf(this.parts.configs, component as SdxlComponentId);
  }

  weightGraphs(component: string): readonly Graph[] {
    return sdxlWeightGraphs(this.parts.configs, component as SdxlComponentId);
  }

  describe(shape: JobShape): DescribedJob {
    return new SdxlJob(this.parts, shape, this.refiner);
  }

  openControl(place: FilePlace, options: OpenWeightsOptions): Promise<OpenedControl> {
    return openSdxlControl(place, this.parts, options);
  }

  openImagePrompt(
    adapter: Parameters<typeof openSdxlImagePrompt>[0],
    encoders: readonly FilePlace[],
    options: OpenWeightsOptions,
  ): Promise<OpenedImagePrompt> {
    return openSdxlImagePrompt(adapter, encoders, this.parts, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned?.[Symbol.asyncDispose]();
  }
}

export interface OpenSdxlOptions extends OpenOptions {
  /** In place of the folder's. */
  readonly given?: ReadonlyMap<WeightFolder, GivenWeights>;
  /** What the user should know beforehand. */
  readonly notes?: readonly string[];
  /** What the given weights are read from: disposed of with the checkpoint. */
  readonly owned?: AsyncDisposable;
}

/** Opens and checks a whole folder; reads headers and configs only. Rejects with ArtifactError or UsageError. */
export async function openSdxl(
  family: Family,
  folder: Folder,
  { signal, weights, given, notes: before = [], owned }: OpenSdxlOptions = {},
): Promise<SdxlCheckpoint> {
  await using sources = new AsyncDisposableStack();
  if (owned) sources.use(owned);
  const indexText = await requireText(folder, MODEL_INDEX, "name the folder that holds model_index.json");
  const index = parseModelIndex(`${folder.name}/${MODEL_INDEX}`, indexText);
  const { config: scheduler, sampler } = parseSchedulerConfig(
    await requireText(folder, SCHEDULER_CONFIG),
    `${folder.name}/${SCHEDULER_CONFIG}`,
    index.has("scheduler") ? index.strings("scheduler")[1] : undefined,
  );
  const configs: SdxlConfigs = {
    unet: unetConfig(await config(folder, "unet/config.json")),
    textEncoder: clipConfig(await config(folder, "text_encoder/config.json")),
    textEncoder2: clipConfig(await config(folder, "text_encoder_2/config.json")),
    vae: vaeConfig(await config(folder, "vae/config.json")),
  };
  requireMatchingWidths(folder, configs);
  const tokenizers = await openTokenizers(folder);
  requireMatchingTokens(folder, tokenizers, configs);
  const notes = [...before];
  const absent = new Map<string, string>();
  const { otherEncoder } = configs.vae;
  if (otherEncoder !== undefined) absent.set("vaeEncoder" satisfies SdxlComponentId, otherEncoder);
  const onNote = (text: string) => notes.push(text);
  const components = await componentsOf(folder, configs, { sources, signal, weights, given, absent, onNote });
  const parts: SdxlParts = {
    family,
    name: folder.name,
    configs,
    ...tokenizers,
    scheduler,
    sampler,
    absent,
    notes,
    zerosForAbsentPrompt: index.bool("force_zeros_for_empty_prompt", true),
  };
  return new SdxlCheckpoint(parts, components, sources.move());
}

function requireMatchingWidths(folder: Folder, { unet, textEncoder, textEncoder2, vae }: SdxlConfigs): void {
  const context = textEncoder.hiddenSize + textEncoder2.hiddenSize;
  const addition = textEncoder2.projectionDim + 6 * unet.additionTimeEmbedDim;
  const wrong =
    context !== unet.crossAttentionDim
      ? `the text encoders give ${context} channels, the UNet reads ${unet.crossAttentionDim}`
      : addition !== unet.additionInputDim
        ? `pooled text and time ids give ${addition} channels, the UNet reads ${unet.additionInputDim}`
        : ![vae.latentChannels, 2 * vae.latentChannels + 1].includes(unet.inChannels) ||
            unet.outChannels !== vae.latentChannels
          ? `the UNet reads ${unet.inChannels} latent channels and gives ${unet.outChannels}, the VAE has ${vae.latentChannels}`
          : undefined;
  if (wrong === undefined) return;
  throw new ArtifactError({
    code: "E_SCHEMA",
    subject: folder.name,
    problem: wrong,
    next: "take text encoders, UNet and VAE from one text-to-image model",
  });
}

async function config(folder: Folder, file: string): Promise<JsonConfig> {
  return new JsonConfig(`${folder.name}/${file}`, await requireText(folder, file));
}

async function requireText(folder: Folder, file: string, next = "fetch the missing file"): Promise<string> {
  const text = await folder.readText(file, MAX_CONFIG_BYTES);
  if (text !== undefined) return text;
  throw new ArtifactError({ code: "E_MISSING", subject: `${folder.name}/${file}`, problem: "not there", next });
}
