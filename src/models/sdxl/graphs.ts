/**
 * @file SDXL's graphs, each made in one place: for a job's sizes, and, by the same functions at the smallest sizes, for whoever cuts
 * weights into blocks. Names of segments and their weights depend on no size.
 */
import { type BandProgram, bandProgram } from "../../bands/bands.ts";
import type { Graph } from "../../ir/graph.ts";
import {
  DECODE_BAND_BYTES,
  ENCODE_BAND_BYTES,
  type VaeConfig,
  vaeDecoderGraph,
  vaeEncoderGraph,
  vaeScaleFactor,
} from "../autoencoder.ts";
import { type ClipConfig, clipGraph } from "../clip.ts";
import type { JobShape } from "../job-shape.ts";
import type { SdxlConfigs, UNetConfig } from "./config.ts";
import type { SdxlComponentId } from "./files.ts";
import { type StageImagePrompt, stageImagePrompts } from "./image-prompts.ts";
import { type StageControl, stageControls } from "./stage-controls.ts";
import { unetStepGraph, unetTextGraph, unetTimeGraph } from "./unet.ts";

/** Rows of time embeddings computed at once; bounds their memory for long schedules. */
const TIME_ROWS_AT_ONCE = 64;

/** Ids of the passes; the decode's bands have others. */
export const PASS = { clip: "clip", clip2: "clip2", text: "unet.text", time: "unet.time", step: "unet.step" } as const;

/** Of the prompts, whatever size the picture has. */
export interface TextGraphs {
  readonly clip: Graph;
  readonly clip2: Graph;
}

/** Of one picture size. */
export interface StageGraphs {
  /** Of the UNet's passes: no two stages of a job have one in common. */
  readonly ids: { readonly text: string; readonly time: string; readonly step: string };
  readonly text: Graph;
  readonly time: Graph;
  /** Model calls whose time embeddings one run of `time` computes. */
  readonly callsAtOnce: number;
  /** Of pictures that ask the model less often. */
  readonly otherTimes: readonly TimeGraph[];
  readonly step: Graph;
  /** What runs before each step. */
  readonly controls: readonly StageControl[];
  readonly imagePrompts: readonly StageImagePrompt[];
  /** The decoder in bands. */
  readonly decoder: BandProgram;
  /** The encoder in bands, where pictures are looked at. */
  readonly encoder: BandProgram | undefined;
}

/** Time embeddings for so many model calls at once: how many is a function of a picture's calls alone, as its pixels are. */
export interface TimeGraph {
  readonly id: string;
  readonly callsAtOnce: number;
  readonly graph: Graph;
}

/** What a stage's graphs depend on. */
export interface StageSize
  extends Pick<
    JobShape,
    | "batch"
    | "width"
    | "height"
    | "modelCalls"
    | "otherCalls"
    | "fp32"
    | "text"
    | "adapters"
    | "controls"
    | "imagePrompts"
    | "preview"
  > {
  /** How many pictures are encoded. */
  readonly looks: number;
}

/** `chunkTokens`: what encoders read at once, the same for all prompts of a model. */
export function textGraphs(
  configs: SdxlConfigs,
  chunkTokens: number,
  { fp32, text: shape, adapters, encoderAdapters }: Pick<JobShape, "fp32" | "text" | "adapters" | "encoderAdapters">,
): TextGraphs {
  const text = {
    batch: 1,
    tokens: chunkTokens,
    skips: shape?.clipSkips ?? [0],
    learned: shape?.learned !== undefined,
    fp32,
  };
  const of = (component: SdxlComponentId) => (encoderAdapters ?? adapters?.set)?.components.get(component);
  return {
    clip: clipGraph(configs.textEncoder, { ...text, pooled: false, adapters: of("textEncoder") }),
    clip2: clipGraph(configs.textEncoder2, { ...text, pooled: true, adapters: of("textEncoder2") }),
  };
}

/** `chunkTokens`: see textGraphs; the UNet reads all chunks of a prompt side by side. `prefix`: before the ids of all passes. */
export function stageGraphs(configs: SdxlConfigs, size: StageSize, chunkTokens: number, prefix = ""): StageGraphs {
  const { batch, modelCalls, fp32 } = size;
  const options = { fp32, adapters: size.adapters?.set.components.get("unet" satisfies SdxlComponentId) };
  const textTokens = chunkTokens * (size.text?.chunks ?? 1);
  const scale = vaeScaleFactor(configs.vae);
  const [height, width] = [Math.floor(size.height / scale), Math.floor(size.width / scale)];
  const callsAtOnce = callsAtOnceOf(modelCalls, batch);
  const time = (calls: number) => unetTimeGraph(configs.unet, calls * batch, options);
  const others = new Set(size.otherCalls?.map((calls) => callsAtOnceOf(calls, batch)));
  others.delete(callsAtOnce);
  const controls = stageControls(
    {
      ...{ controls: size.controls ?? [], height, width, textTokens, fp32, pixelsPerCell: scale },
      ...{ callsAtOnce: [callsAtOnce, ...others], adapters: options.adapters },
    },
    prefix,
  );
  const imagePrompts = stageImagePrompts(size.imagePrompts ?? [], configs.unet, { batch, fp32 }, prefix);
  return {
    ...{ controls, imagePrompts },
    ids: { text: `${prefix}${PASS.text}`, time: `${prefix}${PASS.time}`, step: `${prefix}${PASS.step}` },
    text: unetTextGraph(configs.unet, batch, textTokens, options),
    time: time(callsAtOnce),
    callsAtOnce,
    otherTimes: [...others].map((calls) => ({
      id: `${prefix}${PASS.time}-${calls}`,
      callsAtOnce: calls,
      graph: time(calls),
    })),
    step: unetStepGraph(configs.unet, { batch, height, width }, textTokens, {
      ...{ ...options, controls },
      images: imagePrompts.map(({ link }) => link),
    }),
    decoder: decoderProgram(configs.vae, height, width, prefix),
    encoder: size.looks > 0 ? encoderProgram(configs.vae, height, width, prefix) : undefined,
  };
}

export function callsAtOnceOf(modelCalls: number, batch: number): number {
  return Math.max(1, Math.min(modelCalls, Math.floor(TIME_ROWS_AT_ONCE / batch)));
}

/** See Checkpoint.weightGraphs. Encoders with all they have, whatever of it a prompt needs. */
export function sdxlWeightGraphs(configs: SdxlConfigs, component: SdxlComponentId): readonly Graph[] {
  const { unet, textEncoder, textEncoder2, vae } = configs;
  switch (component) {
    case "textEncoder":
      return encoderWeightGraphs(textEncoder);
    case "textEncoder2":
      return encoderWeightGraphs(textEncoder2);
    case "unet":
      return unetWeightGraphs(unet);
    case "vae":
      return layerGraphs(decoderProgram(vae, 2, 2));
    case "vaeEncoder":
      return layerGraphs(encoderProgram(vae, 2, 2));
  }
}

export function encoderWeightGraphs(encoder: ClipConfig): readonly Graph[] {
  return [clipGraph(encoder, { batch: 1, tokens: encoder.maxPositions, pooled: true })];
}

export function unetWeightGraphs(unet: UNetConfig): readonly Graph[] {
  const side = 2 ** unet.levels.length;
  const size = { batch: 1, height: side, width: side };
  return [unetTimeGraph(unet, 1), unetTextGraph(unet, 1, 1), unetStepGraph(unet, size, 1)];
}

/** What goes in bands has a block for each layer of those. */
function layerGraphs({ layers }: BandProgram): readonly Graph[] {
  return layers.map(({ bands }) => bands[0]!.graph);
}

/** `height` and `width`: of the latent. */
function decoderProgram(vae: VaeConfig, height: number, width: number, prefix = ""): BandProgram {
  const options = { bandBytes: DECODE_BAND_BYTES, id: `${prefix}vae.decode` };
  return bandProgram(vaeDecoderGraph(vae, 1, height, width), options);
}

/** `height` and `width`: of the latent. */
function encoderProgram(vae: VaeConfig, height: number, width: number, prefix = ""): BandProgram {
  const options = { bandBytes: ENCODE_BAND_BYTES, id: `${prefix}vae.encode` };
  return bandProgram(vaeEncoderGraph(vae, 1, height, width), options);
}
