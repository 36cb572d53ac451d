/** @file An LZR2 artifact becomes blocks: published as they lie, or decoded into a scratch file for blocks that are to be packed. */
import { lzr2MemoryBytes } from "../../container/lzr2.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import { PAGE_BYTES } from "../fs.ts";
import type { ArtifactFacts } from "../manifest.ts";
import type { BlockLayout } from "../pack/block-layout.ts";
import { type Hasher, type HashThreads, LOCAL_HASHER } from "../pack/hasher.ts";
import type { PlainReader } from "../pack/pack-writer.ts";
import { openPart } from "../pack/part-file.ts";
import { PlacedFile } from "../pack/placed-file.ts";
import { ArtifactPass } from "./artifact-pass.ts";
import type { BuildContext, BuiltComponent, ImportComponent } from "./import-types.ts";
import { SavePoint } from "./save-point.ts";
import { TensorIntake } from "./tensor-intake.ts";
import { ringBytes, WeightRing } from "./weight-ring.ts";

/** Writes the blocks plain, each at its place in a pack, and publishes that. */
export async function buildPlaced(
  context: BuildContext,
  key: string,
  component: ImportComponent,
  layouts: readonly BlockLayout[],
): Promise<BuiltComponent> {
  return await withPass(context, key, component, layouts, async (pass) => await pass.publish(partPath(context, key)));
}

/**
 * Decodes into a file, from which `use` reads the blocks: for blocks that are to be packed, whose places are known only then. The
 * file is removed in the end.
 */
export async function decodeToScratch(
  context: BuildContext,
  key: string,
  component: ImportComponent,
  layouts: readonly BlockLayout[],
  use: (readers: PlainReader[], facts: ArtifactFacts) => Promise<BuiltComponent>,
): Promise<BuiltComponent> {
  const built = await withPass(context, key, component, layouts, async (pass) => {
    const { readers, facts } = await pass.scratch();
    return await use(readers, facts);
  });
  await context.store.fs.remove(partPath(context, key));
  return built;
}

function partPath({ folder }: BuildContext, key: string): string {
  return `${folder}/${key}.placed`;
}

async function withPass<T>(
  context: BuildContext,
  key: string,
  component: ImportComponent,
  layouts: readonly BlockLayout[],
  work: (pass: ArtifactPass) => Promise<T>,
): Promise<T> {
  const { store, journal, requireLock } = context;
  const path = partPath(context, key);
  const there = await store.fs.stat(path);
  const largestBytes = largestTensor(layouts);
  const wholeBytes = ringBytes(largestBytes) + PAGE_BYTES;
  const { hashThreads } = store;
  const threaded =
    hashThreads && layouts.reduce((sum, { plainBytes }) => sum + plainBytes, 0) >= context.hashThreadFromBytes;
  const whole = new Uint8Array(threaded ? new SharedArrayBuffer(wholeBytes) : new ArrayBuffer(wholeBytes));
  await using part = await openPart(store.fs, path, there ? "edit" : "create", whole);
  const savePoint = new SavePoint(part.file, journal, requireLock);
  try {
    const placed = new PlacedFile(part.file, layouts);
    await using hasher = openHasher(part.memory, hashThreads);
    const intake = new TensorIntake(placed, new WeightRing(largestBytes, part.memory), hasher);
    // Lengthening by zeros takes no room: what is never written stays a hole.
    if ((there?.sizeBytes ?? 0) < placed.endByte) await part.file.truncate(placed.endByte);
    const resumed = there !== undefined;
    return await work(new ArtifactPass({ context, key, component, placed, intake, savePoint, resumed }));
  } finally {
    await savePoint.settle().catch(() => undefined);
  }
}

/** A thread of its own where the memory is shared; else this thread. */
function openHasher({ buffer, byteOffset, byteLength }: Uint8Array, threads: HashThreads | undefined): Hasher {
  if (buffer instanceof ArrayBuffer || !threads) return LOCAL_HASHER;
  return threads.start(new Uint8Array(buffer, byteOffset, byteLength));
}

/** Memory that decoding an artifact of these shapes takes, beside chunks in work and a thread that hashes. */
export function decodingBytes(layouts: readonly BlockLayout[]): number {
  const largestBytes = largestTensor(layouts);
  return ringBytes(largestBytes) + lzr2MemoryBytes(largestBytes / 2);
}

/** Its bytes. */
function largestTensor(layouts: readonly BlockLayout[]): number {
  const tensors = layouts.flatMap((layout) => layout.tensors);
  return tensors.reduce((most, { shape }) => Math.max(most, tensorBytes({ dtype: "f16", shape })), 0);
}
