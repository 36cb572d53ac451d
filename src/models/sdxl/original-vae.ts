/**
 * @file Names of the VAE in the original layout (latent-diffusion's autoencoder), as diffusers' names (its `single_file_utils.py`,
 * convert_ldm_vae_checkpoint). The middle attention's 1x1 convolutions are diffusers' linear layers, of the same values.
 */

const ORIGINAL = /^(en|de)coder\.(down|up|mid|norm_out)\./;

/** Whether a VAE with such a name, without prefix, is in the original layout. */
export function isOriginalVae(name: string): boolean {
  return ORIGINAL.test(name) && !/^(en|de)coder\.(down|up|mid)_block/.test(name);
}

const IN_ATTENTION: Readonly<Record<string, string>> = {
  norm: "group_norm",
  q: "to_q",
  k: "to_k",
  v: "to_v",
  proj_out: "to_out.0",
};

const LEVEL = /^(encoder\.down|decoder\.up)\.(\d{1,3})\.(?:block\.(\d{1,3})\.(.+)|(?:down|up)sample\.(conv\..+))$/;
const MIDDLE = /^((?:en|de)coder)\.mid\.(?:block_([12])\.(.+)|attn_1\.(norm|q|k|v|proj_out)\.(.+))$/;
const SAME = /^(?:(?:en|de)coder\.conv_(?:in|out)|(?:post_)?quant_conv)\./;
const LAST_NORM = /^((?:en|de)coder)\.norm_out\./;

/** diffusers' name of each of `names` that is in the original layout; undefined for what no such VAE has. */
export function originalVaeNames(names: Iterable<string>): (name: string) => string | undefined {
  let top = 0;
  for (const name of names) {
    const [, part, level] = LEVEL.exec(name) ?? [];
    if (part === "decoder.up") top = Math.max(top, Number(level));
  }
  return (name) => {
    if (SAME.test(name)) return name;
    if (LAST_NORM.test(name)) return name.replace(LAST_NORM, "$1.conv_norm_out.");
    const [, part, level, layer, inner, resampled] = LEVEL.exec(name) ?? [];
    if (part !== undefined) {
      const block =
        part === "decoder.up" ? `decoder.up_blocks.${top - Number(level)}` : `encoder.down_blocks.${Number(level)}`;
      if (inner === undefined) return `${block}.${part === "decoder.up" ? "up" : "down"}samplers.0.${resampled}`;
      return `${block}.resnets.${Number(layer)}.${resnetName(inner)}`;
    }
    const [, half, block, inBlock, projection, inProjection] = MIDDLE.exec(name) ?? [];
    if (half === undefined) return undefined;
    if (block !== undefined) return `${half}.mid_block.resnets.${Number(block) - 1}.${resnetName(inBlock!)}`;
    return `${half}.mid_block.attentions.0.${IN_ATTENTION[projection!]}.${inProjection}`;
  };
}

function resnetName(inner: string): string {
  return inner.replace(/^nin_shortcut\./, "conv_shortcut.");
}
