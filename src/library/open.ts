/** @file Opens what the user has named, an artifact over it included: the one way for engine, commands and servers. */
import { overlayLzr2 } from "../checkpoint/lzr2-overlay.ts";
import type { Checkpoint, Component, Refiner } from "../models/family.ts";
import type { Folder } from "../source/folder.ts";
import type { ByteSource } from "../source/source.ts";
import type { ImportBudget, ImportEvent } from "../store/import/import-types.ts";
import type { Store } from "../store/store.ts";
import { openStoredModel } from "../store/stored-model.ts";
import type { LibraryHost } from "./host.ts";
import { locateArtifact, locateFiles, locateModel, requireNoArtifact } from "./locate.ts";
import { type ModelParts, openFilesAt, openRefinerAt, requireNoParts, requireReadable } from "./model-files.ts";
import { modelNamed } from "./model-name.ts";
import { folderComponent, storedComponent } from "./on-demand.ts";
import { importCheckpoint, openStoredCheckpoint, openStoredRefiner, withStoredWeights } from "./stored.ts";

export interface ModelRequest extends ModelParts {
  /** See locateModel. */
  readonly model?: string | undefined;
  readonly artifact?: string | undefined;
  /** Folder of the block store. Default: the user's own. */
  readonly store?: string | undefined;
  /** Accept LZR2 records of unknown kind. */
  readonly compat?: boolean | undefined;
  /** A refiner, opened beside the model: a folder, a single file, a Hugging Face id in the local cache, "store:ID". */
  readonly refiner?: string | undefined;
}

/** A model that was found, not opened yet. */
export interface ModelSource {
  /** For people. */
  readonly name: string;
  readonly demo: boolean;
  /** Paths, where the model, or a VAE in place of its own, is one file. */
  readonly file?: string | undefined;
  readonly vaeFile?: string | undefined;
  /** What stands in for parts of the model, by names as pictures record them. */
  readonly partNames?: ModelParts | undefined;
  open(options: OpenModelOptions): Promise<OpenedModel>;
}

export interface OpenModelOptions {
  /** What an import of a large artifact may take. */
  readonly importBudget: (store: Store) => Promise<ImportBudget>;
  readonly onArtifact?: ((event: ArtifactEvent) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type ArtifactEvent =
  | Extract<ImportEvent, { readonly type: "record" }>
  | {
      readonly type: "done";
      readonly applied: number;
      readonly untouched: number;
      readonly missing: number;
      readonly skippedOverlayRows: number;
    };

export interface OpenedModel extends AsyncDisposable {
  readonly checkpoint: Checkpoint;
  readonly artifactName?: string | undefined;
  /** Memory that decoded weights take for as long as it is open. */
  readonly heldBytes: number;
  /**
   * A component that not every picture needs, which lives as long as the model is open: in place, or brought into the store now. Rejects with
   * ArtifactError, see on-demand.ts.
   */
  onDemand(id: string, signal?: AbortSignal): Promise<Component>;
}

/** What takes no more is decoded into memory; all else goes into the block store, once. */
const HELD_ARTIFACT_BYTES = 256 * 1024 ** 2;

/**
 * Finds model and artifact, without opening the model. `heldArtifactBytes`: the most that decoded weights may take of memory; a larger
 * artifact goes into the store. Rejects with ArtifactError or UsageError.
 */
export async function findModel(
  host: LibraryHost,
  request: ModelRequest,
  { heldArtifactBytes }: { readonly heldArtifactBytes?: number | undefined } = {},
): Promise<ModelSource> {
  const { model, artifact, store: storeFolder, compat = false, vae, config, base, prediction, refiner } = request;
  const parts = { vae, config, base, prediction };
  requireNoArtifact(model, artifact);
  const place = await locateModel(host, model, storeFolder);
  if (place.kind === "stored") {
    requireNoParts(place.name, parts);
    return {
      name: place.name,
      demo: false,
      async open(options) {
        const { importBudget, signal } = options;
        await using owned = new AsyncDisposableStack();
        const { store } = place;
        const opened = owned.use(await openStoredCheckpoint(store, place.id, signal));
        const { checkpoint, artifactName } = opened;
        const stack = owned.move();
        const model: OpenedModel = {
          ...{ checkpoint, artifactName, heldBytes: 0 },
          async onDemand(id, asked) {
            const options = { signal: asked, budget: await importBudget(store) };
            const { component, owned: files } = await storedComponent(host, store, opened, id, options);
            stack.use(files);
            return component;
          },
          [Symbol.asyncDispose]: () => stack.disposeAsync(),
        };
        return await withRefiner(host, model, { refiner, storeFolder }, signal);
      },
    };
  }
  await requireReadable(host, place.path);
  const artifactPath = artifact === undefined ? undefined : await locateArtifact(host, artifact);
  return {
    name: place.path,
    demo: place.demo,
    file: await fileAt(host, place.path),
    vaeFile: vae === undefined ? undefined : await fileAt(host, await locateFiles(host, vae)),
    partNames: await namesOf(host, parts),
    async open(options) {
      const policy = { store: host.store(storeFolder), compat, heldBytes: heldArtifactBytes };
      const opened = await openFiles(host, { path: place.path, parts, artifactPath }, policy, options);
      return await withRefiner(host, opened, { refiner, storeFolder }, options.signal);
    },
  };
}

async function namesOf(host: LibraryHost, { vae, config, base, prediction }: ModelParts): Promise<ModelParts> {
  const named = async (part: string | undefined) =>
    part === undefined ? undefined : modelNamed(await locateFiles(host, part)).model;
  return { vae: await named(vae), config: await named(config), base: await named(base), prediction };
}

/** The model with a refiner beside it, where one is named. */
async function withRefiner(
  host: LibraryHost,
  model: OpenedModel,
  { refiner, storeFolder }: { readonly refiner: string | undefined; readonly storeFolder: string | undefined },
  signal: AbortSignal | undefined,
): Promise<OpenedModel> {
  if (refiner === undefined) return model;
  await using owned = new AsyncDisposableStack();
  owned.use(model);
  const { family } = model.checkpoint;
  const place = await locateModel(host, refiner, storeFolder);
  const opened = owned.use(
    place.kind === "stored"
      ? await openStoredRefiner(place.store, place.id, family, { owned, signal })
      : await openRefinerAt(host, family, place.path, { owned, signal }),
  );
  const checkpoint = model.checkpoint.withRefiner(opened);
  const stack = owned.move();
  return {
    ...{ checkpoint, artifactName: model.artifactName, heldBytes: model.heldBytes + readingBytes(opened) },
    onDemand: (id, asked) => model.onDemand(id, asked),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** How an artifact is laid over a model. */
interface ArtifactPolicy {
  readonly compat: boolean;
  /** Where artifacts go that are too large to be decoded into memory at each start. */
  readonly store: Store;
  /** Decoded weights up to so many bytes are not too large. Default 256 MiB. */
  readonly heldBytes?: number | undefined;
}

/** Reads that are on their way at a time, at most (stream/blocks.ts, for each of two blocks). */
const READS_AT_ONCE = 8;

/** Memory of reads through views: of weights that lie in a file otherwise than they are read. */
function readingBytes({ components }: Pick<Checkpoint | Refiner, "components">): number {
  const sources = [...components.values()].flatMap(({ table }) => Array.from(table.values(), ({ source }) => source));
  return READS_AT_ONCE * sources.reduce((most, { readingBytes = 0 }) => Math.max(most, readingBytes), 0);
}

async function openFiles(
  host: LibraryHost,
  named: { readonly path: string; readonly parts: ModelParts; readonly artifactPath: string | undefined },
  policy: ArtifactPolicy,
  options: OpenModelOptions,
): Promise<OpenedModel> {
  const { path, parts, artifactPath } = named;
  await using owned = new AsyncDisposableStack();
  const artifact = artifactPath === undefined ? undefined : owned.use(await host.openFile(artifactPath));
  const { folder, checkpoint: base } = await openFilesAt(host, path, parts, { owned, signal: options.signal });
  owned.use(base);
  const { checkpoint, heldBytes } = artifact
    ? await withArtifact(folder, base, artifact, policy, owned, options)
    : { checkpoint: base, heldBytes: 0 };
  const stack = owned.move();
  return {
    checkpoint,
    artifactName: artifact?.name,
    heldBytes: heldBytes + readingBytes(checkpoint),
    onDemand: async (id) => folderComponent(checkpoint, id),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Lays an artifact over `base`, in memory or, where it is large, in the store. `owned` gets what the result reads from. */
async function withArtifact(
  folder: Folder,
  base: Checkpoint,
  artifact: ByteSource,
  { compat, store, heldBytes: limitBytes = HELD_ARTIFACT_BYTES }: ArtifactPolicy,
  owned: AsyncDisposableStack,
  { importBudget, onArtifact, signal }: OpenModelOptions,
): Promise<{ readonly checkpoint: Checkpoint; readonly heldBytes: number }> {
  const { component, schema } = base.artifactTarget;
  const totalBytes = artifact.byteLength;
  const onRecord = (count: number, key: string, readBytes: number) =>
    onArtifact?.({ type: "record", count, key, readBytes, totalBytes });
  // A file is seldom larger than its weights; one that is has much else to be read at each start.
  if (totalBytes < limitBytes) {
    const { table } = base.components.get(component)!;
    const overlay = await overlayLzr2(artifact, { base: table, schema, compat, limitBytes, signal, onRecord });
    if (overlay) {
      const { applied, untouched, missing, skippedOverlayRows, heldBytes } = overlay;
      onArtifact?.({ type: "done", applied, untouched, missing: missing.length, skippedOverlayRows });
      return { checkpoint: base.withWeights(new Map([[component, { table: overlay.table }]])), heldBytes };
    }
  }
  const request = { folder, checkpoint: base, artifact, compat, packed: "auto" as const };
  const result = await importCheckpoint(store, request, {
    signal,
    budget: await importBudget(store),
    onEvent: (event) => event.type === "record" && onRecord(event.count, event.key, event.readBytes),
  });
  const { applied, untouched, missing, skippedOverlayRows } = result.artifact!;
  onArtifact?.({ type: "done", applied, untouched, missing, skippedOverlayRows });
  return { checkpoint: withStoredWeights(base, owned.use(await openStoredModel(store, result.id))), heldBytes: 0 };
}

async function fileAt(host: LibraryHost, path: string): Promise<string | undefined> {
  return (await host.kindOf(path)) === "file" ? path : undefined;
}
