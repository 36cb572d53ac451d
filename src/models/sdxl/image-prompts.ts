/** @file Image prompts of a job of SDXL: the phase that makes tokens of pictures, and what they add to the phases that denoise. */
import type { PassDescription, PhaseDescription } from "../../plan/describe.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import { clipVisionGraph, visionTokens } from "../clip-vision.ts";
import type { DescribedImagePrompt, ImagePrompt, ImagePromptShape } from "../image-prompt.ts";
import type { UNetConfig } from "./config.ts";
import { type IpAdapterConfig, imageKeysGraph, imageTokensGraph } from "./ip-adapter.ts";
import { concatenated } from "./step-inputs.ts";

const PHASE = "imagePrompt";
const ID = { see: "ip.see", tokens: "ip.tokens" } as const;

/** What a step reads of it: names of its inputs, and how many tokens. */
export interface StageImagePrompt {
  readonly shape: ImagePromptShape;
  /** Of all pictures. */
  readonly tokens: number;
  readonly keys: PassDescription;
}

/** `idPrefix`: before the pass's id. */
export function stageImagePrompt(
  shape: ImagePromptShape,
  unet: UNetConfig,
  { batch, fp32 }: { readonly batch: number; readonly fp32: boolean },
  idPrefix: string,
): StageImagePrompt {
  const tokens = shape.pictures * configOf(shape).tokens;
  const graph = imageKeysGraph(unet, { batch, tokens, fp32 });
  const keys = { id: `${idPrefix}ip.keys`, graph, component: shape.adapter, repeats: 1, cyclic: false };
  return { shape, tokens, keys: { ...keys, links: [...graph.outputs.keys()] } };
}

/** Of which kind it is was checked when it was opened by this family. */
function configOf({ network }: ImagePromptShape): IpAdapterConfig {
  return network as IpAdapterConfig;
}

/** Host memory that a job holds in every phase: pictures as the encoder sees them, and their tokens. */
export function imagePromptBytes(shape: ImagePromptShape, context: number): number {
  const { side, tokens } = configOf(shape);
  return 4 * shape.pictures * (3 * side ** 2 + 2 * tokens * context);
}

export class SdxlImagePrompt implements DescribedImagePrompt {
  readonly phase = PHASE;
  readonly #shape: ImagePromptShape;
  readonly #config: IpAdapterConfig;
  readonly #context: number;
  readonly #fp32: boolean;

  constructor(shape: ImagePromptShape, context: number, fp32: boolean) {
    this.#shape = shape;
    this.#config = configOf(shape);
    this.#context = context;
    this.#fp32 = fp32;
  }

  /** `alwaysBytes`: of the job, in every phase. */
  describe(alwaysBytes: number, laneBytes: number): PhaseDescription {
    const { pictures, negatives, encoder, adapter } = this.#shape;
    const { vision, side, tokens, plus } = this.#config;
    const see = clipVisionGraph(vision, plus ? "hidden" : "embeds", this.#fp32);
    const made = imageTokensGraph(this.#config, this.#context, this.#fp32);
    const rest = { cyclic: false, links: [] };
    const seen = plus ? visionTokens(vision) * vision.hiddenSize : vision.projectionDim;
    return {
      id: PHASE,
      title: "encode pictures",
      passes: [
        { ...rest, id: ID.see, graph: see, component: encoder, repeats: pictures + (plus ? negatives : 0) },
        { ...rest, id: ID.tokens, graph: made, component: adapter, repeats: pictures + negatives },
      ],
      // A picture that is nothing, what is seen of one, and tokens before they are put together.
      hostBytes: alwaysBytes + 4 * (3 * side ** 2 + seen + tokens * this.#context * (pictures + 1)),
      spilledBytes: 0,
      laneBytes,
    };
  }

  async encode(phase: PhaseRun, pictures: readonly Float32Array[], signal?: AbortSignal): Promise<ImagePrompt> {
    const { negatives } = this.#shape;
    const { vision, tokens, plus, side } = this.#config;
    const positions = Int32Array.from({ length: visionTokens(vision) }, (_, i) => i);
    const see = async (pixels: Float32Array) => {
      const inputs = new Map<string, Float32Array | Int32Array>([
        ["pixels", pixels],
        ["positions", positions],
      ]);
      inputs.set("whole", new Int32Array(1));
      const outputs = await phase.run(ID.see, inputs, { signal });
      return outputs.get(plus ? "hidden" : "embeds")!;
    };
    const told = async (seen: Float32Array) => {
      const inputs = new Map<string, Float32Array | Int32Array>([["seen", seen]]);
      if (plus)
        inputs.set(
          "rows",
          Int32Array.from({ length: tokens }, (_, i) => i),
        );
      return (await phase.run(ID.tokens, inputs, { signal })).get("tokens")!;
    };
    const positive: Float32Array[] = [];
    for (const picture of pictures) positive.push(await told(await see(picture)));
    // As diffusers: nothing is a black picture to Plus, and zeros in place of what was seen to others.
    const nothing =
      negatives === 0
        ? undefined
        : await told(plus ? await see(new Float32Array(3 * side ** 2)) : new Float32Array(vision.projectionDim));
    return {
      positive: concatenated(positive),
      negative: nothing ? concatenated(pictures.map(() => nothing)) : new Float32Array(0),
    };
  }
}
