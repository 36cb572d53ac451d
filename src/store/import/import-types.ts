/** @file What an import is asked for and what it tells. */
import type { TensorTable } from "../../container/table.ts";
import type { Ledger } from "../../ledger/ledger.ts";
import type { ByteSource } from "../../source/source.ts";
import type { Catalog } from "../catalog.ts";
import type { ArtifactFacts, BlockAddress, ManifestBlock, SourceStamp } from "../manifest.ts";
import type { BlockLayout, BlockSpec } from "../pack/block-layout.ts";
import type { BlockCodec } from "../pack/pack-format.ts";
import type { Store } from "../store.ts";
import type { Journal } from "./journal.ts";

/** "auto": what this disk and this processor read faster. */
export type PackedChoice = "auto" | "on" | "off";

export interface ImportComponent {
  readonly name: string;
  /** In execution order; every tensor of the table in exactly one. */
  readonly blocks: readonly BlockSpec[];
  readonly table: TensorTable;
  /** LZR2 laid over the table. */
  readonly artifact?: { readonly source: ByteSource; readonly compat: boolean };
  /** What the component is made from: the same stamps, the same content. */
  readonly sources: readonly SourceStamp[];
}

export interface ImportRequest {
  /** As the user named the model. */
  readonly name: string;
  /** In execution order. */
  readonly components: readonly ImportComponent[];
  readonly packed: PackedChoice;
}

/** Where an import's bytes are reserved. */
export interface ImportBudget {
  readonly ledger: Ledger;
  /** The tier of its buffers: "device" where compute uses the same memory, and waits meanwhile. */
  readonly memory: "ram" | "device";
}

export type ImportEvent =
  /** Another process writes to the store; this one waits for it. */
  | { readonly type: "wait"; readonly owner: string }
  /** Work of an import that was cut off: checked, and not done again. */
  | { readonly type: "resume"; readonly component: string; readonly blocks: number; readonly records: number }
  | { readonly type: "codec"; readonly codec: BlockCodec; readonly reason: string }
  /** A record of an artifact has been decoded. */
  | {
      readonly type: "record";
      readonly count: number;
      readonly key: string;
      readonly readBytes: number;
      readonly totalBytes: number;
    }
  /** Plain bytes of the model that are in the store now. */
  | { readonly type: "progress"; readonly component: string; readonly doneBytes: number; readonly totalBytes: number }
  | {
      readonly type: "component";
      readonly component: string;
      readonly blocks: number;
      /** Blocks that the store had already. */
      readonly sharedBlocks: number;
      readonly plainBytes: number;
    };

export interface ImportResult {
  readonly id: string;
  /** The store had the model: nothing was read or written. */
  readonly reused: boolean;
  readonly plainBytes: number;
  /** Bytes of packs that this import wrote. */
  readonly writtenBytes: number;
  readonly artifact?: ArtifactFacts;
}

/** What the parts of one import share. */
export interface BuildContext {
  readonly store: Store;
  /** Work folder of this import. */
  readonly folder: string;
  readonly journal: Journal;
  readonly catalog: Catalog;
  readonly packed: PackedChoice;
  /** Artifacts over components of so many bytes are hashed in a thread of their own. */
  readonly hashThreadFromBytes: number;
  /** How to store blocks of 16-bit weights. */
  readonly codec: BlockCodec;
  readonly signal: AbortSignal | undefined;
  readonly onEvent: (event: ImportEvent) => void;
  /** Rejects if this process may not write any more. */
  readonly requireLock: () => Promise<void>;
  /** Counts plain bytes that are in the store now, for progress. */
  readonly advance: (component: string, plainBytes: number) => void;
}

export interface BuiltComponent {
  readonly blocks: readonly ManifestBlock[];
  readonly sharedBlocks: number;
  readonly writtenBytes: number;
  readonly artifact?: ArtifactFacts;
}

/** What an artifact brought is fp16, whatever the base model has in that place. */
export function manifestBlocks(
  layouts: readonly BlockLayout[],
  placed: readonly BlockAddress[],
  facts?: ArtifactFacts,
): ManifestBlock[] {
  const applied = new Set(facts?.records.map(([key]) => key));
  return layouts.map((layout, i) => {
    const tensors = layout.tensors.map((tensor) =>
      applied.has(tensor.name) ? { ...tensor, dtype: "f16" as const } : tensor,
    );
    return { ...layout, tensors, id: placed[i]!.id, pack: placed[i]!.pack };
  });
}
