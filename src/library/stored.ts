/** @file An SDXL (and an artifact over its UNet) in the block store: how it gets there, and how it is opened from there. */
import type { TensorEntry, TensorTable } from "../container/table.ts";
import type { Folder } from "../source/folder.ts";
import { memorySource } from "../source/memory.ts";
import type { ByteSource } from "../source/source.ts";
import { sha256Hex } from "../store/digest.ts";
import { damaged } from "../store/fs.ts";
import { type ImportOptions, importModel } from "../store/import.ts";
import type { ImportComponent, ImportRequest, ImportResult, PackedChoice } from "../store/import-types.ts";
import type { SourceStamp } from "../store/manifest.ts";
import type { Store } from "../store/store.ts";
import { openStoredModel, type StoredComponent, type StoredModel } from "../store/stored-model.ts";
import { SDXL_COMPONENTS, type SdxlComponentName, sdxlBlocks } from "./sdxl-blocks.ts";
import { openSdxlFolder, SDXL_TEXT_FILES, type SdxlCheckpoint, TOKENIZER_FILES_BYTES } from "./sdxl-folder.ts";

/** The component that holds configs and tokenizers: with it the store needs no other folder. */
export const TEXT_COMPONENT = "files";

const FOLDERS: Readonly<Record<SdxlComponentName, string>> = {
  textEncoder: "text_encoder",
  textEncoder2: "text_encoder_2",
  unet: "unet",
  vae: "vae",
};

export interface SdxlImport {
  readonly folder: Folder;
  /** `folder`, opened. */
  readonly checkpoint: SdxlCheckpoint;
  readonly artifact?: ByteSource | undefined;
  readonly compat: boolean;
  readonly packed: PackedChoice;
}

export async function importSdxl(store: Store, model: SdxlImport, options: ImportOptions = {}): Promise<ImportResult> {
  return await importModel(store, await sdxlImportRequest(model), options);
}

export async function sdxlImportRequest(model: SdxlImport): Promise<ImportRequest> {
  const { folder, checkpoint, artifact, compat, packed } = model;
  const weights = SDXL_COMPONENTS.map((component): ImportComponent => {
    const { table } = checkpoint[component];
    const over = component === "unet" && artifact ? { source: artifact, compat } : undefined;
    const sources = tableSources(table);
    if (over) {
      sources.push(stampOf("artifact", over.source), {
        role: "options",
        path: "",
        stamp: compat ? "compat" : "strict",
      });
    }
    return {
      name: component,
      blocks: sdxlBlocks(checkpoint, component),
      table,
      sources,
      ...(over ? { artifact: over } : {}),
    };
  });
  return { name: folder.name, components: [await textComponent(folder), ...weights], packed };
}

/** Each file once, by name. */
function tableSources(table: TensorTable): SourceStamp[] {
  const stamps = [...new Set([...table.values()].map(({ source }) => source))].map((source) =>
    stampOf(source.name, source),
  );
  return stamps.sort((a, b) => (a.role < b.role ? -1 : 1));
}

function stampOf(role: string, { file }: ByteSource): SourceStamp {
  return { role, path: file?.path ?? "", stamp: file?.stamp ?? "" };
}

async function textComponent(folder: Folder): Promise<ImportComponent> {
  const table = new Map<string, TensorEntry>();
  const sources: SourceStamp[] = [];
  for (const path of SDXL_TEXT_FILES) {
    const text = await folder.readText(path, TOKENIZER_FILES_BYTES);
    if (text === undefined || text === "") continue;
    const bytes = new TextEncoder().encode(text);
    const shape = [bytes.byteLength];
    const place = { source: memorySource(path, bytes), startByte: 0, endByte: bytes.byteLength };
    table.set(path, { name: path, dtype: "u8", shape, ...place });
    sources.push({ role: path, path: `${folder.name}/${path}`, stamp: `sha256:${sha256Hex(bytes)}` });
  }
  const tensors = [...table.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  return { name: TEXT_COMPONENT, blocks: [{ graph: "files", label: "files", tensors }], table, sources };
}

/** The checkpoint with its weights read from the store. The caller disposes of `stored` after it. */
export function withStoredWeights(checkpoint: SdxlCheckpoint, stored: StoredModel): SdxlCheckpoint {
  const swap = <Config>(component: SdxlComponentName, config: Config) => {
    const { table, blocks } = storedComponent(stored, component);
    return { config, table, blocks };
  };
  return {
    ...checkpoint,
    textEncoder: swap("textEncoder", checkpoint.textEncoder.config),
    textEncoder2: swap("textEncoder2", checkpoint.textEncoder2.config),
    unet: swap("unet", checkpoint.unet.config),
    vae: swap("vae", checkpoint.vae.config),
  };
}

/** A whole SDXL from the store alone: neither the folder nor the artifact that it came from is needed. */
export async function openStoredSdxl(
  store: Store,
  id: string,
  signal?: AbortSignal,
): Promise<{ readonly checkpoint: SdxlCheckpoint; readonly stored: StoredModel }> {
  await using owned = new AsyncDisposableStack();
  const stored = owned.use(await openStoredModel(store, id));
  const byFolder = new Map(SDXL_COMPONENTS.map((component) => [FOLDERS[component], component]));
  const tables = (folder: string) => storedTable(stored, byFolder.get(folder)!);
  const checkpoint = await openSdxlFolder(storedFolder(stored), signal, tables);
  const stack = owned.move();
  const over = stored.components.get("unet")?.sources.find(({ role }) => role === "artifact");
  const artifact = over ? { artifactName: over.path.split(/[\\/]/).at(-1)! } : {};
  return {
    stored,
    checkpoint: {
      ...withStoredWeights(checkpoint, stored),
      ...artifact,
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    },
  };
}

function storedTable(stored: StoredModel, component: string): TensorTable {
  return storedComponent(stored, component).table;
}

function storedComponent(stored: StoredModel, component: string): StoredComponent {
  const found = stored.components.get(component);
  if (!found) throw damaged(`model ${stored.id.slice(0, 12)}`, `it has no ${component}`);
  return found;
}

/** Configs and tokenizers as a folder. */
function storedFolder(stored: StoredModel): Folder {
  const table = storedTable(stored, TEXT_COMPONENT);
  return {
    name: stored.name,
    async readText(path) {
      const entry = table.get(path);
      if (!entry) return undefined;
      const bytes = new Uint8Array(entry.endByte - entry.startByte);
      await entry.source.read(entry.startByte, bytes);
      return new TextDecoder().decode(bytes);
    },
    open: async () => undefined,
  };
}
