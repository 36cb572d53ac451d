/**
 * @file One size of a job of SDXL: denoise (text keys and values once a prompt, time embeddings once a schedule, the step many times), and
 * the VAE's two ways, both in bands: look (pixels to a latent) and decode. C latent channels, H and W the latent's.
 */
import type { BandProgram } from "../../bands/bands.ts";
import { type BandStorage, bandStorage } from "../../bands/run.ts";
import type { Graph } from "../../ir/graph.ts";
import type { PassDescription, PhaseDescription } from "../../plan/describe.ts";
import type { Denoise } from "../../sampler/sampler.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { latentMoments, scaledLatent, unscaledLatent, vaeScaleFactor } from "../autoencoder.ts";
import type { DenoiserOptions, DescribedStage, LatentMoments } from "../family.ts";
import { readsStrengths } from "../layer-builder.ts";
import { Previewing } from "../previewing.ts";
import { runProgram } from "../program-run.ts";
import { sdxlLatent } from "./base.ts";
import type { SdxlParts } from "./config.ts";
import { openDenoiser } from "./denoiser.ts";
import type { SdxlComponentId } from "./files.ts";
import { callsAtOnceOf, type StageGraphs, type StageSize, stageGraphs } from "./graphs.ts";
import { imageHostBytes } from "./image-runs.ts";
import { controlHostBytes, controlPasses } from "./stage-controls.ts";

/** Host memory that a job holds in every phase, and what it adds where latents are. */
export interface StageHost {
  readonly alwaysBytes: number;
  /** Of the rows of all prompts that the denoiser puts together. */
  readonly promptBytes: number;
  /** Latents beside those that every job has: a sampler's history, a picture's. */
  readonly furtherLatents: number;
  /** Of whoever makes a file of the picture. */
  readonly encoderBytesPerPixel: number;
  /** What each further picture that is drawn beside holds while others have their turn. */
  readonly laneBytes: number;
}

const UNET: SdxlComponentId = "unet";

export class SdxlStage implements DescribedStage {
  readonly phaseOf: DescribedStage["phaseOf"];
  readonly latentShape: readonly number[];
  readonly width: number;
  readonly height: number;
  readonly graphs: StageGraphs;
  readonly previewing: Previewing | undefined;
  readonly #parts: SdxlParts;
  readonly #size: StageSize;
  readonly #unet: string;
  readonly #decoderStorage: BandStorage;
  /** The encoder with the memory it takes, where the stage looks at pictures. */
  readonly #looking: { readonly program: BandProgram; readonly storage: BandStorage } | undefined;

  /** `prefix`: before the ids of phases and passes; empty, or such as "hires.". `unet`: the component that denoises. */
  constructor(parts: SdxlParts, size: StageSize, chunkTokens: number, prefix: string, unet: string = UNET) {
    const { configs } = parts;
    this.#parts = parts;
    this.#size = size;
    this.#unet = unet;
    this.phaseOf = { look: `${prefix}look`, denoise: `${prefix}denoise`, decode: `${prefix}decode` };
    this.graphs = stageGraphs(configs, size, chunkTokens, prefix);
    const { values, inputs } = this.graphs.decoder.source;
    this.latentShape = values[inputs.get("latent")!]!.shape;
    const scale = vaeScaleFactor(configs.vae);
    this.height = this.latentShape[2]! * scale;
    this.width = this.latentShape[3]! * scale;
    this.#decoderStorage = bandStorage(this.graphs.decoder);
    const { preview } = size;
    const [, channels, rows, columns] = this.latentShape as [number, number, number, number];
    const latent = { channels, height: rows, width: columns };
    if (typeof preview === "object") {
      // Decoders for previews are made for SDXL's latents, of which those that are normalised are another measure.
      const measured = configs.vae.latentStatistics && ((values: Float32Array) => sdxlLatent(values, configs.vae));
      this.previewing = new Previewing(preview, latent, this.graphs.step, prefix, measured);
    }
    const { encoder } = this.graphs;
    this.#looking = encoder && { program: encoder, storage: bandStorage(encoder) };
  }

  /** None where the stage looks at no pictures. */
  lookPhases(title: string, { alwaysBytes, furtherLatents, laneBytes }: StageHost): readonly PhaseDescription[] {
    if (!this.#looking) return [];
    const { program, storage } = this.#looking;
    const { looks } = this.#size;
    // The picture as fp32; moments, deviation, a draw of noise.
    const pictureBytes = 4 * 3 * this.width * this.height;
    return [
      {
        id: this.phaseOf.look,
        title,
        passes: program.passes.map(({ id, graph, repeats }) =>
          passOf(id, graph, "vaeEncoder", { repeats: repeats * looks }),
        ),
        hostBytes: alwaysBytes + storage.gatherBytes + pictureBytes + (6 + furtherLatents) * this.latentBytes,
        spilledBytes: storage.spilledBytes,
        laneBytes,
      },
    ];
  }

  denoisePhase(title: string, { alwaysBytes, promptBytes, furtherLatents, laneBytes }: StageHost): PhaseDescription {
    const { ids, text, time, step, callsAtOnce, otherTimes, controls, imagePrompts } = this.graphs;
    const { modelCalls, text: prompts, adapters } = this.#size;
    const changes = (graph: Graph) => (adapters && readsStrengths(graph) ? adapters.changes : 0);
    const links = [...text.outputs.keys()];
    const latentBytes = 4 * elementCount(step.values[step.inputs.get("latent")!]!.shape);
    const tellings = prompts?.tellings ?? 1;
    const beside = controlPasses(controls, { tellings, changes, calls: (atOnce) => Math.ceil(modelCalls / atOnce) });
    const results = [
      ...controls.flatMap((control) => [...(control.kind === "net" ? control.step : control.hint).outputs.keys()]),
      ...imagePrompts.flatMap(({ keys }) => keys.links),
    ];
    const timeBytes = 4 * [...time.outputs.keys()].reduce((sum, name) => sum + outputElements(time, name), 0);
    const workBytes =
      promptBytes +
      timeBytes +
      (8 + furtherLatents) * latentBytes +
      this.#previewBytes +
      controlHostBytes(controls) +
      imageHostBytes(imagePrompts, step);
    return {
      id: this.phaseOf.denoise,
      title,
      passes: [
        passOf(ids.text, text, this.#unet, { repeats: tellings + changes(text), links }),
        passOf(ids.time, time, this.#unet, { repeats: Math.ceil(modelCalls / callsAtOnce) + changes(time) }),
        ...otherTimes.map(({ id, graph, callsAtOnce: calls }) =>
          passOf(id, graph, this.#unet, { repeats: Math.ceil(modelCalls / calls) + changes(graph) }),
        ),
        ...beside.once,
        ...imagePrompts.map(({ keys }) => keys),
        ...beside.cyclic,
        passOf(ids.step, step, this.#unet, { repeats: modelCalls, cyclic: true, links: [...links, ...results] }),
        ...(this.previewing?.passes(modelCalls) ?? []),
      ],
      // The latent in its roles (sample, scaled, doubled, prediction, guided, clean), further ones, the prompts' rows together, a preview, controls, masks.
      hostBytes: alwaysBytes + workBytes,
      spilledBytes: 0,
      laneBytes: laneBytes + workBytes,
    };
  }

  decodePhase(title: string, host: StageHost): PhaseDescription {
    const { alwaysBytes, furtherLatents, encoderBytesPerPixel, laneBytes } = host;
    const { decoder, step } = this.graphs;
    const latentBytes = 4 * elementCount(step.values[step.inputs.get("latent")!]!.shape);
    const pixels = this.#size.width * this.#size.height;
    return {
      id: this.phaseOf.decode,
      title,
      passes: decoder.passes.map(({ id, graph, repeats }) => passOf(id, graph, "vae", { repeats })),
      // The latent as saved (with its history) and as decoded; the picture as fp32, as bytes, and what its encoder takes.
      hostBytes:
        alwaysBytes +
        this.#decoderStorage.gatherBytes +
        (2 + furtherLatents) * latentBytes +
        pixels * (3 * (4 + 1) + encoderBytesPerPixel),
      spilledBytes: this.#decoderStorage.spilledBytes,
      // While a picture's file is made, the phase stays open for those after it.
      laneBytes: laneBytes + pixels * (3 + encoderBytesPerPixel),
    };
  }

  get #previewBytes(): number {
    if (this.previewing) return this.previewing.hostBytes;
    // One pixel a cell, and once more as it is sent.
    const [, , height, width] = this.latentShape as [number, number, number, number];
    return this.#size.preview === "colours" ? 2 * 3 * height * width : 0;
  }

  get latentBytes(): number {
    return 4 * elementCount(this.latentShape);
  }

  denoiser(phase: PhaseRun, options: DenoiserOptions): Promise<Denoise> {
    const { ids, otherTimes } = this.graphs;
    const calls = callsAtOnceOf(options.calls.length, this.#size.batch);
    const other = otherTimes.find((time) => time.callsAtOnce === calls);
    const graphs = other
      ? { ...this.graphs, callsAtOnce: calls, ids: { ...ids, time: other.id }, time: other.graph }
      : this.graphs;
    return openDenoiser(this.#parts, graphs, this.#size, phase, options);
  }

  async decode(phase: PhaseRun, latent: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    const inputs = new Map([["latent", unscaledLatent(latent, this.#parts.configs.vae)]]);
    const decoded = await runProgram(phase, this.graphs.decoder, this.#decoderStorage, inputs, signal);
    return decoded.get("image")!; // [1, 3, H, W]
  }

  async encodePicture(phase: PhaseRun, picture: Float32Array, signal?: AbortSignal): Promise<LatentMoments> {
    if (!this.#looking) throw new Error("the job was described without a picture");
    const { program, storage } = this.#looking;
    const encoded = await runProgram(phase, program, storage, new Map([["image", picture]]), signal);
    return latentMoments(encoded.get("moments")!);
  }

  sampleLatent({ mean, deviation }: LatentMoments, noise: Float32Array): Float32Array<ArrayBuffer> {
    const drawn = Float32Array.from(mean, (value, i) => value + Math.fround(deviation[i]! * noise[i]!));
    return scaledLatent(drawn, this.#parts.configs.vae);
  }
}

export function passOf(
  id: string,
  graph: Graph,
  component: string,
  rest: Partial<PassDescription> = {},
): PassDescription {
  return { ...{ id, graph, component, repeats: 1, cyclic: false, links: [] }, ...rest };
}

/** 0 where the graph has no such input. */
export function inputElements(graph: Graph | undefined, name: string): number {
  const id = graph?.inputs.get(name);
  return id === undefined ? 0 : elementCount(graph!.values[id]!.shape);
}

export function outputElements(graph: Graph, name: string): number {
  return elementCount(graph.values[graph.outputs.get(name)!]!.shape);
}
