/**
 * @file A job of SDXL as phases: encode (both text encoders), then a stage (stage.ts) of one size: look, where pictures come first, denoise and
 * decode; or two stages over one UNet, where the second enlarges what the first has made.
 */
import { encoderBytesPerPixel } from "../../image/picture-writer.ts";
import { resampleBytes } from "../../image/resample.ts";
import type { PhaseDescription } from "../../plan/describe.ts";
import type { Denoise } from "../../sampler/sampler.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { hiddenName } from "../clip.ts";
import type { Conditioning, Prompt } from "../conditioning.ts";
import {
  type DenoiserOptions,
  type DescribedJob,
  type EncodeOptions,
  type LatentMoments,
  PROMPT_CACHE_ENTRIES,
} from "../family.ts";
import type { DetailSizes, JobShape } from "../job-shape.ts";
import type { Previewing } from "../previewing.ts";
import { Upscaling } from "../upscaling.ts";
import { encodePrompt } from "./conditioning.ts";
import type { SdxlParts } from "./config.ts";
import { PASS, type TextGraphs, textGraphs } from "./graphs.ts";
import { imagePromptBytes, SdxlImagePrompts } from "./image-prompts.ts";
import { SdxlRefinedStage, type SdxlRefiner } from "./refiner.ts";
import { inputElements, outputElements, passOf, SdxlStage, type StageHost } from "./stage.ts";

const ENCODE = "encode";
const ENLARGE = "hires.enlarge";

export class SdxlJob implements DescribedJob {
  readonly phases: readonly PhaseDescription[];
  readonly phaseOf: DescribedJob["phaseOf"];
  readonly hires: SdxlStage | undefined;
  readonly enlarging: DescribedJob["enlarging"];
  readonly refined: SdxlRefinedStage | undefined;
  readonly imagePrompts: SdxlImagePrompts | undefined;
  readonly #parts: SdxlParts;
  readonly #graphs: TextGraphs;
  readonly #first: SdxlStage;

  constructor(parts: SdxlParts, shape: JobShape, refiner?: SdxlRefiner) {
    const { configs, tokenizer } = parts;
    const { hires } = shape;
    const chunkTokens = tokenizer.modelMaxLength;
    this.#parts = parts;
    this.#graphs = textGraphs(configs, chunkTokens, shape);
    this.#first = new SdxlStage(parts, { ...shape, looks: shape.pictures?.encoded ?? 0 }, chunkTokens, "");
    const looks = hires?.enlarges === "picture" ? 1 : 0;
    const { controls } = hires ?? {};
    this.hires =
      hires &&
      new SdxlStage(parts, { ...shape, ...hires, controls, otherCalls: undefined, looks }, chunkTokens, "hires.");
    if (hires?.upscaler)
      this.enlarging = { phase: ENLARGE, upscaling: new Upscaling(hires.upscaler.config, this.#first) };
    this.phaseOf = { encode: ENCODE, ...this.#first.phaseOf };
    const { refined } = shape;
    this.refined =
      refined && refiner && new SdxlRefinedStage(parts, refiner, { ...shape, ...refined, otherCalls: undefined });
    const { crossAttentionDim } = configs.unet;
    const { imagePrompts } = shape;
    this.imagePrompts = imagePrompts && new SdxlImagePrompts(imagePrompts, crossAttentionDim, shape.fp32);
    this.phases = describePhases(this.#graphs, shape, this.#first, this, crossAttentionDim);
  }

  get previewing(): Previewing | undefined {
    return this.#first.previewing;
  }

  get latentShape(): readonly number[] {
    return this.#first.latentShape;
  }

  get width(): number {
    return this.#first.width;
  }

  get height(): number {
    return this.#first.height;
  }

  encode(phase: PhaseRun, prompt: Prompt, options: EncodeOptions = {}): Promise<Conditioning> {
    return encodePrompt(this.#parts.configs, this.#graphs, phase, prompt, options);
  }

  encodePicture(phase: PhaseRun, picture: Float32Array, signal?: AbortSignal): Promise<LatentMoments> {
    return this.#first.encodePicture(phase, picture, signal);
  }

  sampleLatent(moments: LatentMoments, noise: Float32Array): Float32Array<ArrayBuffer> {
    return this.#first.sampleLatent(moments, noise);
  }

  denoiser(phase: PhaseRun, options: DenoiserOptions): Promise<Denoise> {
    return this.#first.denoiser(phase, options);
  }

  decode(phase: PhaseRun, latent: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    return this.#first.decode(phase, latent, signal);
  }
}

const PNG_BYTES_PER_PIXEL = encoderBytesPerPixel({ format: "png" });

/** Latents that a picture brings: as drawn, the noise laid over it, the mask, and what a network for inpainting reads (C + 1, less than two). */
const PICTURE_LATENTS = 5;

function describePhases(
  { clip, clip2 }: TextGraphs,
  shape: JobShape,
  first: SdxlStage,
  {
    hires: second,
    enlarging,
    refined,
    imagePrompts,
  }: Pick<SdxlJob, "hires" | "enlarging" | "refined" | "imagePrompts">,
  context: number,
): readonly PhaseDescription[] {
  const { batch, text, pictures, hires } = shape;
  const historyLength = Math.max(shape.historyLength, shape.refined?.historyLength ?? 0);
  const { chunks = 1, clipSkips: [skip = 0] = [], encodes = batch, heldChunks = 0 } = text ?? {};
  const hidden = hiddenName(skip);
  const chunkBytes =
    4 * (outputElements(clip, hidden) + outputElements(clip2, hidden) + outputElements(clip2, "pooled"));
  const learnedInputBytes = 4 * (inputElements(clip, "learned") + inputElements(clip2, "learned"));
  const learnedBytes = ((text?.learned ?? 0) * learnedInputBytes) / inputElements(clip, "positions");
  const embeddingBytes = chunkBytes * (PROMPT_CACHE_ENTRIES + heldChunks * (refined ? 2 : 1)) + learnedBytes;
  // The picture and its mask as bytes, from which they are made again should the device fail.
  const { detail } = pictures ?? {};
  const wholeBytes = detail ? 4 * detail.whole.width * detail.whole.height : 0;
  const pictureBytes = pictures ? (pictures.masked ? 4 : 3) * first.width * first.height + wholeBytes : 0;
  // What controls look at, at each size.
  const looked = [
    { size: first, controls: shape.controls },
    { size: second, controls: hires?.controls },
  ];
  const controlBytes = looked.reduce(
    (sum, { size, controls }) => sum + 3 * (size ? size.width * size.height : 0) * (controls?.length ?? 0),
    0,
  );
  const stages = second ? [first, second] : [first];
  const seenBytes = imagePromptBytes(shape.imagePrompts ?? [], context, stages);
  const rowBytes = (asked: number, long: number) => Math.max(2, asked) * long * chunkBytes;
  const promptBytes = rowBytes(batch, chunks);
  const secondPromptBytes = rowBytes(hires?.batch ?? batch, hires?.text?.chunks ?? chunks);
  const furtherLatents = historyLength + (pictures ? PICTURE_LATENTS : 0);
  // Of a picture that waits for its turn: the embeddings of its prompts, also if nobody else remembers them, its words, picture and latents.
  const largest = second ?? first;
  const laneBytes =
    (Math.max(promptBytes, hires ? secondPromptBytes : 0) + (encodes + heldChunks) * chunkBytes) * (refined ? 2 : 1) +
    learnedBytes +
    (pictureBytes +
      controlBytes +
      seenBytes +
      (hires?.enlarges === "picture" ? 3 * largest.width * largest.height : 0)) +
    (2 + furtherLatents + (second ? PICTURE_LATENTS : 0)) * largest.latentBytes;
  const host: StageHost = {
    ...{
      alwaysBytes: embeddingBytes + pictureBytes + controlBytes + seenBytes + adapterBytesOf(shape),
      promptBytes,
      furtherLatents,
      laneBytes,
    },
    encoderBytesPerPixel: shape.encoderBytesPerPixel ?? PNG_BYTES_PER_PIXEL,
  };
  const encode = {
    id: ENCODE,
    title: "encode",
    passes: [
      passOf(PASS.clip, clip, "textEncoder", { repeats: encodes }),
      passOf(PASS.clip2, clip2, "textEncoder2", { repeats: encodes }),
    ],
    // A chunk as both encoders give it, by each layer that is read, and put together; the learned vectors that it is made with.
    hostBytes: host.alwaysBytes + (1 + (text?.clipSkips.length ?? 1)) * chunkBytes + learnedInputBytes,
    spilledBytes: 0,
    laneBytes,
  };
  const seen = imagePrompts ? [imagePrompts.describe(host.alwaysBytes, laneBytes)] : [];
  const drawn = [...seen, ...first.lookPhases("look", host), first.denoisePhase("denoise", host)];
  if (!second || !hires)
    return [
      encode,
      ...drawn,
      ...(refined?.phases(host) ?? []),
      laidBack(first.decodePhase("decode", host), first, host, detail),
    ];
  const larger = { ...host, promptBytes: secondPromptBytes, furtherLatents: host.furtherLatents + PICTURE_LATENTS };
  // Beside what the network takes: the latent that was decoded, and the way to the size that is wanted.
  const besideBytes = host.alwaysBytes + (2 + host.furtherLatents) * first.latentBytes;
  const enlarged = enlarging?.upscaling;
  const resizedBytes =
    enlarged && !isSize(enlarged, second)
      ? resampleBytes({ width: enlarged.width, height: enlarged.height, channels: 3 }, second)
      : 0;
  // The enlarged picture as bytes, until it is looked at; where no network has made it, it is made then, of the smaller one.
  const filteredBytes = enlarged
    ? 0
    : 3 * first.width * first.height +
      resampleBytes({ width: first.width, height: first.height, channels: 3 }, second) -
      3 * second.width * second.height;
  const shownBytes = 3 * second.width * second.height + filteredBytes;
  const shown = { ...larger, alwaysBytes: larger.alwaysBytes + shownBytes };
  return [
    encode,
    ...drawn,
    ...(hires.enlarges === "picture"
      ? [first.decodePhase("decode at the first size", { ...host, encoderBytesPerPixel: PNG_BYTES_PER_PIXEL })]
      : []),
    ...(enlarged
      ? [{ ...enlarged.phase(ENLARGE, besideBytes + resizedBytes, hires.upscaler!.component), laneBytes }]
      : []),
    ...second.lookPhases("look at the larger size", shown),
    second.denoisePhase("denoise at the larger size", larger),
    ...(refined?.phases(larger) ?? []),
    second.decodePhase("decode", larger),
  ];
}

/** Of all sets that the job has. */
function adapterBytesOf({ adapters, encoderAdapters, hires }: JobShape): number {
  const sets = new Set([adapters?.set, encoderAdapters, hires?.adapters?.set]);
  return [...sets].reduce((sum, set) => sum + (set?.hostBytes ?? 0), 0);
}

/** With what the part is laid back over: the part at its size there, the whole, and what that one's encoder takes. */
function laidBack(
  phase: PhaseDescription,
  drawn: Size,
  host: StageHost,
  detail: DetailSizes | undefined,
): PhaseDescription {
  if (!detail) return phase;
  const { whole, part } = detail;
  const wholeBytes = whole.width * whole.height * (3 + host.encoderBytesPerPixel);
  return { ...phase, hostBytes: phase.hostBytes + wholeBytes + resampleBytes({ ...drawn, channels: 3 }, part) };
}

interface Size {
  readonly width: number;
  readonly height: number;
}

function isSize(one: Size, other: Size): boolean {
  return one.width === other.width && one.height === other.height;
}
