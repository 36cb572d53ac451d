/**
 * @file A job of SDXL as three phases: encode (both text encoders), denoise (text keys and values once a prompt, time embeddings
 * once a schedule, the step many times), decode (in bands).
 */
import { HostMemory } from "../../backend/host-memory.ts";
import { type BandStorage, bandStorage, runBands } from "../../bands/run.ts";
import type { Graph } from "../../ir/graph.ts";
import type { PassDescription, PhaseDescription } from "../../plan/describe.ts";
import type { Denoise } from "../../sampler/sampler.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { unscaledLatent, vaeScaleFactor } from "../autoencoder.ts";
import {
  type Conditioning,
  type DenoiserOptions,
  type DescribedJob,
  type JobShape,
  PROMPT_CACHE_ENTRIES,
  type Prompt,
} from "../family.ts";
import { encodePrompt } from "./conditioning.ts";
import type { SdxlParts } from "./config.ts";
import { openDenoiser } from "./denoiser.ts";
import type { SdxlComponentId } from "./files.ts";
import { PASS, type SdxlGraphs, sdxlGraphs } from "./graphs.ts";

const PHASE = { encode: "encode", denoise: "denoise", decode: "decode" } as const;

export class SdxlJob implements DescribedJob {
  readonly phases: readonly PhaseDescription[];
  readonly phaseOf = PHASE;
  readonly latentShape: readonly number[];
  readonly width: number;
  readonly height: number;
  readonly graphs: SdxlGraphs;
  readonly #parts: SdxlParts;
  readonly #shape: JobShape;
  readonly #decoderStorage: BandStorage;

  constructor(parts: SdxlParts, shape: JobShape) {
    const { configs, tokenizer } = parts;
    this.#parts = parts;
    this.#shape = shape;
    this.graphs = sdxlGraphs(configs, shape, tokenizer.encode("").length);
    const { shape: latentShape } = this.graphs.decoder.source.values[inputId(this.graphs.decoder.source, "latent")]!;
    const scale = vaeScaleFactor(configs.vae);
    this.latentShape = latentShape;
    this.height = latentShape[2]! * scale;
    this.width = latentShape[3]! * scale;
    this.#decoderStorage = bandStorage(this.graphs.decoder);
    this.phases = describePhases(this.graphs, shape, this.#decoderStorage);
  }

  encode(phase: PhaseRun, prompt: Prompt, signal?: AbortSignal): Promise<Conditioning> {
    return encodePrompt(this.#parts, this.graphs, phase, prompt, signal);
  }

  denoiser(phase: PhaseRun, options: DenoiserOptions): Promise<Denoise> {
    return openDenoiser(this.#parts, this.graphs, this.#shape, phase, options);
  }

  async decode(phase: PhaseRun, latent: Float32Array, signal?: AbortSignal): Promise<Float32Array> {
    const { decoder } = this.graphs;
    const storage = this.#decoderStorage;
    const inputs = new Map([["latent", unscaledLatent(latent, this.#parts.configs.vae)]]);
    using gathered = new HostMemory("rows put together", storage.gatherBytes);
    const decoded = await runBands(decoder, inputs, {
      storage,
      memory: { spilled: phase.spilled, gathered: new Float32Array(gathered.buffer) },
      run: (pass, bandInputs, options) => phase.run(pass, bandInputs, options),
      signal,
    });
    return decoded.get("image")!; // [1, 3, H, W]
  }
}

function describePhases(graphs: SdxlGraphs, shape: JobShape, storage: BandStorage): readonly PhaseDescription[] {
  const { clip, clip2, text, time, step, callsAtOnce, decoder } = graphs;
  const { batch, modelCalls, historyLength, width, height } = shape;
  const pass = (id: string, graph: Graph, component: SdxlComponentId, rest: Partial<PassDescription> = {}) => ({
    ...{ id, graph, component, repeats: 1, cyclic: false, links: [] },
    ...rest,
  });
  const links = [...text.outputs.keys()];
  const conditioningBytes =
    4 * (outputElements(clip, "hidden") + outputElements(clip2, "hidden") + outputElements(clip2, "pooled"));
  const cacheBytes = conditioningBytes * PROMPT_CACHE_ENTRIES;
  const latentBytes = 4 * elementCount(step.values[inputId(step, "latent")]!.shape);
  const timeBytes = 4 * [...time.outputs.keys()].reduce((sum, name) => sum + outputElements(time, name), 0);
  const pixels = 3 * width * height;
  return [
    {
      id: PHASE.encode,
      title: "encode",
      passes: [
        pass(PASS.clip, clip, "textEncoder", { repeats: batch }),
        pass(PASS.clip2, clip2, "textEncoder2", { repeats: batch }),
      ],
      hostBytes: cacheBytes + 2 * conditioningBytes,
      spilledBytes: 0,
    },
    {
      id: PHASE.denoise,
      title: "denoise",
      passes: [
        pass(PASS.text, text, "unet", { links }),
        pass(PASS.time, time, "unet", { repeats: Math.ceil(modelCalls / callsAtOnce) }),
        pass(PASS.step, step, "unet", { repeats: modelCalls, cyclic: true, links }),
      ],
      // The latent in its roles (sample, scaled, doubled, prediction, guided, clean), the sampler's history, the prompt's rows together.
      hostBytes: cacheBytes + 2 * conditioningBytes + timeBytes + (8 + historyLength) * latentBytes,
      spilledBytes: 0,
    },
    {
      id: PHASE.decode,
      title: "decode",
      passes: decoder.passes.map(({ id, graph, repeats }) => pass(id, graph, "vae", { repeats })),
      // The latent as saved (with its history) and as decoded; the picture as fp32, as bytes, filtered and compressed for PNG.
      hostBytes: cacheBytes + storage.gatherBytes + (2 + historyLength) * latentBytes + pixels * (4 + 1 + 1 + 2),
      spilledBytes: storage.spilledBytes,
    },
  ];
}

function inputId(graph: Graph, name: string): number {
  return graph.inputs.get(name)!;
}

function outputElements(graph: Graph, name: string): number {
  return elementCount(graph.values[graph.outputs.get(name)!]!.shape);
}
