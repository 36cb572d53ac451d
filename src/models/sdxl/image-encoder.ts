/** @file The image encoders of IP-Adapters: folders with a config.json, and single files, whose names and shapes tell what that would say. */
import { kindOfTables } from "../../checkpoint/file-kind.ts";
import { JsonConfig, MAX_CONFIG_BYTES } from "../../checkpoint/json-config.ts";
import { requireSchema } from "../../checkpoint/schema.ts";
import { tensorTables } from "../../checkpoint/tensor-file.ts";
import { type OpenWeightsOptions, openWeights } from "../../checkpoint/weight-folder.ts";
import type { TensorTable } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import type { Folder } from "../../source/folder.ts";
import type { ByteSource } from "../../source/source.ts";
import {
  CLASS_EMBEDDING,
  type ClipVisionConfig,
  canonicalVisionName,
  clipVisionConfig,
  clipVisionSchema,
} from "../clip-vision.ts";
import { fileTensors, visionConfigOf, visionTensors } from "../clip-vision-file.ts";
import type { FilePlace } from "../file-place.ts";
import { weightFiles } from "./files.ts";

export interface ImageEncoderPlace {
  /** As it was named. */
  readonly name: string;
  readonly vision: ClipVisionConfig;
  /** Its weights by canonical names, and what its pictures' colours are normalised by. Rejects with ArtifactError. */
  readonly open: () => Promise<OpenedEncoder>;
}

interface OpenedEncoder {
  readonly table: TensorTable;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** OpenAI's, which CLIPImageProcessor takes where nothing is said. */
const MEAN = [0.48145466, 0.4578275, 0.40821073];
const DEVIATION = [0.26862954, 0.26130258, 0.27577711];

const NEXT =
  "name the folder image_encoder that comes with IP-Adapters, or a file of ViT-H or ViT-bigG, such as CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors";
const OTHERS: readonly (readonly [name: RegExp, words: string])[] = [
  [/^(vision_model\.head|visual\.trunk)\./, "it is a SigLIP encoder, and IP-Adapters for SDXL read CLIP's"],
];

/** Reads a folder's config, or a file's header. Rejects with ArtifactError `E_IP_ADAPTER`, `E_CONFIG`, or as files do. */
export async function imageEncoderAt(place: FilePlace, options: OpenWeightsOptions): Promise<ImageEncoderPlace> {
  return place.kind === "file" ? await ofFile(place.path, place.file, options) : await ofFolder(place.folder, options);
}

async function ofFolder(folder: Folder, options: OpenWeightsOptions): Promise<ImageEncoderPlace> {
  const text = await folder.readText("config.json", MAX_CONFIG_BYTES);
  if (text === undefined) throw refusal(folder.name, "there is no config.json, so it is no folder of an image encoder");
  const vision = clipVisionConfig(new JsonConfig(`${folder.name}/config.json`, text));
  return {
    ...{ name: folder.name, vision },
    open: async () => ({
      table: required(
        await openWeights(folder, "", weightFiles("model", ["fp16", "none"]), options),
        vision,
        folder.name,
      ),
      ...(await coloursOf(folder)),
    }),
  };
}

async function ofFile(name: string, file: ByteSource, { signal }: OpenWeightsOptions): Promise<ImageEncoderPlace> {
  const tables = await tensorTables(file, signal);
  const stored = fileTensors(tables);
  const tensors = visionTensors(stored);
  if (!tensors) {
    const other = OTHERS.find(([pattern]) => [...stored.keys()].some((each) => pattern.test(each)))?.[1];
    const kind = kindOfTables(tables);
    const isStrange = kind === undefined || kind.id === "image-encoder";
    throw refusal(
      name,
      other ?? (isStrange ? "its tensors are none of a CLIP vision encoder's" : `it is ${kind.words}`),
    );
  }
  const vision = visionConfigOf(tensors);
  if (typeof vision === "string") throw refusal(name, vision);
  return {
    ...{ name, vision },
    open: async () => ({ table: required(tensors, vision, name), mean: MEAN, deviation: DEVIATION }),
  };
}

function required(stored: TensorTable, vision: ClipVisionConfig, subject: string): TensorTable {
  // A row of a table of one.
  const shaped = [...stored.values()].map((entry) => {
    const isRow = canonicalVisionName(entry.name) === CLASS_EMBEDDING && entry.shape.length === 1;
    return [entry.name, isRow ? { ...entry, shape: [1, ...entry.shape] } : entry] as const;
  });
  const rules = {
    component: "image_encoder",
    schema: clipVisionSchema(vision),
    canonical: canonicalVisionName,
    ignored: (name: string) => name.endsWith(".position_ids"),
    familiar: () => true,
  };
  return requireSchema(new Map(shaped), rules, subject);
}

async function coloursOf(folder: Folder): Promise<Omit<OpenedEncoder, "table">> {
  const how = await folder.readText("preprocessor_config.json", MAX_CONFIG_BYTES);
  const told = how === undefined ? undefined : new JsonConfig(`${folder.name}/preprocessor_config.json`, how);
  const three = (field: string, standing: readonly number[]) => {
    const values = told?.numbers(field) ?? standing;
    if (values.length === 3 && values.every((value) => Number.isFinite(value) && (field === "image_mean" || value > 0)))
      return values;
    throw told!.wrong(field, values, "three numbers");
  };
  return { mean: three("image_mean", MEAN), deviation: three("image_std", DEVIATION) };
}

function refusal(subject: string, problem: string): ArtifactError {
  return new ArtifactError({ code: "E_IP_ADAPTER", subject, problem, next: NEXT });
}
