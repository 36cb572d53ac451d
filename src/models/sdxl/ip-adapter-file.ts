/**
 * @file Files of IP-Adapters for SDXL, .safetensors ("image_proj.proj.weight") and .bin (two tables). Base and Plus are told by their names; others are refused by
 * what they are.
 */
import { requireSchema } from "../../checkpoint/schema.ts";
import type { OpenWeightsOptions } from "../../checkpoint/weight-folder.ts";
import type { TensorEntry, TensorTable } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import { visionTitle } from "../clip-vision-file.ts";
import type { FilePlace } from "../file-place.ts";
import type { OpenedImagePrompt } from "../image-prompt.ts";
import type { SdxlParts } from "./config.ts";
import { type ImageEncoderPlace, imageEncoderAt } from "./image-encoder.ts";
import { HEAD, type IpAdapterConfig, ipAdapterSchema, type ResamplerConfig } from "./ip-adapter.ts";

/** See SideNetworks.openImagePrompt. `base`: the model that is told of pictures. */
export async function openSdxlImagePrompt(
  adapter: { readonly subject: string; readonly tables: ReadonlyMap<string, TensorTable> },
  encoders: readonly FilePlace[],
  base: SdxlParts,
  options: OpenWeightsOptions,
): Promise<OpenedImagePrompt> {
  const { subject } = adapter;
  const stored = plainTable(adapter.tables);
  requireKnownKind(subject, stored);
  const { unet } = base.configs;
  const width = unet.crossAttentionDim;
  const found = projectionOf(stored);
  if (found.context !== width) {
    const problem = `it gives ${found.context} channels of context, and ${base.name} reads ${width}`;
    throw refusal(subject, problem, "take an IP-Adapter for SDXL");
  }
  const { vision, open } = await fittingEncoder(subject, encoders, found, options);
  const { table, ...colours } = await open();
  const { tokens, plus } = found;
  const network: IpAdapterConfig = { kind: "ip-adapter", side: vision.imageSize, ...colours, vision, tokens, plus };
  const rules = {
    component: "ip_adapter",
    schema: ipAdapterSchema(network, unet),
    canonical: (name: string) => name,
    ignored: () => false,
    familiar: () => true,
  };
  return { network, encoder: table, adapter: requireSchema(stored, rules, subject) };
}

/** By dotted names: of a .bin's two tables too. The resampler's first latents are a table's rows. */
function plainTable(tables: ReadonlyMap<string, TensorTable>): TensorTable {
  const plain = new Map<string, TensorEntry>();
  for (const [path, table] of tables) {
    for (const entry of table.values()) {
      const name = path === "" ? entry.name : `${path}.${entry.name}`;
      const isLatents = name === "image_proj.latents" && entry.shape.length === 3 && entry.shape[0] === 1;
      plain.set(name, { ...entry, name, shape: isLatents ? entry.shape.slice(1) : entry.shape });
    }
  }
  return plain;
}

const FACE =
  "it is an IP-Adapter FaceID, which reads faces by a network that is not free (InsightFace) and is not computed here";

/** By names that only such a file has; of several that fit the first counts. */
const OTHERS: readonly (readonly [name: RegExp, words: string])[] = [
  [/^image_proj\.(perceiver_resampler\.|proj\.2\.)|\.to_[qkv]_lora\./, FACE],
  [/^image_proj\.proj\.3\./, "it is an IP-Adapter Full Face, which is made for Stable Diffusion 1.5"],
  [
    /^(double_blocks|ip_adapter_proj_model|single_blocks|time_resampler)\b/,
    "it is an IP-Adapter for Flux or Stable Diffusion 3",
  ],
];

function requireKnownKind(subject: string, table: TensorTable): void {
  const names = [...table.keys()];
  const words = OTHERS.find(([pattern]) => names.some((name) => pattern.test(name)))?.[1];
  if (words !== undefined) throw refusal(subject, words, NEXT);
  const keys = table.get("ip_adapter.1.to_k_ip.weight");
  if (!keys || !(table.has("image_proj.proj.weight") || table.has("image_proj.latents"))) {
    throw refusal(subject, "its tensors are none of an IP-Adapter's", NEXT);
  }
  if (keys.shape[1] === 768) throw refusal(subject, "it is an IP-Adapter for Stable Diffusion 1.5", NEXT);
}

const NEXT =
  "name an IP-Adapter for SDXL: ip-adapter_sdxl_vit-h.safetensors, ip-adapter-plus_sdxl_vit-h.safetensors, ip-adapter_sdxl.safetensors";
/** Tokens of each picture, fixed where nothing but a projection makes them. */
const BASE_TOKENS = 4;
const MAX_DEPTH = /^image_proj\.layers\.(\d{1,2})\./;

function projectionOf(table: TensorTable) {
  const shapeOf = (name: string) => table.get(`image_proj.${name}`)?.shape ?? [];
  const [wide, sees = 0] = shapeOf("proj.weight");
  if (wide !== undefined) return { context: wide / BASE_TOKENS, sees, tokens: BASE_TOKENS, plus: undefined };
  const [tokens = 0, width = 0] = shapeOf("latents");
  const [attention = 0] = shapeOf("layers.0.0.to_q.weight");
  const [inner = 0] = shapeOf("layers.0.1.1.weight");
  const depths = [...table.keys()].flatMap((name) => MAX_DEPTH.exec(name)?.[1] ?? []).map(Number);
  const plus: ResamplerConfig = {
    width,
    heads: Math.floor(attention / HEAD),
    depth: Math.max(-1, ...depths) + 1,
    inner,
  };
  return { context: shapeOf("proj_out.weight")[0] ?? 0, sees: shapeOf("proj_in.weight")[1] ?? 0, tokens, plus };
}

/** The first that gives as much as the adapter reads. */
async function fittingEncoder(
  subject: string,
  encoders: readonly FilePlace[],
  { sees, plus }: Pick<ReturnType<typeof projectionOf>, "sees" | "plus">,
  options: OpenWeightsOptions,
): Promise<ImageEncoderPlace> {
  const given: string[] = [];
  for (const place of encoders) {
    const encoder = await imageEncoderAt(place, options);
    const { vision, name } = encoder;
    const gives = plus ? vision.hiddenSize : vision.projectionDim;
    if (gives === sees) return encoder;
    const title = visionTitle(vision);
    // Whoever asks a server is told no folders.
    given.push(`${name.replace(/^.*[\\/]/, "")}${title === undefined ? "" : ` (${title})`} gives ${gives}`);
  }
  throw refusal(
    subject,
    `it reads ${sees} channels of an image encoder, and ${given.join(", ")}`,
    "name its own encoder with --image-encoder: ViT-H for those with vit-h in their names and Plus, else ViT-bigG",
  );
}

function refusal(subject: string, problem: string, next: string): ArtifactError {
  return new ArtifactError({ code: "E_IP_ADAPTER", subject, problem, next });
}
