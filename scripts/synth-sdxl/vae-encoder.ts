/** @file The VAE encoder's parameters (diffusers Encoder): a complete folder has them, though decoding doesn't read them. */
import type { VaeConfig } from "../../src/model/config.ts";

export function vaeEncoderSchema(config: VaeConfig): ReadonlyMap<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const conv = (name: string, inChannels: number, outChannels: number, kernel: number) => {
    shapes.set(`${name}.weight`, [outChannels, inChannels, kernel, kernel]).set(`${name}.bias`, [outChannels]);
  };
  const norm = (name: string, channels: number) => {
    shapes.set(`${name}.weight`, [channels]).set(`${name}.bias`, [channels]);
  };
  const resnet = (name: string, inChannels: number, outChannels: number) => {
    norm(`${name}.norm1`, inChannels);
    conv(`${name}.conv1`, inChannels, outChannels, 3);
    norm(`${name}.norm2`, outChannels);
    conv(`${name}.conv2`, outChannels, outChannels, 3);
    if (inChannels !== outChannels) conv(`${name}.conv_shortcut`, inChannels, outChannels, 1);
  };
  const { blockChannels, layersPerBlock, latentChannels } = config;
  const top = blockChannels.at(-1)!;
  conv("encoder.conv_in", config.outChannels, blockChannels[0]!, 3);
  blockChannels.forEach((channels, i) => {
    for (let j = 0; j < layersPerBlock; j++) {
      resnet(
        `encoder.down_blocks.${i}.resnets.${j}`,
        j === 0 ? (blockChannels[i - 1] ?? channels) : channels,
        channels,
      );
    }
    if (i < blockChannels.length - 1) conv(`encoder.down_blocks.${i}.downsamplers.0.conv`, channels, channels, 3);
  });
  for (const j of [0, 1]) resnet(`encoder.mid_block.resnets.${j}`, top, top);
  norm("encoder.mid_block.attentions.0.group_norm", top);
  for (const part of ["to_q", "to_k", "to_v", "to_out.0"]) {
    const name = `encoder.mid_block.attentions.0.${part}`;
    shapes.set(`${name}.weight`, [top, top]).set(`${name}.bias`, [top]);
  }
  norm("encoder.conv_norm_out", top);
  conv("encoder.conv_out", top, 2 * latentChannels, 3);
  conv("quant_conv", 2 * latentChannels, 2 * latentChannels, 1);
  return shapes;
}
