/**
 * @file A model in the store: which blocks make up its components, and the sources they were made from. One line of JSON and
 * its sha256 (docs/formats/block-store.md). The model's id is a sha256 of its content alone: names, shapes and blocks.
 */
import { sha256Hex } from "#hash";
import { DTYPE_BYTES, type DType, tensorBytes } from "../tensor/dtype.ts";
import type { PlacedTensor } from "../tensor/placement.ts";
import { Field, HEX64 } from "./fields.ts";
import { damaged, publishSmallFile, readSmallFile, type StoreFs } from "./fs.ts";
import { BLOCK_ALIGNMENT_BYTES, type BlockLayout } from "./pack/block-layout.ts";

/** A file that a component was made from. Files of the same role and stamp count as the same bytes. */
export interface SourceStamp {
  readonly role: string;
  /** Empty where there is no file. */
  readonly path: string;
  readonly stamp: string;
}

/** Where a block's bytes are. */
export interface BlockAddress {
  /** Of the content: blockId() of the plain bytes. */
  readonly id: string;
  /** Name of the pack that holds it. */
  readonly pack: string;
}

export interface ManifestBlock extends BlockLayout, BlockAddress {}

export interface ManifestComponent {
  readonly name: string;
  readonly sources: readonly SourceStamp[];
  /** In execution order. */
  readonly blocks: readonly ManifestBlock[];
  /** What an artifact brought; absent without one. */
  readonly artifact?: ArtifactFacts;
}

export interface ArtifactFacts {
  readonly applied: number;
  readonly untouched: number;
  /** Parameters that it doesn't name. */
  readonly missing: number;
  readonly skippedOverlayRows: number;
  /** Where each record with a payload begins: block-wise repair reads no more than it needs. */
  readonly records: readonly (readonly [key: string, startByte: number])[];
}

export interface Manifest {
  readonly id: string;
  /** As the user named it. */
  readonly name: string;
  readonly components: readonly ManifestComponent[];
}

const FORMAT = "solvay model 1";
const MAX_MANIFEST_BYTES = 64 * 1024 ** 2;
const MAX_BYTES = 2 ** 45;
const DTYPES = Object.keys(DTYPE_BYTES) as readonly DType[];

export function manifestName(id: string): string {
  return `${id}.model`;
}

/** The id of a model with this content. */
export function modelId(components: readonly ManifestComponent[]): string {
  const content = components.map(({ name, blocks }) => [
    name,
    blocks.map(({ graph, label, id, tensors }) => [
      graph,
      label,
      id,
      tensors.map(({ name, dtype, shape, offsetBytes }) => [name, dtype, shape, offsetBytes]),
    ]),
  ]);
  return sha256Hex(JSON.stringify([FORMAT, content]));
}

function encodeManifest({ id, name, components }: Manifest): Uint8Array {
  const line = JSON.stringify({ format: FORMAT, id, name, components });
  return new TextEncoder().encode(`${line}\n${sha256Hex(line)}\n`);
}

export async function publishManifest(fs: StoreFs, folder: string, manifest: Manifest): Promise<void> {
  await publishSmallFile(fs, folder, manifestName(manifest.id), encodeManifest(manifest));
}

/** Undefined if there is none. Throws ArtifactError `E_STORE_DAMAGED`. */
export async function readManifest(fs: StoreFs, folder: string, id: string): Promise<Manifest | undefined> {
  const bytes = await readSmallFile(fs, `${folder}/${manifestName(id)}`, MAX_MANIFEST_BYTES);
  return bytes && decodeManifest(bytes, id);
}

function decodeManifest(bytes: Uint8Array, id: string): Manifest {
  const subject = `model ${id.slice(0, 12)}`;
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const end = text.length - 66;
  const line = text.slice(0, Math.max(0, end));
  if (text.slice(Math.max(0, end)) !== `\n${sha256Hex(line)}\n`) {
    throw damaged(subject, "its index is damaged", "import the model again: solvay import MODEL");
  }
  const root = Field.parse(subject, line);
  root.get("format").oneOf(FORMAT);
  const components = root.get("components").list(100).map(decodeComponent);
  const manifest = { id: root.get("id").text(HEX64), name: root.get("name").text(), components };
  if (manifest.id !== id || modelId(components) !== id) throw damaged(subject, "its index belongs to another model");
  return manifest;
}

function decodeComponent(field: Field): ManifestComponent {
  const artifact = field.get("artifact");
  return {
    name: field.get("name").text(/^.{1,100}$/),
    sources: field.get("sources").list(10_000).map(decodeSource),
    blocks: field.get("blocks").list().map(decodeManifestBlock),
    artifact: artifact.exists ? decodeFacts(artifact) : undefined,
  };
}

function decodeSource(field: Field): SourceStamp {
  return { role: field.get("role").text(), path: field.get("path").text(), stamp: field.get("stamp").text() };
}

export function decodeFacts(field: Field): ArtifactFacts {
  const count = (name: string) => field.get(name).whole(0, Number.MAX_SAFE_INTEGER);
  return {
    applied: count("applied"),
    untouched: count("untouched"),
    missing: count("missing"),
    skippedOverlayRows: count("skippedOverlayRows"),
    records: field
      .get("records")
      .list()
      .map((record) => {
        const [key, startByte] = record.list(2);
        return [key!.text(), startByte!.whole(0, Number.MAX_SAFE_INTEGER)] as const;
      }),
  };
}

function decodeManifestBlock(field: Field): ManifestBlock {
  const plainBytes = field.get("plainBytes").whole(BLOCK_ALIGNMENT_BYTES, MAX_BYTES);
  const tensors = field
    .get("tensors")
    .list()
    .map((tensor): PlacedTensor => {
      const stored = {
        name: tensor.get("name").text(),
        dtype: tensor.get("dtype").oneOf(...DTYPES),
        shape: tensor
          .get("shape")
          .list(8)
          .map((dim) => dim.whole(1, 2 ** 31)),
        offsetBytes: tensor.get("offsetBytes").whole(0, plainBytes),
      };
      if (stored.offsetBytes + tensorBytes(stored) > plainBytes) {
        throw damaged(stored.name, `the tensor leaves its block of ${plainBytes} bytes`);
      }
      return stored;
    });
  return {
    graph: field.get("graph").text(),
    label: field.get("label").text(),
    tensors,
    plainBytes,
    id: field.get("id").text(HEX64),
    pack: field.get("pack").text(HEX64),
  };
}
