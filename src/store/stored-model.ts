/**
 * @file A model in the store, open for reading: blocks in execution order for whoever streams them, and tensor tables for
 * whoever asks by name. Every byte is checked the first time it is read.
 */
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import type { PlacedTensor } from "../tensor/placement.ts";
import { damaged } from "./fs.ts";
import { type ArtifactFacts, type ManifestBlock, readManifest, type SourceStamp } from "./manifest.ts";
import type { Pack, ReadOptions } from "./pack/pack.ts";
import { type BlockCodec, extentBytes, type PackBlock, storedBytes } from "./pack/pack-format.ts";
import { modelsFolder, openPack, type Store } from "./store.ts";

/** The weights of one segment, contiguous. */
export interface PackedBlock {
  readonly component: string;
  /** Name of the graph, e.g. `unet.step`. */
  readonly graph: string;
  /** Name of the segment. */
  readonly label: string;
  /** Content address. */
  readonly id: string;
  readonly codec: BlockCodec;
  /** What a whole read takes from the disk. */
  readonly storedBytes: number;
  readonly plainBytes: number;
  /** In order of first use; offsets are multiples of 64 within the plain bytes. */
  readonly tensors: readonly PlacedTensor[];
  /**
   * Fills all of `into` with plain bytes from `startByte` on. Calls may run at the same time; when one rejects, it writes no
   * more. Rejects with ArtifactError `E_STORE_DAMAGED`, or the signal's reason. Whole chunks (`CHUNK_BYTES`) of plain blocks are
   * read straight into `into`, so read whole blocks where possible.
   */
  readPlain(startByte: number, into: Uint8Array, options?: ReadOptions): Promise<void>;
}

export interface StoredComponent {
  readonly name: string;
  /** In execution order. */
  readonly blocks: readonly PackedBlock[];
  /** By parameter name; reads go through the blocks and their checks. */
  readonly table: TensorTable;
  readonly sources: readonly SourceStamp[];
  readonly artifact?: ArtifactFacts;
}

export interface StoredModel extends AsyncDisposable {
  readonly id: string;
  /** As the user named it at import. */
  readonly name: string;
  readonly components: ReadonlyMap<string, StoredComponent>;
  /** The block of a segment. */
  block(component: string, graph: string, label: string): PackedBlock | undefined;
}

/** Checks the model's index, and header, index, footer and size of its packs. Throws ArtifactError `E_STORE_DAMAGED`, `E_MISSING`. */
export async function openStoredModel(store: Store, id: string): Promise<StoredModel> {
  const manifest = await readManifest(store.fs, modelsFolder(store), id);
  if (!manifest) {
    throw new ArtifactError({
      code: "E_MISSING",
      subject: id,
      problem: "there is no such model in the store",
      next: "import it with: solvay import MODEL",
    });
  }
  await using owned = new AsyncDisposableStack();
  const packs = new Map<string, Pack>();
  for (const { blocks } of manifest.components) {
    for (const { pack } of blocks) if (!packs.has(pack)) packs.set(pack, owned.use(await openPack(store, pack)));
  }
  const components = new Map<string, StoredComponent>();
  for (const { name, blocks, sources, artifact } of manifest.components) {
    const stored = blocks.map((block) => storedBlock(name, block, packs.get(block.pack)!));
    const table = new Map(stored.flatMap((block) => tableEntries(block).map((entry) => [entry.name, entry] as const)));
    components.set(name, { name, blocks: stored, table, sources, artifact });
  }
  const byPlace = new Map<string, PackedBlock>();
  for (const { blocks } of components.values()) {
    for (const block of blocks) byPlace.set(placeKey(block.component, block.graph, block.label), block);
  }
  const stack = owned.move();
  return {
    id,
    name: manifest.name,
    components,
    block: (component, graph, label) => byPlace.get(placeKey(component, graph, label)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function placeKey(component: string, graph: string, label: string): string {
  return JSON.stringify([component, graph, label]);
}

function storedBlock(
  component: string,
  { graph, label, id, plainBytes, tensors }: ManifestBlock,
  pack: Pack,
): PackedBlock {
  const found: PackBlock | undefined = pack.get(id);
  if (found?.plainBytes !== plainBytes) throw damaged(`pack ${pack.name.slice(0, 12)}`, `block ${label} is not in it`);
  return {
    component,
    graph,
    label,
    id,
    codec: found.codec,
    storedBytes: found.codec === "plain" ? storedBytes(found) : extentBytes(found),
    plainBytes,
    tensors,
    readPlain: (startByte, into, options) => pack.readPlain(id, startByte, into, label, options),
  };
}

function tableEntries(block: PackedBlock): TensorEntry[] {
  const source: ByteSource = {
    name: block.label,
    byteLength: block.plainBytes,
    read: (startByte, into, signal) => block.readPlain(startByte, into, { signal }),
    async [Symbol.asyncDispose]() {}, // the model owns the packs
  };
  return block.tensors.map(({ name, dtype, shape, offsetBytes }) => {
    const endByte = offsetBytes + tensorBytes({ dtype, shape });
    return { name, dtype, shape, source, startByte: offsetBytes, endByte };
  });
}
