/**
 * @file What a ControlNet Union (xinsir's; diffusers models/controlnets/controlnet_union.py) has beside a ControlNet: it is told which kind of
 * picture it looks at, and weighs the picture's hint by a transformer over hint and latent. B batch, C channels of the first level.
 */
import type { GraphBuilder, Tensor } from "../../ir/builder.ts";
import { add, layerNorm, linear } from "../layers.ts";

export interface UnionConfig {
  /** Kinds of pictures that it knows. */
  readonly types: number;
  readonly heads: number;
  readonly layers: number;
}

/** Input "mode" [1, 1] i32, and the hint [1, C, H, W] -> its token [1, 1, C]. In a segment. */
export function unionToken(g: GraphBuilder, hint: Tensor, mode: Tensor, { types }: UnionConfig): Tensor {
  const channels = hint.shape[1]!;
  const task = g.node("embedding", [g.weight("task_embedding", [types, channels]), mode], {}); // [1, 1, C]
  return add(g, mean(g, hint), task);
}

/** The latent after the first convolution [B, C, H, W], with the hint [1, C, H, W] as its token [1, 1, C] and the latent weigh it. */
export function unionHinted(
  g: GraphBuilder,
  latent: Tensor,
  { hint, token, config }: { readonly hint: Tensor; readonly token: Tensor; readonly config: UnionConfig },
): Tensor {
  const [batch, channels] = latent.shape as [number, number, number, number];
  return g.segment("spatial_ch_projs", () => {
    let tokens = token;
    for (let i = 1; i < batch; i++) tokens = g.node("concat", [tokens, token], { axis: 1 }); // [1, B, C]
    let x = g.node("concat", [tokens, mean(g, latent)], { axis: 0 }); // [2, B, C]
    for (let i = 0; i < config.layers; i++) x = block(g, x, `transformer_layes.${i}`, config.heads);
    const own = g.node("slice", [x], { axis: 0, from: 0, to: 1 });
    const alpha = g.node("reshape", [linear(g, own, "spatial_ch_projs", channels)], { shape: [batch, channels] });
    return g.node("addChannels", [add(g, latent, hint), alpha], {});
  });
}

/** x [B, C, H, W] -> [1, B, C] */
function mean(g: GraphBuilder, x: Tensor): Tensor {
  const [batch, channels] = x.shape as [number, number, number, number];
  const statistics = g.node("groupStats", [x], { groups: channels }); // [B, C, 2]
  const means = g.node("slice", [statistics], { axis: 2, from: 0, to: 1 });
  return g.node("reshape", [means], { shape: [1, batch, channels] });
}

/** ResidualAttentionBlock, x [2, B, C]: torch's attention takes the first axis for the sequence there, so each token sees its like of the batch. */
function block(g: GraphBuilder, x: Tensor, name: string, heads: number): Tensor {
  const channels = x.shape[2]!;
  const eps = 1e-5;
  const weight = g.weight(`${name}.attn.in_proj_weight`, [3 * channels, channels]);
  const bias = g.weight(`${name}.attn.in_proj_bias`, [3 * channels]);
  const joined = g.node("linear", [layerNorm(g, x, `${name}.ln_1`, eps), weight, bias], {}, `${name}.attn`);
  const qkv = [0, 1, 2].map((part) => {
    return g.node("slice", [joined], { axis: 2, from: part * channels, to: (part + 1) * channels });
  });
  const attended = g.node("attention", qkv, { heads, causal: false });
  const h = add(g, x, linear(g, attended, `${name}.attn.out_proj`, channels));
  const inner = linear(g, layerNorm(g, h, `${name}.ln_2`, eps), `${name}.mlp.c_fc`, 4 * channels);
  return add(g, h, linear(g, g.node("quickGelu", [inner], {}), `${name}.mlp.c_proj`, channels));
}
