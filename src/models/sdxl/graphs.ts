/**
 * @file From a job's shape to its graphs and what a plan must know of them. Pure: graphs and byte tables only. Three phases:
 * encode (both text encoders), denoise (text keys and values once, time embeddings once a schedule, the step many times),
 * decode (in bands).
 */
import type { SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import { type BandProgram, bandProgram } from "../ir/bands.ts";
import type { Graph } from "../ir/graph.ts";
import { clipGraph } from "../model/clip.ts";
import { vaeScaleFactor } from "../model/config.ts";
import { unetStepGraph, unetTextGraph, unetTimeGraph } from "../model/unet.ts";
import { DECODE_BAND_BYTES, vaeDecoderGraph } from "../model/vae.ts";
import { type BlockCatalog, type DeviceSizes, describePass } from "../plan/describe.ts";
import type { PlanPass, PlanPhaseInput } from "../plan/plan.ts";
import { type BandStorage, bandStorage } from "../stream/banded.ts";
import { elementCount } from "../tensor/dtype.ts";

export type ComponentName = "textEncoder" | "textEncoder2" | "unet" | "vae";
export type PhaseName = "encode" | "denoise" | "decode";

/** All that graphs and budgets depend on. */
export interface JobShape {
  /** 2 with classifier-free guidance: both halves in one pass. */
  readonly batch: 1 | 2;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  /** Tokens of a prompt, the same for all prompts of a model. */
  readonly textTokens: number;
}

/** Text embeddings kept for prompts to come back: 0.6 MB a prompt at full size. */
export const PROMPT_CACHE_ENTRIES = 32;
/** Rows of time embeddings computed at once; bounds their memory for long schedules. */
const TIME_ROWS_AT_ONCE = 64;

export interface JobGraphs {
  readonly clip: Graph;
  readonly clip2: Graph;
  readonly text: Graph;
  readonly time: Graph;
  /** Steps whose time embeddings one run of `time` computes. */
  readonly stepsAtOnce: number;
  readonly step: Graph;
  readonly decoder: BandProgram;
  readonly decoderStorage: BandStorage;
}

export interface JobDescription {
  readonly graphs: JobGraphs;
  /** By phase: the graphs in the order of `input.passes`. */
  readonly passes: Readonly<Record<PhaseName, readonly { readonly graph: Graph; readonly component: ComponentName }[]>>;
  readonly phases: readonly (PlanPhaseInput & { readonly name: PhaseName })[];
}

export function describeJob(
  checkpoint: SdxlCheckpoint,
  device: DeviceSizes,
  catalogs: Readonly<Record<ComponentName, BlockCatalog>>,
  shape: JobShape,
): JobDescription {
  const graphs = jobGraphs(checkpoint, shape);
  const { clip, clip2, text, time, step, stepsAtOnce, decoder, decoderStorage: storage } = graphs;
  const links = new Set(text.outputs.keys());
  const bands = bandPasses(decoder);
  const describe = (graph: Graph, component: ComponentName, options: Parameters<typeof describePass>[3]): PlanPass =>
    describePass(device, graph, catalogs[component], options);
  const embeddingBytes =
    4 * (valueElements(clip, "hidden") + valueElements(clip2, "hidden") + valueElements(clip2, "pooled"));
  const cacheBytes = embeddingBytes * PROMPT_CACHE_ENTRIES;
  const latentBytes = 4 * valueElements(step, "latent", "inputs");
  const timeBytes = 4 * [...time.outputs.keys()].reduce((sum, name) => sum + valueElements(time, name), 0);
  const pixels = 3 * shape.width * shape.height;
  return {
    graphs,
    passes: {
      encode: [
        { graph: clip, component: "textEncoder" },
        { graph: clip2, component: "textEncoder2" },
      ],
      denoise: [
        { graph: text, component: "unet" },
        { graph: time, component: "unet" },
        { graph: step, component: "unet" },
      ],
      decode: bands.map(({ graph }) => ({ graph, component: "vae" })),
    },
    phases: [
      {
        name: "encode",
        passes: [
          describe(clip, "textEncoder", { repeats: shape.batch }),
          describe(clip2, "textEncoder2", { repeats: shape.batch }),
        ],
        links: [],
        hostBytes: cacheBytes + 2 * embeddingBytes,
        waitingBytes: 0,
      },
      {
        name: "denoise",
        passes: [
          describe(text, "unet", { links }),
          describe(time, "unet", { repeats: Math.ceil(shape.steps / stepsAtOnce) }),
          describe(step, "unet", { repeats: shape.steps, cyclic: true, links }),
        ],
        links: [...links].map((name) => ({
          name,
          lengthBytes: device.activationBytes(text, text.outputs.get(name)!),
        })),
        // The latent in its roles (sample, scaled, doubled, prediction, guided), and the prompt's rows joined.
        hostBytes: cacheBytes + 2 * embeddingBytes + timeBytes + 8 * latentBytes,
        waitingBytes: 0,
      },
      {
        name: "decode",
        passes: bands.map(({ graph, count }) => describe(graph, "vae", { repeats: count })),
        links: [],
        // The latent as saved and as decoded; the picture as fp32, as bytes, filtered and compressed for PNG.
        hostBytes: cacheBytes + storage.gatherBytes + 2 * latentBytes + pixels * (4 + 1 + 1 + 2),
        waitingBytes: storage.waitingBytes,
      },
    ],
  };
}

function jobGraphs({ textEncoder, textEncoder2, unet, vae }: SdxlCheckpoint, shape: JobShape): JobGraphs {
  const { batch, steps, textTokens } = shape;
  const scale = vaeScaleFactor(vae.config);
  const size = { batch, height: Math.floor(shape.height / scale), width: Math.floor(shape.width / scale) };
  const stepsAtOnce = Math.max(1, Math.min(steps, Math.floor(TIME_ROWS_AT_ONCE / batch)));
  const decoder = bandProgram(vaeDecoderGraph(vae.config, 1, size.height, size.width), {
    bandBytes: DECODE_BAND_BYTES,
  });
  return {
    clip: clipGraph(textEncoder.config, { batch: 1, tokens: textTokens, pooled: false }),
    clip2: clipGraph(textEncoder2.config, { batch: 1, tokens: textTokens, pooled: true }),
    text: unetTextGraph(unet.config, batch, textTokens),
    time: unetTimeGraph(unet.config, stepsAtOnce * batch),
    stepsAtOnce,
    step: unetStepGraph(unet.config, size, textTokens),
    decoder,
    decoderStorage: bandStorage(decoder),
  };
}

/** Each graph of the program once, in the order of use, with the number of its bands. */
function bandPasses(program: BandProgram): { graph: Graph; count: number }[] {
  const counts = new Map<Graph, number>();
  for (const { bands } of program.layers) {
    for (const { graph } of bands) counts.set(graph, (counts.get(graph) ?? 0) + 1);
  }
  return [...counts].map(([graph, count]) => ({ graph, count }));
}

function valueElements(graph: Graph, name: string, side: "inputs" | "outputs" = "outputs"): number {
  return elementCount(graph.values[graph[side].get(name)!]!.shape);
}
