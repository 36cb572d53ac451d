/**
 * @file A refiner in a single file (sd_xl_refiner_1.0.safetensors: its text encoder under "conditioner.embedders.0.model."), as the folder it would
 * be: config files as texts, from its tensors' shapes; weights stay where they are.
 */
import { fileKind } from "../../checkpoint/file-kind.ts";
import { MAX_CONFIG_BYTES } from "../../checkpoint/json-config.ts";
import { weightTable } from "../../checkpoint/weight-header.ts";
import { readSafetensorsHeader } from "../../container/safetensors.ts";
import { sniffContainer } from "../../container/sniff.ts";
import { ArtifactError } from "../../errors.ts";
import type { Folder } from "../../source/folder.ts";
import type { OpenOptions, RefinerFiles } from "../family.ts";
import type { FilePlace } from "../file-place.ts";
import { baseFile } from "./base-files.ts";
import type { GivenWeights } from "./config.ts";
import { partsOf } from "./file-parts.ts";
import { MODEL_INDEX, SCHEDULER_CONFIG, type WeightFolder } from "./files.ts";
import { inferredConfig } from "./inferred-config.ts";
import { ABSENT_IN_REFINER, isRefinerIndex } from "./model-index.ts";
import { standardTokenizer } from "./open-files.ts";
import { openSdxlRefiner, type SdxlRefiner } from "./refiner.ts";

/** No other model has OpenCLIP's text encoder in that place. */
const TEXT_ENCODER_PREFIX = "conditioner.embedders.0.model.";

const NETWORKS = ["unet", "text_encoder_2"] as const satisfies readonly WeightFolder[];

/** See Family.openRefiner. */
export async function openSdxlRefinerFiles(
  { model, vocabulary }: RefinerFiles,
  options: OpenOptions = {},
): Promise<SdxlRefiner> {
  if (model.kind === "folder") return await openSdxlRefiner(model.folder, options);
  const { folder, given } = await refinerFolder(model, vocabulary, options.signal);
  return await openSdxlRefiner(folder, { ...options, given });
}

/** See Family.isRefiner. */
export async function isSdxlRefiner(model: FilePlace, signal?: AbortSignal): Promise<boolean> {
  if (model.kind === "folder") {
    const index = await model.folder.readText(MODEL_INDEX, MAX_CONFIG_BYTES);
    return index !== undefined && isRefinerIndex(index);
  }
  if ((await sniffContainer(model.file, signal)) !== "safetensors") return false;
  const { table } = await readSafetensorsHeader(model.file, signal);
  return [...table.keys()].some((name) => name.startsWith(TEXT_ENCODER_PREFIX));
}

async function refinerFolder(
  { file, path }: Extract<FilePlace, { kind: "file" }>,
  vocabulary: Folder,
  signal: AbortSignal | undefined,
): Promise<{ readonly folder: Folder; readonly given: ReadonlyMap<WeightFolder, GivenWeights> }> {
  const header = await readSafetensorsHeader(file, signal);
  const kind = fileKind([...header.table.keys(), ...header.foreign.keys()]);
  if (kind && kind.id !== "checkpoint" && kind.id !== "unet") {
    throw noRefiner(path, `it is ${kind.words}`, kind.next);
  }
  const { tables } = partsOf(await weightTable(header, file.name, signal), file.name);
  // Its prompts are empty and not zeros where there are none, as its model_index.json in diffusers' layout has it.
  const texts = new Map<string, string>([
    [MODEL_INDEX, baseFile(MODEL_INDEX, { ...ABSENT_IN_REFINER, force_zeros_for_empty_prompt: false })],
    [SCHEDULER_CONFIG, baseFile(SCHEDULER_CONFIG)],
  ]);
  const given = new Map<WeightFolder, GivenWeights>();
  for (const network of NETWORKS) {
    const table = tables.get(network);
    if (!table) throw noRefiner(path, `it has no ${network === "unet" ? "UNet" : "text encoder of a refiner"}`);
    const config = inferredConfig(network, table, "refiner");
    if (config === undefined) throw noRefiner(path, `its ${network} is not as wide as that of SDXL's refiner`);
    texts.set(`${network}/config.json`, config);
    given.set(network, { table, subject: `${path}: ${network}` });
  }
  await standardTokenizer(texts, "tokenizer_2", vocabulary);
  const folder: Folder = {
    name: path,
    readText: async (name) => texts.get(name),
    open: async () => undefined,
  };
  return { folder, given };
}

function noRefiner(
  subject: string,
  problem: string,
  next = "name sd_xl_refiner_1.0.safetensors, or a refiner's folder in diffusers' layout",
): ArtifactError {
  return new ArtifactError({
    code: "E_NOT_SDXL",
    subject,
    problem: `this is no SDXL refiner: ${problem}`,
    next,
  });
}
