/** @file Which weights each segment of an SDXL reads, in execution order: what the block store makes its blocks from. */
import type { TensorTable } from "../container/table.ts";
import { bandProgram } from "../ir/bands.ts";
import type { Graph } from "../ir/graph.ts";
import { clipGraph } from "../model/clip.ts";
import { unetStepGraph, unetTextGraph, unetTimeGraph } from "../model/unet.ts";
import { DECODE_BAND_BYTES, vaeDecoderGraph } from "../model/vae.ts";
import type { BlockSpec } from "../store/layout.ts";
import type { SdxlCheckpoint } from "./sdxl-folder.ts";

/** Components with weights, in the order in which an image needs them. */
export const SDXL_COMPONENTS = ["textEncoder", "textEncoder2", "unet", "vae"] as const;
export type SdxlComponentName = (typeof SDXL_COMPONENTS)[number];

export function sdxlBlocks(checkpoint: SdxlCheckpoint, component: SdxlComponentName): BlockSpec[] {
  return blocksOf(component, graphsOf(checkpoint, component), checkpoint[component].table);
}

/** Picture sizes change nothing about weights: the smallest will do. */
function graphsOf({ textEncoder, textEncoder2, unet, vae }: SdxlCheckpoint, component: SdxlComponentName): Graph[] {
  switch (component) {
    case "textEncoder":
      return [clipGraph(textEncoder.config, { batch: 1, tokens: textEncoder.config.maxPositions, pooled: true })];
    case "textEncoder2":
      return [clipGraph(textEncoder2.config, { batch: 1, tokens: textEncoder2.config.maxPositions, pooled: true })];
    case "unet": {
      const side = 2 ** unet.config.levels.length;
      const size = { batch: 1, height: side, width: side };
      return [unetTimeGraph(unet.config, 1), unetTextGraph(unet.config, 1, 1), unetStepGraph(unet.config, size, 1)];
    }
    case "vae": {
      // Decoded in bands: a block for each layer of those.
      const { layers } = bandProgram(vaeDecoderGraph(vae.config, 1, 2, 2), { bandBytes: DECODE_BAND_BYTES });
      return layers.map(({ bands }) => bands[0]!.graph);
    }
  }
}

/** Every tensor of the table in exactly one block. */
function blocksOf(component: string, graphs: readonly Graph[], table: TensorTable): BlockSpec[] {
  const left = new Map(table);
  const blocks: BlockSpec[] = [];
  for (const graph of graphs) {
    for (const segment of graph.segments) {
      const tensors = segment.weights.flatMap((id) => {
        const entry = left.get(graph.values[id]!.name);
        if (!entry) return []; // the pooled end of an encoder whose checkpoint has none
        left.delete(entry.name);
        return [{ name: entry.name, dtype: entry.dtype, shape: entry.shape }];
      });
      if (tensors.length > 0) blocks.push({ graph: graph.name, label: segment.name, tensors });
    }
  }
  if (left.size > 0) throw new Error(`no segment of ${component} reads ${[...left.keys()].slice(0, 3).join(", ")}`);
  return blocks;
}
