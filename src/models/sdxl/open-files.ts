/**
 * @file A model from other files than its own folder's: a single file, a folder with another VAE. It becomes the folder it would be,
 * with config files as texts in memory, and is opened as any folder is; weights stay where they are.
 */
import { fileKind } from "../../checkpoint/file-kind.ts";
import { JsonConfig, MAX_CONFIG_BYTES } from "../../checkpoint/json-config.ts";
import { MAX_TEXT_BYTES, openWeights } from "../../checkpoint/weight-folder.ts";
import { readWeightTable, weightTable } from "../../checkpoint/weight-header.ts";
import { readSafetensorsHeader } from "../../container/safetensors.ts";
import type { TensorTable } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import type { Folder } from "../../source/folder.ts";
import { vocabularyOf } from "../../tokenizer/vocabulary.ts";
import type { Family, ModelFiles, OpenedFiles, OpenOptions } from "../family.ts";
import type { FilePlace } from "../file-place.ts";
import { baseFile, SDXL_BASE_FILES } from "./base-files.ts";
import { openSdxl } from "./checkpoint.ts";
import type { GivenWeights } from "./config.ts";
import { type FileParts, partsOf, tensorsOfNetwork } from "./file-parts.ts";
import {
  MODEL_INDEX,
  SCHEDULER_CONFIG,
  TOKENIZER_FILES,
  TOKENIZER_FOLDERS,
  WEIGHT_FOLDERS,
  type WeightFolder,
  weightFiles,
} from "./files.ts";
import { foreignFile, placeOfOther, withoutUnet } from "./foreign-files.ts";
import { inferredConfig } from "./inferred-config.ts";
import { changedConfig, toldSampleSize, toldTraining } from "./markers.ts";

const VAE_CONFIG = "vae/config.json";

/** For people, and the option that brings it. */
const PARTS: Readonly<Record<WeightFolder, { readonly words: string; readonly next: string }>> = {
  unet: { words: "UNet", next: "" },
  text_encoder: { words: "first text encoder", next: "" },
  text_encoder_2: { words: "second text encoder", next: "" },
  vae: { words: "VAE", next: "give one with --vae FILE|DIR; or " },
};

/** See Family.openFiles. */
export async function openSdxlFiles(
  family: Family,
  files: ModelFiles,
  options: OpenOptions = {},
): Promise<OpenedFiles> {
  await using sources = new AsyncDisposableStack();
  const texts = new Map<string, string>();
  const given = new Map<WeightFolder, GivenWeights>();
  const notes: string[] = [];
  const { model, vae } = files;
  const work: Work = { files, texts, given, notes, sources, signal: options.signal };
  const latents = model.kind === "file" ? await takeFile(work, model) : await latentsOf(model.folder);
  if (vae) await takeVae(work, vae);
  if (latents && texts.has(VAE_CONFIG))
    texts.set(VAE_CONFIG, changedConfig(texts.get(VAE_CONFIG)!, VAE_CONFIG, latents));
  const name = model.kind === "file" ? model.path : model.folder.name;
  const own = model.kind === "folder" ? model.folder : undefined;
  if (files.prediction !== undefined) {
    const scheduler = texts.get(SCHEDULER_CONFIG) ?? (await own?.readText(SCHEDULER_CONFIG, MAX_CONFIG_BYTES)) ?? "{}";
    const changed = { prediction_type: files.prediction };
    texts.set(SCHEDULER_CONFIG, changedConfig(scheduler, `${name}/${SCHEDULER_CONFIG}`, changed));
  }
  const folder: Folder = {
    name,
    readText: async (path, maxBytes) => texts.get(path) ?? (await own?.readText(path, maxBytes)),
    open: async (path) => await own?.open(path),
  };
  const checkpoint = await openSdxl(family, folder, { ...options, given, notes, owned: sources.move() });
  return { folder, checkpoint };
}

interface Work {
  readonly files: ModelFiles;
  /** What the folder has beside weights, by path. */
  readonly texts: Map<string, string>;
  readonly given: Map<WeightFolder, GivenWeights>;
  readonly notes: string[];
  readonly sources: AsyncDisposableStack;
  readonly signal: AbortSignal | undefined;
}

/** Gives the fields of the VAE's config that the UNet's training asks for, whichever VAE there is. */
async function takeFile(
  work: Work,
  { file, path }: Extract<FilePlace, { kind: "file" }>,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const { files, texts, given, notes, signal } = work;
  const header = await readSafetensorsHeader(file, signal);
  const { metadata } = header;
  const stored = [...header.table.values(), ...header.foreign.values()];
  const foreign = foreignFile(stored);
  if (foreign !== undefined) throw noModel(path, foreign, placeOfOther(stored.map(({ name }) => name)));
  const parts = partsOf(await weightTable(header, file.name, signal), file.name);
  if (!parts.tables.has("unet")) throw noModel(path, withoutUnet(stored.map(({ name }) => name)));
  noteUnknown(parts, notes);
  const { config } = files;
  const fromBase = new Set<WeightFolder>();
  for (const { folder } of WEIGHT_FOLDERS) {
    const table = parts.tables.get(folder);
    const text = `${folder}/config.json` as const;
    if (table) {
      given.set(folder, { table, subject: `${path}: ${PARTS[folder].words}` });
      const told = (await config?.readText(text, MAX_CONFIG_BYTES)) ?? inferredConfig(folder, table);
      texts.set(text, told ?? (await askedBase(work, text)) ?? refuseWidths(path, folder, table));
    } else if (folder !== "vae" || !files.vae) {
      await takeFromBase(work, path, folder);
      fromBase.add(folder);
    } else texts.set(text, (await config?.readText(text, MAX_CONFIG_BYTES)) ?? baseFile(VAE_CONFIG));
  }
  texts.set(MODEL_INDEX, (await config?.readText(MODEL_INDEX, MAX_CONFIG_BYTES)) ?? baseFile(MODEL_INDEX));
  const scheduler = (await config?.readText(SCHEDULER_CONFIG, MAX_CONFIG_BYTES)) ?? baseFile(SCHEDULER_CONFIG);
  // What a file says of its own training holds for any config that is lent to it.
  const told = await toldTraining(parts.markers, metadata, path, signal);
  texts.set(SCHEDULER_CONFIG, changedConfig(scheduler, SCHEDULER_CONFIG, told.scheduler));
  if (told.schedulerClass !== undefined) {
    const named = { scheduler: ["diffusers", told.schedulerClass] };
    texts.set(MODEL_INDEX, changedConfig(texts.get(MODEL_INDEX)!, MODEL_INDEX, named));
  }
  const unet = "unet/config.json";
  const side = config ? undefined : toldSampleSize(metadata);
  if (side !== undefined) texts.set(unet, changedConfig(texts.get(unet)!, unet, { sample_size: side }));
  const base = fromBase.size > 0 ? await files.base.open() : undefined;
  for (const [i, dir] of TOKENIZER_FOLDERS.entries()) {
    const encoder = (["text_encoder", "text_encoder_2"] as const)[i]!;
    const taken =
      (await takeTokenizer(texts, dir, fromBase.has(encoder) ? base : config)) ||
      (await takeTokenizer(texts, dir, files.base.asked ? await files.base.open() : undefined));
    if (!taken) await standardTokenizer(texts, dir, files.vocabulary);
  }
  return told.vae;
}

/** So of a folder's: how its latents are normalised, where they are. */
async function latentsOf(folder: Folder): Promise<Readonly<Record<string, unknown>> | undefined> {
  const text = await folder.readText(VAE_CONFIG, MAX_CONFIG_BYTES);
  if (text === undefined) return undefined;
  const config = new JsonConfig(`${folder.name}/${VAE_CONFIG}`, text);
  const [mean, std] = [config.numbers("latents_mean"), config.numbers("latents_std")];
  return (
    mean && std && { latents_mean: mean, latents_std: std, scaling_factor: config.number("scaling_factor", 0.18215) }
  );
}

function noteUnknown({ unknown }: FileParts, notes: string[]): void {
  if (unknown.length === 0) return;
  const them =
    unknown.length === 1 ? "1 tensor that nothing reads is" : `${unknown.length} tensors that nothing reads are`;
  notes.push(`${them} left aside, first ${JSON.stringify(unknown[0]!.slice(0, 120))}`);
}

/** The base model's, where the user named one: a file of its kind is then meant. */
async function askedBase({ files: { base } }: Work, text: string): Promise<string | undefined> {
  return base.asked ? await (await base.open())?.readText(text, MAX_CONFIG_BYTES) : undefined;
}

async function takeFromBase(work: Work, path: string, folder: WeightFolder): Promise<void> {
  const { files, texts, given, notes, sources, signal } = work;
  const base = await files.base.open();
  const text = await base?.readText(`${folder}/config.json`, MAX_CONFIG_BYTES);
  if (!base || text === undefined) throw missingPart(path, folder, files.base.name);
  const { stem } = WEIGHT_FOLDERS.find((entry) => entry.folder === folder)!;
  const table = await openWeights(base, folder, weightFiles(stem, ["fp16", "none"]), { sources, signal });
  texts.set(`${folder}/config.json`, text);
  given.set(folder, { table, subject: `${base.name}/${folder}` });
  notes.push(`the file has no ${PARTS[folder].words}; that of ${files.base.name} is used`);
}

function noModel(path: string, words: string, next = "name a file with an SDXL, or with its UNet"): ArtifactError {
  return new ArtifactError({ code: "E_NOT_SDXL", subject: path, problem: `this is ${words}`, next });
}

function missingPart(path: string, folder: WeightFolder, base: string): ArtifactError {
  const { words, next } = PARTS[folder];
  return new ArtifactError({
    code: "E_MISSING",
    subject: path,
    problem: `it has no ${words}, and the base model ${base} is not here`,
    next: `${next}fetch it with: solvay pull ${base}, or name a folder with --base DIR`,
  });
}

function refuseWidths(path: string, folder: WeightFolder, table: TensorTable): never {
  const first = table.get("conv_in.weight") ?? [...table.values()][0];
  throw new ArtifactError({
    code: "E_CONFIG",
    subject: path,
    problem: `its ${PARTS[folder].words} is not as wide as SDXL base's, and a file doesn't say all of its dimensions (found "${first?.name.slice(0, 120)}" [${first?.shape}])`,
    next: "give its config files with --config DIR, a diffusers folder of that model; weights aren't needed in it",
  });
}

async function takeTokenizer(texts: Map<string, string>, dir: string, from: Folder | undefined): Promise<boolean> {
  const found = new Map<string, string>();
  for (const file of TOKENIZER_FILES) {
    const text = await from?.readText(`${dir}/${file}`, MAX_TEXT_BYTES);
    if (text !== undefined) found.set(`${dir}/${file}`, text);
  }
  const isWhole =
    found.has(`${dir}/tokenizer.json`) || (found.has(`${dir}/vocab.json`) && found.has(`${dir}/merges.txt`));
  if (isWhole) for (const [path, text] of found) texts.set(path, text);
  return isWhole;
}

/** CLIP's own, which every SDXL has, as texts of the folder `dir`. Rejects with ArtifactError `E_MISSING`. */
export async function standardTokenizer(
  texts: Map<string, string>,
  dir: (typeof TOKENIZER_FOLDERS)[number],
  vocabulary: Folder,
): Promise<void> {
  const merges = await vocabulary.readText("merges.txt", MAX_TEXT_BYTES);
  if (merges === undefined) {
    throw new ArtifactError({
      code: "E_MISSING",
      subject: `${vocabulary.name}/merges.txt`,
      problem: "CLIP's vocabulary, a part of Solvay, is not there",
      next: "install Solvay again",
    });
  }
  const other = dir === "tokenizer" ? undefined : texts.get("tokenizer/merges.txt");
  const vocab = other === merges ? texts.get("tokenizer/vocab.json") : undefined;
  texts.set(`${dir}/merges.txt`, merges);
  texts.set(`${dir}/vocab.json`, vocab ?? vocabularyOf(merges, `${vocabulary.name}/merges.txt`));
  texts.set(`${dir}/tokenizer_config.json`, JSON.stringify(SDXL_BASE_FILES[`${dir}/tokenizer_config.json`]));
}

/** A checkpoint has one; what tells nothing is left to the check against the network. Throws ArtifactError. */
function requireVae(path: string, stored: TensorTable): void {
  const kind = fileKind(stored.keys());
  if (kind === undefined || kind.id === "vae" || kind.id === "checkpoint") return;
  throw new ArtifactError({
    code: "E_NOT_SDXL",
    subject: path,
    problem: `this is ${kind.words}, no VAE`,
    next: kind.next ?? "give --vae a file with an SDXL's VAE",
  });
}

/** A VAE folder, a model's folder with one in it, or a file with one in any layout. */
async function takeVae({ texts, given, sources, signal }: Work, vae: FilePlace): Promise<void> {
  if (vae.kind === "file") {
    const stored = await readWeightTable(vae.file, signal);
    requireVae(vae.path, stored);
    const table = tensorsOfNetwork("vae", stored, vae.file.name);
    given.set("vae", { table, subject: vae.path });
    return;
  }
  const { folder } = vae;
  const { stem } = WEIGHT_FOLDERS.find((entry) => entry.folder === "vae")!;
  const isModel = (await folder.readText(VAE_CONFIG, MAX_CONFIG_BYTES)) !== undefined;
  const dir = isModel ? "vae" : ".";
  const config = await folder.readText(`${dir}/config.json`, MAX_CONFIG_BYTES);
  if (config === undefined) {
    throw new ArtifactError({
      code: "E_MISSING",
      subject: `${folder.name}/config.json`,
      problem: "not there, and a VAE's folder has one",
      next: "give --vae a folder with config.json and diffusion_pytorch_model.safetensors, or a .safetensors file",
    });
  }
  const table = await openWeights(folder, dir, weightFiles(stem, ["fp16", "none"]), { sources, signal });
  texts.set(VAE_CONFIG, config);
  given.set("vae", { table, subject: folder.name });
}
