/** @file All of a job that its graphs and its plan depend on, and nothing else of it. */
import type { AdapterSet } from "../adapters/adapter-set.ts";
import { encoderBytesPerPixel } from "../image/picture-writer.ts";
import type { ControlShape } from "./control.ts";
import type { ImagePromptShape } from "./image-prompt.ts";
import type { TinyDecoderConfig } from "./tiny-decoder.ts";
import type { UpscalerConfig } from "./upscaler.ts";

/** All that graphs and plans depend on. */
export interface JobShape {
  /** Answers of the model in one pass: 2 with classifier-free guidance, and one more for each further part of the prompt. */
  readonly batch: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** How often the sampler asks the model in one image. */
  readonly modelCalls: number;
  /** The same of pictures that are drawn beside and ask less often. */
  readonly otherCalls?: readonly number[] | undefined;
  /** Latents that the sampler keeps of earlier steps, and of questions before in the same step. */
  readonly historyLength: number;
  /** Everything in fp32, whatever precision is declared. */
  readonly fp32: boolean;
  /** What prompts take; absent: one chunk each, the same in all steps, by the encoders' usual layer. */
  readonly text?: TextShape | undefined;
  /** The pictures that it begins with; without it there is noise alone. */
  readonly pictures?: PicturesShape | undefined;
  /** A second pass over the same network, at another size. */
  readonly hires?: HiresShape | undefined;
  /** Networks that change others' layers. */
  readonly adapters?: AdaptersShape | undefined;
  /** Of the text encoders, where the second pass has adapters of its own: those of all passes. Absent: as `adapters`. */
  readonly encoderAdapters?: AdapterSet | undefined;
  /** The last steps are another network's. */
  readonly refined?: RefinedShape | undefined;
  /** Networks beside the model's own that steer it by pictures. */
  readonly controls?: readonly ControlShape[] | undefined;
  /** Pictures that the model is told of beside the prompt. */
  readonly imagePrompts?: readonly ImagePromptShape[] | undefined;
  /** How previews are made, where they are asked for: by the latent's colours, or by a network. */
  readonly preview?: "colours" | PreviewerShape | undefined;
  /** Host memory of whoever encodes the picture, see `encoderBytesPerPixel`. Absent: as for PNG. No graph depends on it. */
  readonly encoderBytesPerPixel?: number | undefined;
}

export interface AdaptersShape {
  readonly set: AdapterSet;
  /** How often their strengths change from one step to the next. */
  readonly changes: number;
}

export interface RefinedShape {
  /** Pixels. Default: the job's; those of a second pass where there is one. */
  readonly width?: number;
  readonly height?: number;
  readonly modelCalls: number;
  readonly historyLength: number;
  /** As of a second pass with prompts of its own. */
  readonly text?: TextShape | undefined;
  readonly batch?: number;
}

export interface TextShape {
  /** Of the longest prompt; the others are filled up to it. */
  readonly chunks: number;
  /** The layers that are read, each once: see Prompt.clipSkip. */
  readonly clipSkips: readonly number[];
  /** Chunks that are encoded for one image. */
  readonly encodes: number;
  /** How often the model is told of prompts: 1, and each step with others than the one before. */
  readonly tellings: number;
  /** Vectors of all the learned words that prompts may have; absent: they have none. */
  readonly learned?: number;
  /** Chunks of embeddings in host memory beside those that are kept for prompts to come back. */
  readonly heldChunks: number;
}

/** What lies in host memory from the first phase on, at the size of the job. */
export interface PicturesShape {
  /** How many are brought into latent space. */
  readonly encoded: number;
  /** A mask says what is painted anew. */
  readonly masked: boolean;
  /** It is a part of another, which it is laid back over. */
  readonly detail?: DetailSizes | undefined;
}

/** In pixels. */
export interface DetailSizes {
  readonly whole: { readonly width: number; readonly height: number };
  readonly part: { readonly width: number; readonly height: number };
}

export interface HiresShape {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly modelCalls: number;
  /** What is enlarged: the latent, or the decoded picture, which is then encoded again. */
  readonly enlarges: "latent" | "picture";
  /** Absent: it has none. */
  readonly adapters?: AdaptersShape | undefined;
  readonly controls?: readonly ControlShape[] | undefined;
  /** Where it has prompts of its own. Encoders, layers and vectors are counted for both passes. */
  readonly text?: TextShape | undefined;
  readonly batch?: number;
  /** What enlarges the picture; absent: a filter. */
  readonly upscaler?: UpscalerShape | undefined;
}

/** A network that makes previews. */
export interface PreviewerShape {
  /** What its weights are read as. */
  readonly component: string;
  readonly config: TinyDecoderConfig;
}

/** A network that enlarges pictures. */
export interface UpscalerShape {
  /** What its weights are read as: another one for each file. */
  readonly component: string;
  readonly config: UpscalerConfig;
}

/**
 * What does for pictures of all these shapes, side by side: of repeats and amounts of host memory the largest. Undefined where their
 * graphs differ, so that they can't share a pass.
 */
export function joinedShape(shapes: readonly JobShape[]): JobShape | undefined {
  const [first, ...others] = shapes;
  if (!first) return undefined;
  const graphs = graphsOf(first);
  if (others.some((other) => graphsOf(other) !== graphs)) return undefined;
  const most = (of: (shape: JobShape) => number) => Math.max(...shapes.map(of));
  const modelCalls = most((shape) => shape.modelCalls);
  const calls = new Set(shapes.map((shape) => shape.modelCalls));
  calls.delete(modelCalls);
  const encoders = new Set(shapes.map((shape) => shape.encoderBytesPerPixel));
  const { text, adapters, hires, refined, controls } = first;
  const joinedText = (of: (shape: JobShape) => TextShape | undefined) => {
    const texts = shapes.map((shape) => of(shape)!);
    const mostOf = (name: "encodes" | "tellings" | "heldChunks") => Math.max(...texts.map((each) => each[name]));
    return { ...texts[0]!, encodes: mostOf("encodes"), tellings: mostOf("tellings"), heldChunks: mostOf("heldChunks") };
  };
  return {
    ...first,
    modelCalls,
    ...(calls.size > 0 && { otherCalls: [...calls].sort((a, b) => b - a) }),
    ...(encoders.size > 1 && {
      encoderBytesPerPixel: Math.max(...[...encoders].map((bytes) => bytes ?? encoderBytesPerPixel({ format: "png" }))),
    }),
    historyLength: most((shape) => shape.historyLength),
    ...(text && { text: joinedText((shape) => shape.text) }),
    ...(hires?.text && { hires: { ...hires, text: joinedText((shape) => shape.hires?.text) } }),
    ...(refined?.text && { refined: { ...refined, text: joinedText((shape) => shape.refined?.text) } }),
    ...(adapters && { adapters: { ...adapters, changes: most((shape) => shape.adapters!.changes) } }),
    ...(controls && {
      controls: controls.map((control, i) => ({ ...control, calls: most((shape) => shape.controls![i]!.calls) })),
    }),
  };
}

/** Equal for shapes whose pictures can share passes. */
function graphsOf(shape: JobShape): string {
  const {
    modelCalls: _,
    otherCalls: __,
    historyLength: ___,
    encoderBytesPerPixel: ____,
    text,
    adapters,
    controls,
    hires,
    refined,
    ...rest
  } = shape;
  const textOf = (told: TextShape | undefined) => told && [told.chunks, told.clipSkips, told.learned];
  const passes = [hires, refined].map((pass) => pass && { ...pass, text: textOf(pass.text) });
  const steering = controls?.map(({ calls: _calls, ...control }) => control);
  return JSON.stringify([rest, textOf(text), adapters?.set, passes, steering]);
}
