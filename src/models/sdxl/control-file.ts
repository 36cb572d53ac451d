/**
 * @file Files and folders of ControlNets for SDXL: diffusers' folders, single files by diffusers' names or the original layout's. Which network it is
 * is told by its names and shapes; what is for another model, or another kind, is refused by what it is.
 */
import { JsonConfig, MAX_CONFIG_BYTES } from "../../checkpoint/json-config.ts";
import { requireSchema } from "../../checkpoint/schema.ts";
import { type OpenWeightsOptions, openWeights } from "../../checkpoint/weight-folder.ts";
import { readWeightTable } from "../../checkpoint/weight-header.ts";
import type { TensorTable } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import type { Folder } from "../../source/folder.ts";
import { vaeScaleFactor } from "../autoencoder.ts";
import type { OpenedControl } from "../control.ts";
import type { FilePlace } from "../file-place.ts";
import type { SdxlParts } from "./config.ts";
import { controlLoraConfig, controlNetConfig, t2iAdapterConfig } from "./control-config.ts";
import { CONTROL_LORA_MARK, ControlLora, isControlLoraFactor } from "./control-lora.ts";
import { diffusersControlNames } from "./control-names.ts";
import { type ControlNetConfig, controlNetSchema, hintScale } from "./controlnet.ts";
import { type SdxlComponentId, weightFiles } from "./files.ts";
import { t2iAdapterSchema } from "./t2i-adapter.ts";

/** See Checkpoint.openControl. `base`: the model that it is to steer. */
export async function openSdxlControl(
  place: FilePlace,
  base: SdxlParts,
  options: OpenWeightsOptions,
): Promise<OpenedControl> {
  const { subject, stored, config } = await readPlace(place, options);
  if (stored.has(CONTROL_LORA_MARK)) return openControlLora(subject, stored, base);
  requireKnownKind(subject, stored.values());
  if ([...stored.keys()].some((name) => T2I.test(name))) return openT2iAdapter(subject, stored, base);
  const table = diffusersControlNames(stored, subject);
  const network = controlNetConfig(table, config, base.configs.unet);
  if (!network) throw noControl(subject, "its tensors are none that a ControlNet for SDXL has");
  requireFits(subject, network, base);
  const rules = {
    component: "controlnet",
    schema: controlNetSchema(network),
    canonical: (name: string) => name,
    ignored: () => false,
    familiar: () => true,
  };
  return { network, table: requireSchema(table, rules, subject) };
}

interface ReadPlace {
  readonly subject: string;
  readonly stored: TensorTable;
  readonly config: JsonConfig | undefined;
}

async function readPlace(place: FilePlace, options: OpenWeightsOptions): Promise<ReadPlace> {
  if (place.kind === "file") {
    return { subject: place.path, stored: await readWeightTable(place.file, options.signal), config: undefined };
  }
  const { folder } = place;
  const config = await configOf(folder);
  const stored = await openWeights(folder, "", weightFiles("diffusion_pytorch_model", ["fp16", "none"]), options);
  return { subject: folder.name, stored, config };
}

async function configOf(folder: Folder): Promise<JsonConfig> {
  const text = await folder.readText("config.json", MAX_CONFIG_BYTES);
  if (text === undefined) {
    const problem = "there is no config.json, so it is no folder of a ControlNet";
    const next = "name the folder with config.json and diffusion_pytorch_model.safetensors, or a .safetensors file";
    throw new ArtifactError({ code: "E_MISSING", subject: folder.name, problem, next });
  }
  const config = new JsonConfig(`${folder.name}/config.json`, text);
  const name = config.string("_class_name", "ControlNetModel");
  if (["ControlNetModel", "ControlNetUnionModel", "ControlNetModel_Union", "T2IAdapter"].includes(name)) return config;
  throw noControl(folder.name, `its config.json is that of ${name.slice(0, 60)}`);
}

/** By names that only such a file has; of several that fit the first counts. */
const OTHERS: readonly (readonly [name: RegExp, words: string])[] = [
  [/^lllite_/, "it is a ControlNet-LLLite, which is not computed here"],
  [/^(controlnet_x_embedder|double_blocks|single_transformer_blocks)\b/, "it is a ControlNet for Flux"],
  [
    /^(transformer_blocks|joint_blocks|controlnet_blocks|pos_embed_input)\b/,
    "it is a ControlNet for Stable Diffusion 3 or another transformer",
  ],
  [/^(image_proj|ip_adapter)\./, "it is an IP-Adapter: give it with --ip-adapter"],
  [/(^|[._])lora[._]|\.hada_w1|\.lokr_w1/, "it is a LoRA: give it with --lora"],
];

/** By the width of the text that cross-attention reads. */
const BY_CONTEXT: Readonly<Record<number, string>> = {
  768: "it is a ControlNet for Stable Diffusion 1.5",
  1024: "it is a ControlNet for Stable Diffusion 2",
};

const T2I = /^adapter\.body\.\d+\./;
const CONTROL = /(^|\.)(adapter\.body\.\d+\.|controlnet_cond_embedding\.|zero_convs\.0\.0\.|input_hint_block\.)/;

function requireKnownKind(
  subject: string,
  tensors: Iterable<{ readonly name: string; readonly shape: readonly number[] }>,
): void {
  const all = [...tensors];
  const keys = all.find(({ name, shape }) => name.endsWith("attn2.to_k.weight") && shape.length === 2);
  const changes = all.some(({ name }) => isControlLoraFactor(name)) ? "it has a Control-LoRA's changes of layers" : "";
  const isControl = all.some(({ name }) => CONTROL.test(name));
  const words =
    OTHERS.find(([pattern]) => all.some(({ name }) => pattern.test(name)))?.[1] ??
    (isControl
      ? (BY_CONTEXT[keys?.shape[1] ?? 0] ??
        (changes ? `${changes}, and no ${CONTROL_LORA_MARK} says that it is one` : undefined))
      : "its tensors are none of a ControlNet's");
  if (words !== undefined) throw noControl(subject, words);
}

function openControlLora(subject: string, stored: TensorTable, base: SdxlParts): OpenedControl {
  const fail = (why: string) => noControl(subject, `${why} (it is a Control-LoRA)`);
  const text = [...stored.values()].find(({ name }) => name.endsWith("attn2.to_k.down"));
  const foreign = BY_CONTEXT[text?.shape[1] ?? 0];
  if (foreign !== undefined) throw fail(foreign);
  const config = controlLoraConfig(stored, base.configs.unet, subject);
  if (!config) throw fail("it has no convolutions of a hint");
  requireFits(subject, config, base);
  const lora = ControlLora.read(stored, controlNetSchema(config), subject, fail);
  const network: ControlNetConfig = { ...config, lora };
  return { network, table: lora.table, over: "unet" satisfies SdxlComponentId };
}

function openT2iAdapter(subject: string, table: TensorTable, { name, configs }: SdxlParts): OpenedControl {
  const network = t2iAdapterConfig(table);
  const { unet, vae } = configs;
  const { channels } = unet.levels.at(-1)!;
  const wanted = [...unet.levels.map((level) => level.channels), channels];
  if (!network || network.channels.join() !== wanted.join() || network.fold !== 2 * vaeScaleFactor(vae)) {
    const found = network ? `${network.channels.join(", ")} channels of ${network.fold} pixels` : "other tensors";
    throw noControl(
      subject,
      `it is a T2I-Adapter with ${found}, and ${name} takes ${wanted.join(", ")} of ${2 * vaeScaleFactor(vae)}`,
    );
  }
  const rules = {
    component: "t2i_adapter",
    schema: t2iAdapterSchema(network),
    canonical: (name: string) => name,
    ignored: () => false,
    familiar: () => true,
  };
  return { network, table: requireSchema(table, rules, subject) };
}

function requireFits(subject: string, network: ControlNetConfig, { name, configs }: SdxlParts): void {
  const { unet, vae } = configs;
  const widths = ({ levels }: Pick<ControlNetConfig, "levels">) =>
    levels.map(({ channels, layers }) => `${layers}x${channels}`).join(", ");
  const wrong =
    network.crossAttentionDim !== unet.crossAttentionDim
      ? `it reads text of ${network.crossAttentionDim} channels, and ${name} has ${unet.crossAttentionDim}`
      : network.additionInputDim !== unet.additionInputDim || network.additionTimeEmbedDim !== unet.additionTimeEmbedDim
        ? `it is told ${network.additionInputDim} values beside the time, and ${name} ${unet.additionInputDim}`
        : widths(network) !== widths(unet)
          ? `its levels (${widths(network)}) are not those of ${name} (${widths(unet)})`
          : network.inChannels !== vae.latentChannels
            ? `it reads ${network.inChannels} latent channels, and ${name} has ${vae.latentChannels}`
            : hintScale(network) !== vaeScaleFactor(vae)
              ? `it makes one cell of ${hintScale(network)} pixels, and ${name} of ${vaeScaleFactor(vae)}`
              : network.pictureChannels !== 3
                ? `it reads pictures of ${network.pictureChannels} channels (allowed 3)`
                : undefined;
  if (wrong !== undefined) throw noControl(subject, wrong);
}

function noControl(subject: string, why: string): ArtifactError {
  return new ArtifactError({
    code: "E_CONTROL",
    subject,
    problem: `this is no ControlNet for this model: ${why}`,
    next: "name a ControlNet for SDXL: a diffusers folder, or a .safetensors file",
  });
}
