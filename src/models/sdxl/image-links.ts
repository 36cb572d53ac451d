/**
 * @file What a step reads of image prompts (diffusers models/attention_processor.py, IPAdapterAttnProcessor2_0): keys and values beside the text's, each
 * result times its weight; with masks picture by picture, each result times its mask. B batch, T tokens of the latent, S of pictures, C channels.
 */
import type { GraphBuilder, Tensor } from "../../ir/builder.ts";
import type { Graph } from "../../ir/graph.ts";
import { add } from "../layers.ts";

/** One adapter's results as a step's inputs: "<prefix><block>.k" and ".v" [B, S, C], and what they count. */
export interface ImageLink {
  readonly prefix: string;
  readonly pictures: number;
  /** Of each picture. */
  readonly tokens: number;
  /** Inputs "<prefix>mask.<picture>.<height>x<width>" [T], times its weight, in place of "<prefix>weight" [1]. */
  readonly masked: boolean;
}

interface Grid {
  readonly height: number;
  readonly width: number;
}

/** Of one attention, all adapters: `q` [B, T, C], over the text's result `cross` [B, T, C]. Within a segment. */
export type AttendPictures = (g: GraphBuilder, q: Tensor, cross: Tensor) => Tensor;

/** Declares what a step reads at each attention, by its name and grid; undefined where there are no image prompts. */
export function imageLinks(g: GraphBuilder, links: readonly ImageLink[]) {
  if (links.length === 0) return undefined;
  const known = new Map<string, Tensor>();
  /** The same for all attentions that name it. */
  const shared = (name: string, size: number) => {
    const input = known.get(name) ?? g.input(name, [size]);
    known.set(name, input);
    return input;
  };
  return (
    block: string,
    { batch, channels, heads }: { readonly batch: number; readonly channels: number; readonly heads: number },
    { height, width }: Grid,
  ): AttendPictures => {
    const read = links.map(({ prefix, pictures, tokens, masked }) => ({
      tokens,
      ...{ k: g.input(`${prefix}${block}.k`, [batch, pictures * tokens, channels]) },
      ...{ v: g.input(`${prefix}${block}.v`, [batch, pictures * tokens, channels]) },
      weight: masked ? undefined : shared(`${prefix}weight`, 1),
      masks: Array.from({ length: masked ? pictures : 0 }, (_, i) =>
        shared(`${prefix}mask.${i}.${height}x${width}`, height * width),
      ),
    }));
    return (own, q, cross) => {
      const attend = (k: Tensor, v: Tensor) => own.node("attention", [q, k, v], { heads, causal: false });
      let sum = cross;
      for (const { k, v, tokens, weight, masks } of read) {
        if (weight) sum = add(own, sum, own.node("affine", [attend(k, v), weight], {}));
        for (const [i, mask] of masks.entries()) {
          const part = (all: Tensor) =>
            masks.length === 1 ? all : own.node("slice", [all], { axis: 1, from: i * tokens, to: (i + 1) * tokens });
          // As an image's channels, of which affine has a factor each.
          const rows = own.node("reshape", [attend(part(k), part(v))], { shape: [...q.shape, 1] }); // [B, T, C, 1]
          const kept = own.node("affine", [rows, mask], {});
          sum = add(own, sum, own.node("reshape", [kept], { shape: q.shape }));
        }
      }
      return sum;
    };
  };
}

/** A mask as a step reads it. */
export interface MaskInput extends Grid {
  readonly name: string;
  readonly picture: number;
}

/** Those of one adapter. */
export function maskInputs(step: Graph, prefix: string): readonly MaskInput[] {
  return [...step.inputs.keys()].flatMap((name) => {
    if (!name.startsWith(`${prefix}mask.`)) return [];
    const [picture, height, width] = name.slice(`${prefix}mask.`.length).split(/[.x]/).map(Number);
    return [{ name, picture: picture!, height: height!, width: width! }];
  });
}
