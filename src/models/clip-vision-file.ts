/**
 * @file CLIP vision encoders as single files: transformers' parameters ("vision_model.", "visual_projection.weight") or OpenCLIP's ("visual."), by
 * themselves or beside their text encoder. What a config.json would say is told from their shapes, and from the widths that such encoders have.
 */
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { memorySource } from "../source/memory.ts";
import { CLASS_EMBEDDING, type ClipVisionConfig, canonicalVisionName, MAX_IMAGE_SIDE } from "./clip-vision.ts";
import { openClipVisionTensors } from "./open-clip.ts";

/** What shapes don't tell: by the width of the encoder, which each of them has alone (OpenCLIP's and OpenAI's configurations). */
const BY_WIDTH: Readonly<Record<number, Pick<ClipVisionConfig, "heads" | "activation"> & { readonly title: string }>> =
  {
    768: { title: "ViT-B", heads: 12, activation: "quickGelu" },
    1024: { title: "ViT-L", heads: 16, activation: "quickGelu" },
    1280: { title: "ViT-H", heads: 16, activation: "gelu" },
    1408: { title: "ViT-g", heads: 16, activation: "gelu" },
    1664: { title: "ViT-bigG", heads: 16, activation: "gelu" },
  };
/** Of CLIP's layers; no file says another. */
const EPS = 1e-5;

/** "ViT-H"; undefined of a width that no published encoder has. */
export function visionTitle({ hiddenSize }: Pick<ClipVisionConfig, "hiddenSize">): string | undefined {
  return BY_WIDTH[hiddenSize]?.title;
}

/** The file's tensors by transformers' names, those of a text encoder beside it left out; undefined where it has no class embedding, and so is no CLIP vision encoder's. */
export function visionTensors(stored: TensorTable): TensorTable | undefined {
  const found = [...stored].flatMap(([name, entry]): readonly (readonly [string, TensorEntry])[] =>
    name.startsWith("visual.") ? openClipOr(name, entry) : [[canonicalVisionName(name), entry]],
  );
  const own = found.filter(([name]) => /^(vision_model|visual)\./.test(name) || name === PROJECTION);
  const table = new Map(own.map(([name, entry]) => [name, { ...entry, name }]));
  return table.has(CLASS_EMBEDDING) ? table : undefined;
}

/** Where a file of torch.save has its tensors. */
const TABLES = ["", "state_dict"];

/** A file's tensors out of its tables, by their paths within it. */
export function fileTensors(tables: ReadonlyMap<string, TensorTable>): TensorTable {
  return TABLES.map((path) => tables.get(path)).find((table) => table && table.size > 0) ?? new Map();
}

/** Whether it is a CLIP vision encoder that can be read. */
export function isVisionFile(tables: ReadonlyMap<string, TensorTable>): boolean {
  const tensors = visionTensors(fileTensors(tables));
  return tensors !== undefined && typeof visionConfigOf(tensors) !== "string";
}

/** What such a file is, in words; undefined of another one. */
export function visionWords(tensors: Iterable<Pick<TensorEntry, "name" | "shape">>): string | undefined {
  const nowhere = {
    dtype: "f16",
    source: memorySource("a header", new Uint8Array()),
    startByte: 0,
    endByte: 0,
  } as const;
  const table = visionTensors(new Map([...tensors].map(({ name, shape }) => [name, { ...nowhere, name, shape }])));
  const vision = table && visionConfigOf(table);
  if (vision === undefined || typeof vision === "string") return undefined;
  const { layers, hiddenSize, projectionDim, imageSize } = vision;
  const seen = `it gives ${projectionDim} channels of a picture of ${imageSize}x${imageSize}, or ${hiddenSize} of each part`;
  return `a CLIP vision encoder, ${visionTitle(vision)} of ${layers} layers (${seen}): give it with --image-encoder, to an IP-Adapter`;
}

/** By its own name where no CLIP vision encoder has it: what nothing reads is told. */
function openClipOr(name: string, entry: TensorEntry): readonly (readonly [string, TensorEntry])[] {
  const named = openClipVisionTensors(name.slice("visual.".length), entry);
  return named.length > 0 ? named : [[name, entry]];
}

/** The configuration of such tensors; what is wrong with them, as text. */
export function visionConfigOf(table: TensorTable): ClipVisionConfig | string {
  const shapeOf = (name: string) => table.get(name)?.shape ?? [];
  const hiddenSize = shapeOf(CLASS_EMBEDDING).at(-1) ?? 0;
  const known = BY_WIDTH[hiddenSize];
  if (!known) {
    return `it is ${hiddenSize} wide, as none of the encoders whose heads are known (${Object.keys(BY_WIDTH).join(", ")})`;
  }
  const [projectionDim = 0] = shapeOf(PROJECTION);
  if (projectionDim === 0) return `it has no ${PROJECTION}`;
  const patchSize = shapeOf("vision_model.embeddings.patch_embedding.weight").at(-1) ?? 0;
  const [tokens = 0] = shapeOf("vision_model.embeddings.position_embedding.weight");
  const side = Math.sqrt(tokens - 1);
  const layers = 1 + Math.max(-1, ...[...table.keys()].flatMap((name) => LAYER.exec(name)?.[1] ?? []).map(Number));
  if (!Number.isInteger(side) || side < 1 || side * patchSize < 1 || side * patchSize > MAX_IMAGE_SIDE || layers < 2) {
    return `it has ${layers} layers and ${tokens} positions of patches of ${patchSize} pixels, which are none of such an encoder's`;
  }
  const { heads, activation } = known;
  const [intermediateSize = 0] = shapeOf("vision_model.encoder.layers.0.mlp.fc1.weight");
  const imageSize = side * patchSize;
  return { hiddenSize, intermediateSize, layers, heads, activation, imageSize, patchSize, projectionDim, eps: EPS };
}

const PROJECTION = "visual_projection.weight";
const LAYER = /^vision_model\.encoder\.layers\.(\d{1,2})\./;
