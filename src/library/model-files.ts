/** @file The files of a model that the user has named, opened: a folder or a single file, and what stands in for parts of it. */
import { UsageError } from "../errors.ts";
import { BASE_MODEL, FAMILIES, openModelFiles } from "../models/families.ts";
import type { Family, OpenedFiles, Refiner } from "../models/family.ts";
import type { FilePlace } from "../models/file-place.ts";
import type { PredictionType } from "../sampler/prediction.ts";
import type { LibraryHost } from "./host.ts";
import { locateFiles } from "./locate.ts";

/** What stands in for parts of a model, as the user named it. */
export interface ModelParts {
  /** A VAE's file or folder. */
  readonly vae?: string | undefined;
  /** A folder with config files, for a single file. */
  readonly config?: string | undefined;
  /** Folder, or Hugging Face id in the local cache, of the model that lends a single file what it lacks. */
  readonly base?: string | undefined;
  /** What it predicts, whatever its files say. */
  readonly prediction?: PredictionType | undefined;
}

/**
 * Opens the model at `path`, a file or a folder. `owned` gets what it reads from, but for the checkpoint, which the caller disposes of first.
 * Rejects with ArtifactError, or UsageError for a part that such a model doesn't take.
 */
export async function openFilesAt(
  host: LibraryHost,
  path: string,
  parts: ModelParts,
  { owned, signal }: { readonly owned: AsyncDisposableStack; readonly signal?: AbortSignal | undefined },
): Promise<OpenedFiles> {
  const model = await openPlace(host, path, owned);
  if (model.kind === "folder") requireFile(path, parts);
  const { vae, config, base, prediction } = parts;
  return await openModelFiles(
    {
      model,
      vae: vae === undefined ? undefined : await openPlace(host, await locateFiles(host, vae), owned),
      config: config === undefined ? undefined : await host.openFolder(await locateFiles(host, config)),
      prediction,
      base: {
        name: base ?? BASE_MODEL,
        asked: base !== undefined,
        async open() {
          const found = base === undefined ? await host.hub.resolve(BASE_MODEL) : await locateFiles(host, base);
          return found === undefined ? undefined : await host.openFolder(found);
        },
      },
      vocabulary: await host.openFolder(host.clipVocabulary),
    },
    { signal },
  );
}

/** Opens the refiner at `path`; as openFilesAt. */
export async function openRefinerAt(
  host: LibraryHost,
  family: Family,
  path: string,
  { owned, signal }: { readonly owned: AsyncDisposableStack; readonly signal?: AbortSignal | undefined },
): Promise<Refiner> {
  const model = await openPlace(host, path, owned);
  return await family.openRefiner({ model, vocabulary: await host.openFolder(host.clipVocabulary) }, { signal });
}

/** The family whose refiner is at `path`; undefined where that is none. Rejects with ArtifactError. */
export async function refinerFamilyAt(
  host: LibraryHost,
  path: string,
  signal?: AbortSignal,
): Promise<Family | undefined> {
  await using owned = new AsyncDisposableStack();
  const model = await openPlace(host, path, owned);
  for (const family of FAMILIES) if (await family.isRefiner(model, signal)) return family;
  return undefined;
}

/** `owned` gets the file; a folder opens its own. Rejects with ArtifactError. */
export async function openPlace(host: LibraryHost, path: string, owned: AsyncDisposableStack): Promise<FilePlace> {
  if ((await host.kindOf(path)) !== "file") return { kind: "folder", folder: await host.openFolder(path) };
  return { kind: "file", path, file: owned.use(await host.openFile(path)) };
}

/** A folder has all of its own. */
function requireFile(path: string, { config, base }: ModelParts): void {
  const option = givenPart({ config, base });
  if (option === undefined) return;
  throw new UsageError({
    code: "E_USAGE",
    subject: path,
    problem: `--${option} is for a model in a single file, and this is a folder`,
    next: `leave --${option} away`,
  });
}

/** Checks that a file can be opened, so that this is said before a card is woken for it. Rejects with ArtifactError. */
export async function requireReadable(host: LibraryHost, path: string): Promise<void> {
  if ((await host.kindOf(path)) !== "file") return void (await host.openFolder(path));
  await using _ = await host.openFile(path);
}

/** Refuses parts for a model that the block store holds whole. Throws UsageError. */
export function requireNoParts(model: string, parts: ModelParts): void {
  const option = givenPart(parts);
  if (option === undefined) return;
  throw new UsageError({
    code: "E_USAGE",
    subject: model,
    problem: `--${option} can't be used with a model in the store`,
    next: `import it with that: solvay import MODEL --${option} ...`,
  });
}

/** Refuses what stands in for parts of a model, where a refiner is to be imported. Throws UsageError. */
export function requirePlainRefiner(
  refiner: string,
  parts: ModelParts & { readonly artifact?: string | undefined },
): void {
  const option = givenPart(parts);
  if (option === undefined) return;
  throw new UsageError({
    code: "E_USAGE",
    subject: refiner,
    problem: `this is a refiner, which goes on from a base model's picture and takes no --${option}`,
    next: `leave --${option} away`,
  });
}

function givenPart(parts: object): string | undefined {
  return Object.entries(parts).find(([, value]) => value !== undefined)?.[0];
}
