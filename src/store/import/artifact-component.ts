/** @file An LZR2 artifact becomes blocks: published as they lie, or decoded into a scratch file for blocks that are to be packed. */
import { lzr2MemoryBytes } from "../container/lzr2.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { ArtifactBuild } from "./artifact-build.ts";
import { Checkpoint } from "./checkpoint.ts";
import { PAGE_BYTES } from "./fs.ts";
import { HASH_THREAD_BYTES, type Hasher, HashThread, LOCAL_HASHER } from "./hashing.ts";
import type { BuildContext, BuiltComponent, ImportComponent } from "./import-types.ts";
import type { BlockLayout } from "./layout.ts";
import type { ArtifactFacts } from "./manifest.ts";
import type { PlainReader } from "./pack-writer.ts";
import { openPart } from "./part-file.ts";
import { PlacedFile } from "./placed-file.ts";
import { ringBytes, WeightRing } from "./weight-ring.ts";

/** Brings everything into place, as a published pack. */
export async function buildPlaced(
  context: BuildContext,
  key: string,
  component: ImportComponent,
  layouts: readonly BlockLayout[],
): Promise<BuiltComponent> {
  return await withBuild(
    context,
    key,
    component,
    layouts,
    async (build) => await build.publish(partPath(context, key)),
  );
}

/**
 * Only decodes, into a file that `use` then reads the blocks from: for blocks that are to be packed, which have no places
 * before. The file is removed in the end.
 */
export async function decodeToScratch(
  context: BuildContext,
  key: string,
  component: ImportComponent,
  layouts: readonly BlockLayout[],
  use: (readers: PlainReader[], facts: ArtifactFacts) => Promise<BuiltComponent>,
): Promise<BuiltComponent> {
  const built = await withBuild(context, key, component, layouts, async (build) => {
    const { readers, facts } = await build.scratch();
    return await use(readers, facts);
  });
  await context.store.fs.remove(partPath(context, key));
  return built;
}

function partPath({ folder }: BuildContext, key: string): string {
  return `${folder}/${key}.placed`;
}

async function withBuild<T>(
  context: BuildContext,
  key: string,
  component: ImportComponent,
  layouts: readonly BlockLayout[],
  work: (build: ArtifactBuild) => Promise<T>,
): Promise<T> {
  const { store, journal, requireLock } = context;
  const path = partPath(context, key);
  const there = await store.fs.stat(path);
  const largestBytes = largestTensor(layouts);
  const wholeBytes = ringBytes(largestBytes) + PAGE_BYTES;
  const threaded = layouts.reduce((sum, { plainBytes }) => sum + plainBytes, 0) >= context.hashThreadFromBytes;
  const whole = new Uint8Array(threaded ? new SharedArrayBuffer(wholeBytes) : new ArrayBuffer(wholeBytes));
  await using part = await openPart(store.fs, path, there ? "edit" : "create", whole);
  const checkpoint = new Checkpoint(part.file, journal, requireLock);
  try {
    const placed = new PlacedFile(part.file, layouts);
    const ring = new WeightRing(largestBytes, part.memory);
    await using hasher = openHasher(part.memory);
    // Lengthening by zeros takes no room: what is never written stays a hole.
    if ((there?.sizeBytes ?? 0) < placed.endByte) await part.file.truncate(placed.endByte);
    return await work(
      new ArtifactBuild(context, key, component, placed, ring, hasher, checkpoint, there !== undefined),
    );
  } finally {
    await checkpoint.settle().catch(() => undefined);
  }
}

/** A thread of its own where the memory is shared; else this thread. */
function openHasher({ buffer, byteOffset, byteLength }: Uint8Array): Hasher {
  if (buffer instanceof ArrayBuffer) return LOCAL_HASHER;
  return new HashThread(new Uint8Array(buffer, byteOffset, byteLength));
}

/** Memory that decoding an artifact of these shapes takes, beside chunks in work. */
export function decodingBytes(layouts: readonly BlockLayout[]): number {
  const largestBytes = largestTensor(layouts);
  return ringBytes(largestBytes) + HASH_THREAD_BYTES + lzr2MemoryBytes(largestBytes / 2);
}

/** Its bytes. */
function largestTensor(layouts: readonly BlockLayout[]): number {
  const tensors = layouts.flatMap((layout) => layout.tensors);
  return tensors.reduce((most, { shape }) => Math.max(most, tensorBytes({ dtype: "f16", shape })), 0);
}
