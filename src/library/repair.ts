/** @file Repairs an SDXL in the block store from the files that it was imported from, block by block. */
import { readLzr2 } from "../container/lzr2.ts";
import { readSafetensorsHeader } from "../container/safetensors.ts";
import type { TensorEntry } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { openFileSource } from "../source/file.ts";
import { openFileFolder } from "../source/file-folder.ts";
import { memorySource } from "../source/memory.ts";
import type { ByteSource } from "../source/source.ts";
import { tableReader } from "../store/build-table.ts";
import { Catalog } from "../store/catalog.ts";
import type { ImportOptions } from "../store/import.ts";
import type { PackedChoice } from "../store/import-types.ts";

import { type ManifestBlock, type ManifestComponent, readManifest } from "../store/manifest.ts";
import { type RepairReport, repairModel } from "../store/repair.ts";
import { modelsFolder, type Store } from "../store/store.ts";
import type { VerifyProgress } from "../store/verify.ts";
import { tensorBytes } from "../tensor/dtype.ts";
import { canonicalClipName, canonicalVaeName } from "./schema.ts";
import { openSdxlFolder } from "./sdxl-folder.ts";
import { importSdxl, TEXT_COMPONENT } from "./stored-sdxl.ts";

/**
 * Damaged blocks are made anew one by one. A pack that can't be opened at all is made anew by importing the model again, under
 * the same names. Throws ArtifactError if the sources are not there any more.
 */
export async function repairSdxl(
  store: Store,
  id: string,
  progress: VerifyProgress & Pick<ImportOptions, "onEvent"> = {},
): Promise<RepairReport> {
  const manifest = await readManifest(store.fs, modelsFolder(store), id);
  if (!manifest) {
    const problem = "there is no such model in the store";
    throw new ArtifactError({ code: "E_MISSING", subject: id, problem, next: "see solvay store list" });
  }
  await using opened = new SourceFiles();
  const components = new Map(manifest.components.map((component) => [component.name, component]));
  const report = await repairModel(
    store,
    id,
    async (component, block) => {
      const table = await blockTable(components.get(component)!, block, opened, progress.signal);
      return tableReader(block, table, progress.signal);
    },
    { ...progress, onWait: (owner) => progress.onEvent?.({ type: "wait", owner }) },
  );
  if (!report.left.some(({ kind }) => kind === "pack")) return report;
  await importAgain(store, components, progress);
  const rest = await repairModel(store, id, () => Promise.reject(new Error("repaired before")), progress);
  return { repaired: [...report.repaired, "whole packs"], left: rest.left };
}

async function importAgain(
  store: Store,
  components: ReadonlyMap<string, ManifestComponent>,
  { signal, onEvent }: VerifyProgress & Pick<ImportOptions, "onEvent">,
): Promise<void> {
  const index = components.get(TEXT_COMPONENT)?.sources.find(({ role }) => role === "model_index.json");
  const unet = components.get("unet");
  const artifactPath = unet?.sources.find(({ role }) => role === "artifact")?.path;
  const compat = unet?.sources.some(({ role, stamp }) => role === "options" && stamp === "compat") ?? false;
  const folder = await openFileFolder((index?.path ?? "").replace(/[\\/]model_index\.json$/, ""));
  await using checkpoint = await openSdxlFolder(folder, signal);
  await using artifact = artifactPath === undefined ? undefined : await openFileSource(artifactPath);
  const options = { signal, ...(onEvent ? { onEvent } : {}) };
  const packed = await codingOf(store, components);
  await importSdxl(store, { folder, checkpoint, artifact, compat, packed }, options);
}

/** As the packs that can be read are. */
async function codingOf(store: Store, components: ReadonlyMap<string, ManifestComponent>): Promise<PackedChoice> {
  await using catalog = await Catalog.open(store);
  const blocks = [...components.values()].flatMap(({ blocks }) => blocks);
  const codecs = new Set(blocks.map(({ pack, id }) => catalog.codecOf(pack, id)));
  return codecs.has("planes") ? "on" : codecs.has("plain") ? "off" : "auto";
}

/** The tensors of one block, from their sources. */
async function blockTable(
  { name, sources, artifact }: ManifestComponent,
  block: ManifestBlock,
  opened: SourceFiles,
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, TensorEntry>> {
  const table = new Map<string, TensorEntry>();
  const wanted = new Map(block.tensors.map((tensor) => [tensor.name, tensor]));
  const records = new Map(artifact?.records);
  const compat = sources.some(({ role, stamp }) => role === "options" && stamp === "compat");
  for (const { role, path } of sources) {
    if (path === "") continue;
    if (role === "artifact") {
      for (const tensor of block.tensors) {
        const startByte = records.get(tensor.name);
        if (startByte === undefined) continue;
        const entry = await decodeRecord(await opened.get(path), tensor, startByte, compat, signal);
        table.set(tensor.name, entry);
      }
    } else if (name === TEXT_COMPONENT) {
      const source = await opened.get(path);
      const { byteLength } = source;
      table.set(role, { name: role, dtype: "u8", shape: [byteLength], source, startByte: 0, endByte: byteLength });
    } else {
      for (const [stored, entry] of await opened.tableOf(path, signal)) {
        for (const key of [stored, canonicalClipName(stored), canonicalVaeName(stored)]) {
          if (wanted.has(key) && !records.has(key)) table.set(key, entry);
        }
      }
    }
  }
  for (const tensor of block.tensors) {
    const entry = table.get(tensor.name);
    if (entry && entry.endByte - entry.startByte === tensorBytes(tensor)) continue;
    const problem = `the sources don't hold ${JSON.stringify(tensor.name)} as it was imported`;
    throw new ArtifactError({ code: "E_SCHEMA", subject: block.label, problem, next: "put the imported files back" });
  }
  return table;
}

async function decodeRecord(
  source: ByteSource,
  tensor: { readonly name: string; readonly shape: readonly number[] },
  startByte: number,
  compat: boolean,
  signal?: AbortSignal,
): Promise<TensorEntry> {
  const from = { startByte, number: 1, keys: new Map<string, number>() };
  const expectedShape = (key: string) => (key === tensor.name ? tensor.shape : undefined);
  for await (const { key, weight, shape } of readLzr2(source, {
    from,
    compat,
    expectedShape,
    ...(signal ? { signal } : {}),
  })) {
    if (key !== tensor.name || !weight) break;
    const bytes = new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
    return {
      name: key,
      dtype: "f16",
      shape,
      source: memorySource(key, bytes),
      startByte: 0,
      endByte: bytes.byteLength,
    };
  }
  throw new ArtifactError({
    code: "E_SCHEMA",
    subject: source.name,
    problem: `no record for ${JSON.stringify(tensor.name)} at byte ${startByte}: this is another artifact`,
    next: "put the imported artifact back",
  });
}

/** Files that are opened once, and their headers. */
class SourceFiles implements AsyncDisposable {
  readonly #sources = new Map<string, ByteSource>();
  readonly #tables = new Map<string, ReadonlyMap<string, TensorEntry>>();

  async get(path: string): Promise<ByteSource> {
    const known = this.#sources.get(path) ?? (await openFileSource(path));
    this.#sources.set(path, known);
    return known;
  }

  async tableOf(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, TensorEntry>> {
    const known = this.#tables.get(path) ?? (await readSafetensorsHeader(await this.get(path), signal)).table;
    this.#tables.set(path, known);
    return known;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const source of this.#sources.values()) await source[Symbol.asyncDispose]();
  }
}
