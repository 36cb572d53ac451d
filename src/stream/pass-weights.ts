/** @file Which weights the segments of passes need, in their order: what is read ahead of compute. */
import type { Graph } from "../ir/graph.ts";
import { segmentBlocks } from "../plan/describe.ts";
import type { BlockReader } from "./blocks.ts";
import type { WeightUse } from "./weights.ts";

/** Segments with weights looked at ahead of compute; how many of them are read is a matter of room. */
export const LOOK_AHEAD = 3;

interface WeighedPass {
  readonly graph: Graph;
  readonly reader: BlockReader;
}

/** A pass's, by segment. */
export function weightUses({ graph, reader }: WeighedPass): WeightUse[] {
  return graph.segments.map((segment) => ({
    blocks: segmentBlocks(graph, segment, (name, weights) => reader.blocks(name, weights)),
    reader,
  }));
}

/** The first few of passes to come; segments in a row that read the same blocks count once. */
export function upcomingUses(passes: readonly WeighedPass[]): WeightUse[] {
  const uses: WeightUse[] = [];
  for (const use of passes.flatMap((pass) => weightUses(pass))) {
    if (use.blocks.length > 0 && !readsSame(use, uses.at(-1))) uses.push(use);
    if (uses.length >= LOOK_AHEAD) break;
  }
  return uses;
}

function readsSame({ blocks }: WeightUse, other: WeightUse | undefined): boolean {
  return blocks.length === other?.blocks.length && blocks.every(({ key }, i) => key === other.blocks[i]!.key);
}
