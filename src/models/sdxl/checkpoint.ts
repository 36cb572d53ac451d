/** @file An SDXL, opened: configs, tokenizers and the places of its weights, checked to belong together. */
import { JsonConfig, MAX_CONFIG_BYTES } from "../../checkpoint/json-config.ts";
import { parseSchedulerConfig, scheduleTypeName } from "../../checkpoint/scheduler-config.ts";
import { type ComponentRules, compareWithSchema, requireSchema } from "../../checkpoint/schema.ts";
import { type OpenWeightsOptions, openWeights } from "../../checkpoint/weight-folder.ts";
import type { TensorTable } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import type { LatentColours } from "../../image/latent-preview.ts";
import type { Graph } from "../../ir/graph.ts";
import type { SchedulerConfig } from "../../sampler/training.ts";
import type { Folder } from "../../source/folder.ts";
import type { CutTexts } from "../../tokenizer/cut-text.ts";
import { vaeScaleFactor } from "../autoencoder.ts";
import type {
  ArtifactTarget,
  Checkpoint,
  Component,
  DescribedJob,
  Family,
  JobShape,
  ModelDefaults,
  OpenOptions,
} from "../family.ts";
import { SDXL_BASE_VAE, SDXL_LATENT_COLOURS } from "./base.ts";
import type { SdxlConfigs, SdxlParts } from "./config.ts";
import {
  MODEL_INDEX,
  SCHEDULER_CONFIG,
  SDXL_COMPONENTS,
  type SdxlComponentId,
  WEIGHT_FOLDERS,
  type WeightFolder,
  weightFiles,
} from "./files.ts";
import { sdxlWeightGraphs } from "./graphs.ts";
import { SdxlJob } from "./job.ts";
import { parseModelIndex } from "./model-index.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";
import { rulesOf } from "./rules.ts";
import { openTokenizers, requireMatchingTokens } from "./tokenizers.ts";

export class SdxlCheckpoint implements Checkpoint {
  readonly parts: SdxlParts;
  readonly components: ReadonlyMap<string, Component>;
  readonly #owned: AsyncDisposable | undefined;

  constructor(parts: SdxlParts, components: ReadonlyMap<string, Component>, owned?: AsyncDisposable) {
    this.parts = parts;
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

  get defaults(): ModelDefaults {
    const side = this.parts.configs.unet.sampleSize * this.pixelsPerCell;
    return { width: side, height: side, sampler: this.parts.sampler };
  }

  get scheduler(): SchedulerConfig {
    return this.parts.scheduler;
  }

  get latentColours(): LatentColours | undefined {
    const { latentColours, latentChannels, scalingFactor } = this.parts.configs.vae;
    // Another scale is another VAE, with channels of its own.
    const isSdxls = latentChannels === SDXL_BASE_VAE.latentChannels && scalingFactor === SDXL_BASE_VAE.scalingFactor;
    return latentColours ?? (isSdxls ? SDXL_LATENT_COLOURS : undefined);
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
    return new SdxlCheckpoint(this.parts, new Map([...this.components, ...weights]));
  }

  tokenize(prompt: string): Readonly<Record<string, readonly number[]>> {
    const { tokenizer, tokenizer2 } = this.parts;
    return { tokenizer: tokenizer.encode(prompt), tokenizer_2: tokenizer2.encode(prompt) };
  }

  cutText(prompt: string): CutTexts {
    const { tokenizer, tokenizer2 } = this.parts;
    const cut = { tokenizer: tokenizer.cut(prompt), tokenizer_2: tokenizer2.cut(prompt) };
    return Object.fromEntries(Object.entries(cut).flatMap(([name, text]) => (text ? [[name, text]] : [])));
  }

  rulesOf(component: string): ComponentRules {
    return rulesOf(this.parts.configs, component as SdxlComponentId);
  }

  weightGraphs(component: string): readonly Graph[] {
    return sdxlWeightGraphs(this.parts.configs, component as SdxlComponentId);
  }

  describe(shape: JobShape): DescribedJob {
    return new SdxlJob(this.parts, shape);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned?.[Symbol.asyncDispose]();
  }
}

/** Opens and checks a whole folder; reads headers and configs only. Rejects with ArtifactError or UsageError. */
export async function openSdxl(
  family: Family,
  folder: Folder,
  { signal, weights }: OpenOptions = {},
): Promise<SdxlCheckpoint> {
  await using sources = new AsyncDisposableStack();
  const indexText = await requireText(folder, MODEL_INDEX, "name the folder that holds model_index.json");
  const index = parseModelIndex(`${folder.name}/${MODEL_INDEX}`, indexText);
  const {
    config: scheduler,
    sampler,
    note,
  } = parseSchedulerConfig(
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
  const notes = note === undefined ? [] : [note];
  const absent = new Map<string, string>();
  const { otherEncoder } = configs.vae;
  if (otherEncoder !== undefined) absent.set("vaeEncoder" satisfies SdxlComponentId, otherEncoder);
  const components = weights
    ? componentsFrom(weights, configs, folder.name)
    : await componentsOf(folder, configs, { sources, signal, absent, onNote: (text) => notes.push(text) });
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

/** Weights of a whole folder. A VAE whose encoder isn't there, or isn't as expected, has none, and `absent` says why. */
async function componentsOf(
  folder: Folder,
  configs: SdxlConfigs,
  {
    sources,
    signal,
    absent,
    onNote,
  }: OpenWeightsOptions & { readonly absent: Map<string, string>; readonly onNote: (note: string) => void },
): Promise<ReadonlyMap<string, Component>> {
  const stored = async (name: WeightFolder): Promise<TensorTable> => {
    const { stem } = WEIGHT_FOLDERS.find((entry) => entry.folder === name)!;
    return await openWeights(folder, name, weightFiles(stem, ["fp16", "none"]), { sources, signal });
  };
  const checked = (id: SdxlComponentId, tensors: TensorTable, name: WeightFolder): Component => ({
    table: requireSchema(tensors, rulesOf(configs, id), `${folder.name}/${name}`, onNote),
  });
  const unet = checked("unet", await stored("unet"), "unet");
  const textEncoder = checked("textEncoder", await stored("text_encoder"), "text_encoder");
  const textEncoder2 = checked("textEncoder2", await stored("text_encoder_2"), "text_encoder_2");
  const vaeTensors = await stored("vae");
  const vae = checked("vae", vaeTensors, "vae");
  const onDemand = (id: SdxlComponentId, tensors: TensorTable): Component | undefined => {
    if (absent.has(id)) return undefined;
    const { table, problems } = compareWithSchema(tensors, rulesOf(configs, id));
    if (problems.length > 0) absent.set(id, problems[0]!);
    return problems.length > 0 ? undefined : { table };
  };
  const found: Record<SdxlComponentId, Component | undefined> = {
    textEncoder,
    textEncoder2,
    unet,
    vae,
    vaeEncoder: onDemand("vaeEncoder", vaeTensors),
  };
  return inOrder((id) => found[id]);
}

function componentsFrom(
  weights: (component: string) => Component | undefined,
  configs: SdxlConfigs,
  name: string,
): ReadonlyMap<string, Component> {
  return inOrder((id) => {
    const found = weights(id);
    const rules = rulesOf(configs, id);
    return found && { ...found, table: requireSchema(found.table, rules, `${name}/${rules.component}`) };
  });
}

function inOrder(find: (id: SdxlComponentId) => Component | undefined): ReadonlyMap<string, Component> {
  return new Map(
    SDXL_COMPONENTS.flatMap(({ id }): [string, Component][] => {
      const component = find(id);
      return component ? [[id, component]] : [];
    }),
  );
}

function requireMatchingWidths(folder: Folder, { unet, textEncoder, textEncoder2, vae }: SdxlConfigs): void {
  const context = textEncoder.hiddenSize + textEncoder2.hiddenSize;
  const addition = textEncoder2.projectionDim + 6 * unet.additionTimeEmbedDim;
  const wrong =
    context !== unet.crossAttentionDim
      ? `the text encoders give ${context} channels, the UNet reads ${unet.crossAttentionDim}`
      : addition !== unet.additionInputDim
        ? `pooled text and time ids give ${addition} channels, the UNet reads ${unet.additionInputDim}`
        : unet.inChannels !== vae.latentChannels || unet.outChannels !== vae.latentChannels
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
