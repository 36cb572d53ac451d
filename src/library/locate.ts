/** @file Where a model is that the user has named: the demo, a folder, a single file, the hub's cache, the block store. */
import { ArtifactError, UsageError } from "../errors.ts";
import { findModelId, type Store } from "../store/store.ts";
import type { LibraryHost } from "./host.ts";

export type ModelPlace =
  | { readonly kind: "files"; readonly path: string; readonly demo: boolean }
  | { readonly kind: "stored"; readonly name: string; readonly store: Store; readonly id: string };

/** Names a model of the block store. */
const STORED = "store:";

/** `model`: a folder, a file, a Hugging Face id, "store:ID"; undefined is the demo. Rejects with ArtifactError or UsageError. */
export async function locateModel(
  host: LibraryHost,
  model: string | undefined,
  storeFolder?: string,
): Promise<ModelPlace> {
  if (model === undefined) return { kind: "files", path: host.demoModel, demo: true };
  if (!model.startsWith(STORED)) return { kind: "files", path: await locateFiles(host, model), demo: false };
  const store = host.store(storeFolder);
  return { kind: "stored", name: model, store, id: await findModelId(store, model.slice(STORED.length)) };
}

/** A folder or a file on disk, or a Hugging Face id that is in the local cache. Rejects with ArtifactError `E_MISSING` or `E_NOT_CACHED`. */
export async function locateFiles(host: LibraryHost, model: string): Promise<string> {
  const path = host.absolute(model);
  if (await host.kindOf(path)) return path;
  if (!host.hub.isId(model)) {
    throw new ArtifactError({
      code: "E_MISSING",
      subject: model,
      problem: "there is no such model folder or file",
      next: "check the path, or name a Hugging Face id such as stabilityai/stable-diffusion-xl-base-1.0",
    });
  }
  const snapshot = await host.hub.resolve(model);
  if (snapshot !== undefined) return snapshot;
  throw new ArtifactError({
    code: "E_NOT_CACHED",
    subject: model,
    problem: "this model is neither a folder or file here nor in the Hugging Face cache",
    next: `fetch it with: solvay pull ${model}`,
  });
}

/** The file of an artifact, checked to be there. Rejects with ArtifactError `E_MISSING`. */
export async function locateArtifact(host: LibraryHost, artifact: string): Promise<string> {
  const path = host.absolute(artifact);
  if (await host.kindOf(path)) {
    // What can't be opened is said now, and not after a card was woken for it.
    await using _ = await host.openFile(path);
    return path;
  }
  throw new ArtifactError({
    code: "E_MISSING",
    subject: path,
    problem: `Missing artifact: ${path}`,
    next: "check the path given to --artifact",
  });
}

/** Throws UsageError where an artifact is asked for over a model in the store. */
export function requireNoArtifact(model: string | undefined, artifact: string | undefined): void {
  if (artifact === undefined || !model?.startsWith(STORED)) return;
  throw new UsageError({
    code: "E_USAGE",
    subject: model,
    problem: "an artifact can't be laid over a model in the store",
    next: "import both together: solvay import MODEL --artifact FILE",
  });
}
