/** @file Reads everything that a model in the store consists of and lists what is wrong. */
import { SolvayError } from "../errors.ts";
import { type Manifest, type ManifestBlock, readManifest } from "./manifest.ts";
import type { Pack } from "./pack/pack.ts";
import { modelsFolder, openPack, type Store } from "./store.ts";

export interface StoreProblem {
  /** One line. */
  readonly text: string;
  /** What is damaged: the model's index, a whole pack, unused room in one, or one block. */
  readonly kind: "index" | "pack" | "gap" | "block";
  readonly pack?: string;
  readonly component?: string;
  readonly block?: ManifestBlock;
}

export interface VerifyProgress {
  readonly signal?: AbortSignal | undefined;
  readonly onBlock?: (doneBytes: number, totalBytes: number) => void;
}

/** Never rejects for what is damaged: that is the list. Each block is read once, however many places name it. */
export async function verifyModel(store: Store, id: string, progress: VerifyProgress = {}): Promise<StoreProblem[]> {
  let manifest: Manifest | undefined;
  try {
    manifest = await readManifest(store.fs, modelsFolder(store), id);
  } catch (error) {
    if (!(error instanceof SolvayError)) throw error;
    return [{ kind: "index", text: error.message }];
  }
  if (!manifest) return [{ kind: "index", text: `model ${id.slice(0, 12)} is not in the store` }];
  const problems: StoreProblem[] = [];
  const blocks = manifest.components.flatMap(({ name, blocks }) => blocks.map((block) => ({ component: name, block })));
  const totalBytes = blocks.reduce((sum, { block }) => sum + block.plainBytes, 0);
  let doneBytes = 0;
  const packs = Map.groupBy(blocks, ({ block }) => block.pack);
  for (const [name, members] of packs) {
    await using pack = await openOrTell(store, name, problems);
    const seen = new Map<string, string | undefined>();
    for (const { component, block } of pack ? members : []) {
      const known = seen.has(block.id);
      const text = known ? seen.get(block.id) : await pack!.problemOf(block.id, block.label, progress.signal);
      seen.set(block.id, text);
      if (text !== undefined) problems.push({ kind: "block", text, pack: name, component, block });
      doneBytes += block.plainBytes;
      progress.onBlock?.(doneBytes, totalBytes);
    }
    const gap = await pack?.problemOfGaps(progress.signal);
    if (gap !== undefined) problems.push({ kind: "gap", text: gap, pack: name });
  }
  return problems;
}

async function openOrTell(store: Store, name: string, problems: StoreProblem[]): Promise<Pack | undefined> {
  try {
    return await openPack(store, name);
  } catch (error) {
    if (!(error instanceof SolvayError)) throw error;
    problems.push({ kind: "pack", text: error.message, pack: name });
    return undefined;
  }
}
