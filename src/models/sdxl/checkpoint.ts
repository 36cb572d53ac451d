/** @file A diffusers SDXL folder: which files make it up, in which order they are looked for, and whether they fit together. */
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { clipSchema } from "../model/clip.ts";
import type { ClipConfig, UNetConfig, VaeConfig } from "../model/config.ts";
import { unetSchema } from "../model/unet.ts";
import { vaeDecoderSchema } from "../model/vae.ts";
import { parseSchedulerConfig, type SchedulerConfig } from "../sampler/config.ts";
import type { Folder } from "../source/folder.ts";
import type { ByteSource } from "../source/source.ts";
import type { StoredBlock } from "../store/stored-model.ts";
import { type ClipTokenizer, loadClipTokenizer } from "../tokenizer/clip.ts";
import { JsonConfig, MAX_CONFIG_BYTES } from "./json-config.ts";
import { clipConfig, unetConfig, vaeConfig } from "./network-config.ts";
import { type ComponentRules, canonicalClipName, canonicalVaeName, requireSchema } from "./schema.ts";
import { parseShardIndex } from "./sharded.ts";

/** A network's settings and where its weights lie. */
export interface Component<Config> {
  readonly config: Config;
  /** By canonical (diffusers) parameter name; exactly the schema. */
  readonly table: TensorTable;
  /** From the block store: the same weights by segment. */
  readonly blocks?: readonly StoredBlock[];
}

export interface SdxlCheckpoint extends AsyncDisposable {
  readonly name: string;
  /** The artifact that is in these weights already, if they come from the block store. */
  readonly artifactName?: string;
  readonly unet: Component<UNetConfig>;
  readonly textEncoder: Component<ClipConfig>;
  readonly textEncoder2: Component<ClipConfig>;
  readonly vae: Component<VaeConfig>;
  readonly tokenizer: ClipTokenizer;
  readonly tokenizer2: ClipTokenizer;
  readonly scheduler: SchedulerConfig;
  /** For the user, where the model names another sampler than the one that will run. */
  readonly schedulerNote: string | undefined;
  readonly forceZerosForEmptyPrompt: boolean;
}

export const TOKENIZER_FILES_BYTES = 64 * 1024 ** 2;

/** All text files that an SDXL may consist of, beside its weights. */
export const SDXL_TEXT_FILES: readonly string[] = [
  "model_index.json",
  ...["unet", "text_encoder", "text_encoder_2", "vae"].map((dir) => `${dir}/config.json`),
  "scheduler/scheduler_config.json",
  ...["tokenizer", "tokenizer_2"].flatMap((dir) =>
    ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"].map(
      (file) => `${dir}/${file}`,
    ),
  ),
];

/** Weights by component folder, from elsewhere than the folder's safetensors. */
export type TableLoader = (component: string) => TensorTable;

/**
 * Opens and checks a whole folder; reads headers and configs only. With `tables`, weights come from there, and only configs
 * and tokenizers from the folder. Throws ArtifactError.
 */
export async function openSdxlFolder(
  folder: Folder,
  signal?: AbortSignal,
  tables?: TableLoader,
): Promise<SdxlCheckpoint> {
  await using sources = new AsyncDisposableStack();
  const index = await config(folder, "model_index.json", "name the folder that holds model_index.json");
  requirePipelineClass(folder, index);
  const schedulerFile = "scheduler/scheduler_config.json";
  const { config: scheduler, note } = parseSchedulerConfig(
    await requireText(folder, schedulerFile),
    `${folder.name}/${schedulerFile}`,
    index.has("scheduler") ? index.strings("scheduler")[1] : undefined,
  );

  const [unetSettings, clipSettings, clip2Settings, vaeSettings] = [
    unetConfig(await config(folder, "unet/config.json")),
    clipConfig(await config(folder, "text_encoder/config.json")),
    clipConfig(await config(folder, "text_encoder_2/config.json")),
    vaeConfig(await config(folder, "vae/config.json")),
  ];
  requireMatchingWidths(folder, unetSettings, clipSettings, clip2Settings, vaeSettings);
  const tokenizers = await openTokenizers(folder);
  requireMatchingTokens(folder, tokenizers, clipSettings, clip2Settings);
  const load = (rules: ComponentRules, stem: string) =>
    tables
      ? requireSchema(tables(rules.component), rules, `${folder.name}/${rules.component}`)
      : loadComponent(folder, rules, stem, sources, signal);
  const checkpoint = {
    name: folder.name,
    unet: { config: unetSettings, table: await load(unetRules(unetSettings), "diffusion_pytorch_model") },
    textEncoder: { config: clipSettings, table: await load(clipRules("text_encoder", clipSettings), "model") },
    textEncoder2: { config: clip2Settings, table: await load(clipRules("text_encoder_2", clip2Settings), "model") },
    vae: { config: vaeSettings, table: await load(vaeRules(vaeSettings), "diffusion_pytorch_model") },
    ...tokenizers,
    scheduler,
    schedulerNote: note,
    forceZerosForEmptyPrompt: index.bool("force_zeros_for_empty_prompt", true),
  };
  const owned = sources.move();
  return { ...checkpoint, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

export interface Tokenizers {
  readonly tokenizer: ClipTokenizer;
  readonly tokenizer2: ClipTokenizer;
}

/** Both tokenizers alone: no weights are opened. */
export async function openTokenizers(folder: Folder): Promise<Tokenizers> {
  return { tokenizer: await tokenizer(folder, "tokenizer"), tokenizer2: await tokenizer(folder, "tokenizer_2") };
}

export function unetRules(settings: UNetConfig): ComponentRules {
  return { component: "unet", schema: unetSchema(settings), canonical: (name) => name, ignored: () => false };
}

export function clipRules(component: string, settings: ClipConfig): ComponentRules {
  const projection = component === "text_encoder_2";
  return {
    component,
    schema: clipSchema(settings, projection),
    canonical: canonicalClipName,
    ignored: (name) => name === "text_model.embeddings.position_ids" || name === "text_projection.weight",
  };
}

export function vaeRules(settings: VaeConfig): ComponentRules {
  return {
    component: "vae",
    schema: vaeDecoderSchema(settings),
    canonical: canonicalVaeName,
    ignored: (name) => name.startsWith("encoder.") || name.startsWith("quant_conv."),
  };
}

async function loadComponent(
  folder: Folder,
  rules: ComponentRules,
  stem: string,
  sources: AsyncDisposableStack,
  signal?: AbortSignal,
): Promise<TensorTable> {
  const dir = rules.component;
  const open = async (file: string): Promise<ByteSource | undefined> => {
    const source = await folder.open(`${dir}/${file}`);
    return source ? sources.use(source) : undefined;
  };
  const readTable = async (source: ByteSource) => (await readSafetensorsHeader(source, signal)).table;
  // fp16 first, as `variant="fp16"`; each may be one file or sharded.
  for (const variant of [".fp16", ""]) {
    const single = await open(`${stem}${variant}.safetensors`);
    if (single) return requireSchema(await readTable(single), rules, `${folder.name}/${dir}`);
    const indexFile = `${stem}.safetensors.index${variant}.json`;
    const indexText = await folder.readText(`${dir}/${indexFile}`, TOKENIZER_FILES_BYTES);
    if (indexText === undefined) continue;
    const { shards, weightMap } = parseShardIndex(indexText, `${folder.name}/${dir}/${indexFile}`);
    const stored = new Map<string, TensorEntry>();
    for (const shard of shards) {
      const source = await open(shard);
      if (!source) throw missing(folder, `${dir}/${shard}`, "fetch the missing shard");
      for (const [name, entry] of await readTable(source)) {
        if (weightMap.get(name) === shard) stored.set(name, entry);
      }
    }
    for (const [name, shard] of weightMap) {
      if (stored.has(name)) continue;
      throw new ArtifactError({
        code: "E_SCHEMA",
        subject: `${folder.name}/${dir}/${indexFile}`,
        problem: `tensor ${JSON.stringify(name)} is not in its shard ${shard}`,
        next: "fetch the shards and their index again, from one revision",
      });
    }
    return requireSchema(stored, rules, `${folder.name}/${dir}`);
  }
  throw missing(
    folder,
    `${dir}/${stem}.fp16.safetensors (or ${stem}.safetensors)`,
    "fetch the model's safetensors weights",
  );
}

async function tokenizer(folder: Folder, dir: string): Promise<ClipTokenizer> {
  const read = async (file: string) => {
    const text = await folder.readText(`${dir}/${file}`, TOKENIZER_FILES_BYTES);
    return text;
  };
  const [vocabJson, mergesTxt, tokenizerJson, tokenizerConfigJson, specialTokensMapJson] = [
    await read("vocab.json"),
    await read("merges.txt"),
    await read("tokenizer.json"),
    await read("tokenizer_config.json"),
    await read("special_tokens_map.json"),
  ];
  if (tokenizerJson === undefined && (vocabJson === undefined || mergesTxt === undefined)) {
    throw missing(folder, `${dir}/vocab.json and merges.txt (or tokenizer.json)`, "fetch the model's tokenizer files");
  }
  return loadClipTokenizer(
    {
      ...(vocabJson === undefined ? {} : { vocabJson }),
      ...(mergesTxt === undefined ? {} : { mergesTxt }),
      ...(tokenizerJson === undefined ? {} : { tokenizerJson }),
      ...(tokenizerConfigJson === undefined ? {} : { tokenizerConfigJson }),
      ...(specialTokensMapJson === undefined ? {} : { specialTokensMapJson }),
    },
    `${folder.name}/${dir}`,
  );
}

function requirePipelineClass(folder: Folder, index: JsonConfig): void {
  const found = index.string("_class_name", "nothing");
  if (/^StableDiffusionXL.*Pipeline$/.test(found)) return;
  throw new ArtifactError({
    code: "E_NOT_SDXL",
    subject: `${folder.name}/model_index.json`,
    problem: `this is a ${found}, not a StableDiffusionXLPipeline`,
    next: "use an SDXL model",
  });
}

function requireMatchingWidths(
  folder: Folder,
  unet: UNetConfig,
  clip: ClipConfig,
  clip2: ClipConfig,
  vae: VaeConfig,
): void {
  const context = clip.hiddenSize + clip2.hiddenSize;
  const addition = clip2.projectionDim + 6 * unet.additionTimeEmbedDim;
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

/** What every prompt uses must be in the text encoders' tables; rarer ids are checked when a prompt has them. */
function requireMatchingTokens(
  folder: Folder,
  { tokenizer, tokenizer2 }: Tokenizers,
  clip: ClipConfig,
  clip2: ClipConfig,
): void {
  const refuse = (dir: string, problem: string) =>
    new ArtifactError({
      code: "E_TOKENIZER",
      subject: `${folder.name}/${dir}`,
      problem,
      next: "take tokenizers and text encoders from one model",
    });
  for (const [dir, { bosId, eosId, padId, modelMaxLength }, { vocabSize, maxPositions }] of [
    ["tokenizer", tokenizer, clip],
    ["tokenizer_2", tokenizer2, clip2],
  ] as const) {
    const largest = Math.max(bosId, eosId, padId);
    if (largest >= vocabSize) {
      throw refuse(dir, `its special token ${largest} is not in the text encoder's vocabulary of ${vocabSize}`);
    }
    if (modelMaxLength > maxPositions) {
      throw refuse(dir, `prompts of ${modelMaxLength} tokens don't fit the text encoder's ${maxPositions} positions`);
    }
  }
  if (tokenizer.modelMaxLength === tokenizer2.modelMaxLength) return;
  throw refuse(
    "tokenizer_2",
    `it gives ${tokenizer2.modelMaxLength} tokens, the first tokenizer ${tokenizer.modelMaxLength}`,
  );
}

async function config(folder: Folder, file: string, next?: string): Promise<JsonConfig> {
  return new JsonConfig(`${folder.name}/${file}`, await requireText(folder, file, next));
}

async function requireText(folder: Folder, file: string, next = "fetch the missing file"): Promise<string> {
  const text = await folder.readText(file, MAX_CONFIG_BYTES);
  if (text === undefined) throw missing(folder, file, next);
  return text;
}

function missing(folder: Folder, file: string, next: string): ArtifactError {
  return new ArtifactError({ code: "E_MISSING", subject: `${folder.name}/${file}`, problem: "not there", next });
}
