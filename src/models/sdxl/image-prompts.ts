/** @file Image prompts of a job of SDXL: the phase that makes tokens of pictures, and what they add to the phases that denoise. */
import type { PassDescription, PhaseDescription } from "../../plan/describe.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { clipVisionGraph, visionTokens } from "../clip-vision.ts";
import type { DescribedImagePrompts, ImagePrompt, ImagePromptShape } from "../image-prompt.ts";
import type { UNetConfig } from "./config.ts";
import type { ImageLink } from "./image-links.ts";
import { type IpAdapterConfig, imageKeysGraph, imageTokensGraph } from "./ip-adapter.ts";
import { concatenated } from "./step-inputs.ts";

const PHASE = "imagePrompt";

/** Of one adapter: what a step reads of it. */
export interface StageImagePrompt {
  readonly shape: ImagePromptShape;
  readonly link: ImageLink;
  readonly keys: PassDescription;
}

/** Before the ids of an adapter's passes, and the names of what a step reads of it. */
function prefixOf(adapter: number): string {
  return `ip.${adapter}.`;
}

/** `idPrefix`: before the passes' ids. */
export function stageImagePrompts(
  shapes: readonly ImagePromptShape[],
  unet: UNetConfig,
  { batch, fp32 }: { readonly batch: number; readonly fp32: boolean },
  idPrefix: string,
): readonly StageImagePrompt[] {
  return shapes.map((shape, i) => {
    const { pictures, masked } = shape;
    const { tokens } = configOf(shape);
    const prefix = prefixOf(i);
    const graph = imageKeysGraph(unet, { batch, tokens: pictures * tokens, fp32, prefix });
    const keys = { id: `${idPrefix}${prefix}keys`, graph, component: shape.adapter, repeats: 1, cyclic: false };
    return {
      shape,
      link: { prefix, pictures, tokens, masked },
      keys: { ...keys, links: [...graph.outputs.keys()] },
    };
  });
}

/** Of which kind it is was checked when it was opened by this family. */
function configOf({ network }: ImagePromptShape): IpAdapterConfig {
  return network as IpAdapterConfig;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Host memory that a job holds in every phase: pictures as the encoders see them, their tokens, and masks at the sizes of all stages. */
export function imagePromptBytes(
  shapes: readonly ImagePromptShape[],
  context: number,
  stages: readonly Size[],
): number {
  const pixels = stages.reduce((sum, { width, height }) => sum + width * height, 0);
  return shapes.reduce((sum, shape) => {
    const { side, tokens } = configOf(shape);
    return sum + shape.pictures * (4 * (3 * side ** 2 + 2 * tokens * context) + (shape.masked ? pixels : 0));
  }, 0);
}

export class SdxlImagePrompts implements DescribedImagePrompts {
  readonly phase = PHASE;
  readonly #shapes: readonly ImagePromptShape[];
  readonly #context: number;
  readonly #fp32: boolean;

  constructor(shapes: readonly ImagePromptShape[], context: number, fp32: boolean) {
    this.#shapes = shapes;
    this.#context = context;
    this.#fp32 = fp32;
  }

  /** `alwaysBytes`: of the job, in every phase. */
  describe(alwaysBytes: number, laneBytes: number): PhaseDescription {
    const rest = { cyclic: false, links: [] };
    const described = this.#shapes.map((shape, i) => {
      const { pictures, negatives, encoder, adapter } = shape;
      const config = configOf(shape);
      const { vision, side, tokens, plus } = config;
      const see = clipVisionGraph(vision, plus ? "hidden" : "embeds", this.#fp32);
      const made = imageTokensGraph(config, this.#context, this.#fp32);
      const ids = idsOf(i);
      const seen = plus ? visionTokens(vision) * vision.hiddenSize : vision.projectionDim;
      return {
        passes: [
          { ...rest, id: ids.see, graph: see, component: encoder, repeats: pictures + (plus ? negatives : 0) },
          { ...rest, id: ids.tokens, graph: made, component: adapter, repeats: pictures + negatives },
        ],
        // A picture that is nothing, what is seen of one, and tokens before they are put together.
        workBytes: 4 * (3 * side ** 2 + seen + tokens * this.#context * (pictures + 1)),
      };
    });
    return {
      id: PHASE,
      title: "encode pictures",
      passes: described.flatMap(({ passes }) => passes),
      hostBytes: alwaysBytes + Math.max(...described.map(({ workBytes }) => workBytes)),
      spilledBytes: 0,
      laneBytes,
    };
  }

  async encode(
    phase: PhaseRun,
    pictures: readonly (readonly Float32Array[])[],
    signal?: AbortSignal,
  ): Promise<readonly ImagePrompt[]> {
    const prompts: ImagePrompt[] = [];
    for (const [i, shape] of this.#shapes.entries()) {
      prompts.push(await encodeOne(phase, shape, idsOf(i), pictures[i]!, signal));
    }
    return prompts;
  }
}

interface PassIds {
  readonly see: string;
  readonly tokens: string;
}

function idsOf(adapter: number): PassIds {
  return { see: `${prefixOf(adapter)}see`, tokens: `${prefixOf(adapter)}tokens` };
}

async function encodeOne(
  phase: PhaseRun,
  shape: ImagePromptShape,
  ids: PassIds,
  pictures: readonly Float32Array[],
  signal: AbortSignal | undefined,
): Promise<ImagePrompt> {
  const { vision, tokens, plus, side } = configOf(shape);
  const counted = (length: number) => Int32Array.from({ length }, (_, i) => i);
  const see = async (pixels: Float32Array) => {
    const inputs = new Map<string, Float32Array | Int32Array>([
      ["pixels", pixels],
      ["positions", counted(visionTokens(vision))],
      ["whole", new Int32Array(1)],
    ]);
    const outputs = await phase.run(ids.see, inputs, { signal });
    return outputs.get(plus ? "hidden" : "embeds")!;
  };
  const told = async (seen: Float32Array) => {
    const inputs = new Map<string, Float32Array | Int32Array>([["seen", seen]]);
    if (plus) inputs.set("rows", counted(tokens));
    return (await phase.run(ids.tokens, inputs, { signal })).get("tokens")!;
  };
  const positive: Float32Array[] = [];
  for (const picture of pictures) positive.push(await told(await see(picture)));
  // As diffusers: nothing is a black picture to Plus, and zeros in place of what was seen to others.
  const nothing =
    shape.negatives === 0
      ? undefined
      : await told(plus ? await see(new Float32Array(3 * side ** 2)) : new Float32Array(vision.projectionDim));
  return {
    positive: concatenated(positive),
    negative: nothing ? concatenated(pictures.map(() => nothing)) : new Float32Array(0),
  };
}
