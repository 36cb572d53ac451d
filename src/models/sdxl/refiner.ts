/**
 * @file SDXL's refiner (stabilityai/stable-diffusion-xl-refiner-1.0), which draws the last steps of a base model's pictures: its folder, opened,
 * and its steps as a stage. It has one text encoder, and is told an aesthetic score in place of the size that is wanted.
 */
import { JsonConfig, MAX_CONFIG_BYTES } from "../../checkpoint/json-config.ts";
import { parseSchedulerConfig } from "../../checkpoint/scheduler-config.ts";
import { type ComponentRules, requireSchema } from "../../checkpoint/schema.ts";
import { openWeights } from "../../checkpoint/weight-folder.ts";
import { ArtifactError } from "../../errors.ts";
import type { Graph } from "../../ir/graph.ts";
import type { PhaseDescription } from "../../plan/describe.ts";
import type { SchedulerConfig } from "../../sampler/training.ts";
import type { Folder } from "../../source/folder.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import type { ClipTokenizer } from "../../tokenizer/clip.ts";
import { type ClipConfig, clipGraph } from "../clip.ts";
import type { Conditioning, Prompt, PromptText } from "../conditioning.ts";
import type { Component, EncodeOptions, OpenOptions, RefinedStage, Refiner } from "../family.ts";
import { encodeRefinerPrompt, tokenChunks } from "./conditioning.ts";
import type { AestheticScores, GivenWeights, SdxlParts, UNetConfig } from "./config.ts";
import {
  MODEL_INDEX,
  REFINER_COMPONENTS,
  type RefinerComponentId,
  SCHEDULER_CONFIG,
  WEIGHT_FOLDERS,
  type WeightFolder,
  weightFiles,
} from "./files.ts";
import { encoderWeightGraphs, type StageSize, unetWeightGraphs } from "./graphs.ts";
import { clipConfig, unetConfig } from "./network-config.ts";
import { clipRules, unetRules } from "./rules.ts";
import { inputElements, outputElements, passOf, SdxlStage, type StageHost } from "./stage.ts";
import { openTokenizer } from "./tokenizers.ts";

/** diffusers' own. */
const SCORES: AestheticScores = { positive: 6, negative: 2.5 };
/** Original height and width, two of the crop, the score. */
const TIME_IDS = 5;

const [TEXT_ENCODER_2, UNET] = REFINER_COMPONENTS;

interface RefinerParts {
  readonly folder: Folder;
  readonly unet: UNetConfig;
  readonly textEncoder2: ClipConfig;
  readonly tokenizer2: ClipTokenizer;
  readonly scheduler: SchedulerConfig;
  readonly zerosForAbsentPrompt: boolean;
}

export class SdxlRefiner implements Refiner {
  readonly parts: RefinerParts;
  readonly components: Refiner["components"];
  readonly #owned: AsyncDisposable;

  constructor(parts: RefinerParts, components: Refiner["components"], owned: AsyncDisposable) {
    this.parts = parts;
    this.components = components;
    this.#owned = owned;
  }

  get name(): string {
    return this.parts.folder.name;
  }

  get folder(): Folder {
    return this.parts.folder;
  }

  get scheduler(): SchedulerConfig {
    return this.parts.scheduler;
  }

  get zerosForAbsentPrompt(): boolean {
    return this.parts.zerosForAbsentPrompt;
  }

  weightGraphs(component: string): readonly Graph[] {
    const { unet, textEncoder2 } = this.parts;
    return component === UNET.id ? unetWeightGraphs(unet) : encoderWeightGraphs(textEncoder2);
  }

  /** By its one tokenizer; nothing of its text encoder is passed over. */
  promptChunks({ text, second = text, syntax, words }: PromptText): readonly Prompt[] {
    const { tokenizer2 } = this.parts;
    return tokenChunks(second, syntax, tokenizer2, words).map((chunk) => ({
      tokens: { tokenizer_2: chunk },
      clipSkip: 0,
    }));
  }

  /** Throws ArtifactError where it can't go on from that model's latents. */
  requireFits({ name, configs, scheduler }: SdxlParts): void {
    if (scheduler.edm) {
      throw misfit(
        this.name,
        `${name} was trained on noise levels (EDM), and a refiner takes over at a training step of its own`,
        "leave the refiner away",
      );
    }
    const { latentChannels } = configs.vae;
    const { inChannels, outChannels } = this.parts.unet;
    if (inChannels === latentChannels && outChannels === latentChannels) return;
    throw misfit(this.name, `it reads ${inChannels} latent channels, and ${name} has ${latentChannels}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned[Symbol.asyncDispose]();
  }
}

export interface OpenRefinerOptions extends OpenOptions {
  /** In place of the folder's. */
  readonly given?: ReadonlyMap<WeightFolder, GivenWeights>;
}

/** Opens and checks a refiner's folder; reads headers and configs only. Rejects with ArtifactError. */
export async function openSdxlRefiner(
  folder: Folder,
  { signal, weights, given }: OpenRefinerOptions = {},
): Promise<SdxlRefiner> {
  await using sources = new AsyncDisposableStack();
  const index = new JsonConfig(`${folder.name}/${MODEL_INDEX}`, await requireText(folder, MODEL_INDEX));
  const schedulerFile = `${folder.name}/${SCHEDULER_CONFIG}`;
  const { config: scheduler } = parseSchedulerConfig(
    await requireText(folder, SCHEDULER_CONFIG),
    schedulerFile,
    index.has("scheduler") ? index.strings("scheduler")[1] : undefined,
  );
  const configOf = async (dir: WeightFolder) =>
    new JsonConfig(`${folder.name}/${dir}/config.json`, await requireText(folder, `${dir}/config.json`));
  const unet = unetConfig(await configOf("unet"));
  const textEncoder2 = clipConfig(await configOf("text_encoder_2"));
  requireRefiner(folder, unet, textEncoder2);
  const rules: Readonly<Record<RefinerComponentId, ComponentRules>> = {
    [TEXT_ENCODER_2.id]: clipRules("text_encoder_2", textEncoder2),
    [UNET.id]: unetRules(unet),
  };
  const components = new Map<string, Component>();
  for (const { id, folder: dir } of REFINER_COMPONENTS) {
    const known = weights?.(id);
    const subject = given?.get(dir)?.subject ?? `${folder.name}/${dir}`;
    const { stem } = WEIGHT_FOLDERS.find((entry) => entry.folder === dir)!;
    const table =
      known?.table ??
      given?.get(dir)?.table ??
      (await openWeights(folder, dir, weightFiles(stem, ["fp16", "none"]), { sources, signal }));
    components.set(id, { ...known, table: requireSchema(table, rules[id], subject) });
  }
  const parts: RefinerParts = {
    folder,
    unet,
    textEncoder2,
    tokenizer2: await openTokenizer(folder, "tokenizer_2"),
    scheduler,
    zerosForAbsentPrompt: index.bool("force_zeros_for_empty_prompt", true),
  };
  return new SdxlRefiner(parts, components, sources.move());
}

function requireRefiner(folder: Folder, unet: UNetConfig, { hiddenSize, projectionDim }: ClipConfig): void {
  const addition = projectionDim + TIME_IDS * unet.additionTimeEmbedDim;
  if (unet.crossAttentionDim !== hiddenSize || unet.additionInputDim !== addition) {
    const found = `its UNet reads ${unet.crossAttentionDim} channels of text and ${unet.additionInputDim} added ones`;
    throw misfit(folder.name, `${found}, where a refiner's reads ${hiddenSize} and ${addition}`);
  }
}

function misfit(
  subject: string,
  why: string,
  next = "name a refiner, such as a folder of stabilityai/stable-diffusion-xl-refiner-1.0",
): ArtifactError {
  return new ArtifactError({
    code: "E_NOT_SDXL",
    subject,
    problem: `this is no refiner for that model: ${why}`,
    next,
  });
}

async function requireText(folder: Folder, file: string): Promise<string> {
  const text = await folder.readText(file, MAX_CONFIG_BYTES);
  if (text !== undefined) return text;
  throw new ArtifactError({
    code: "E_MISSING",
    subject: `${folder.name}/${file}`,
    problem: "not there",
    next: "name the folder of a refiner in diffusers' layout",
  });
}

/** The refiner's steps. */
export class SdxlRefinedStage extends SdxlStage implements RefinedStage {
  declare readonly phaseOf: RefinedStage["phaseOf"];
  readonly #refiner: RefinerParts;
  readonly #clip2: Graph;
  readonly #encodes: number;
  /** Of all prompts side by side. */
  readonly #promptChunks: number;

  /** `base`: whose latents it goes on from. */
  constructor(base: SdxlParts, { parts: refiner }: SdxlRefiner, size: Omit<StageSize, "looks">) {
    const { unet, scheduler, tokenizer2, textEncoder2 } = refiner;
    const parts = { ...base, configs: { ...base.configs, unet }, scheduler, scores: SCORES };
    const chunkTokens = tokenizer2.modelMaxLength;
    // Adapters, controls and image prompts are for the base model.
    super(
      parts,
      { ...size, looks: 0, adapters: undefined, controls: undefined, imagePrompts: undefined },
      chunkTokens,
      "refiner.",
      UNET.id,
    );
    this.phaseOf = { ...this.phaseOf, encode: "refiner.encode" };
    this.#refiner = refiner;
    this.#encodes = size.text?.encodes ?? size.batch;
    this.#promptChunks = Math.max(2, size.batch) * (size.text?.chunks ?? 1);
    const learned = size.text?.learned !== undefined;
    this.#clip2 = clipGraph(textEncoder2, { batch: 1, tokens: chunkTokens, fp32: size.fp32, pooled: true, learned });
  }

  phases(host: StageHost): readonly PhaseDescription[] {
    const conditioningBytes = 4 * (outputElements(this.#clip2, "hidden") + outputElements(this.#clip2, "pooled"));
    const encode = {
      id: this.phaseOf.encode,
      title: "encode for the refiner",
      passes: [passOf(CLIP_PASS, this.#clip2, TEXT_ENCODER_2.id, { repeats: this.#encodes })],
      hostBytes:
        host.alwaysBytes +
        2 * conditioningBytes +
        4 * inputElements(this.#clip2, "learned") +
        (1 + host.furtherLatents) * this.latentBytes,
      spilledBytes: 0,
      laneBytes: host.laneBytes,
    };
    return [
      encode,
      this.denoisePhase("denoise by the refiner", { ...host, promptBytes: this.#promptChunks * conditioningBytes }),
    ];
  }

  encode(phase: PhaseRun, prompt: Prompt, options: EncodeOptions = {}): Promise<Conditioning> {
    return encodeRefinerPrompt(this.#refiner.textEncoder2, this.#clip2, phase, CLIP_PASS, prompt, options);
  }
}

const CLIP_PASS = "refiner.clip2";
