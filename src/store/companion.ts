/**
 * @file Companions: entries beside the models, each with one component that a model got later, from the files that one of its own
 * components was made of (docs/formats/block-store.md). A companion names those files by a second component, so that each model finds its own, also where several
 * models' files have the same content: blocks are stored once all the same.
 */
import { sha256Hex } from "#hash";
import { memorySource } from "../source/memory.ts";
import type { Manifest, ManifestComponent, SourceStamp } from "./manifest.ts";

/** The component that tells a companion from a model. */
export const ORIGIN = "origin";

/** `sources`: of the model's own component. */
export function originComponent(sources: readonly SourceStamp[]) {
  const bytes = new TextEncoder().encode(originText(sources));
  const spec = { name: ORIGIN, dtype: "u8", shape: [bytes.byteLength] } as const;
  const entry = { ...spec, source: memorySource(ORIGIN, bytes), startByte: 0, endByte: bytes.byteLength };
  return {
    name: ORIGIN,
    blocks: [{ graph: ORIGIN, label: ORIGIN, tensors: [spec] }],
    table: new Map([[ORIGIN, entry]]),
    // The first one tells whose it is; by the others repair makes the text again.
    sources: [{ role: ORIGIN, path: "", stamp: stampOf(sources) }, ...sources],
  };
}

/** The component that a companion is about; undefined for a model. */
export function companionComponent({ components }: Manifest): ManifestComponent | undefined {
  const [component, origin, ...others] = components;
  return origin?.name === ORIGIN && others.length === 0 ? component : undefined;
}

/** Whether the companion's component belongs to files that are these. */
export function isCompanionOf({ components }: Manifest, sources: readonly SourceStamp[]): boolean {
  const known = sources.every(({ stamp }) => stamp !== "");
  return known && components[1]?.sources[0]?.stamp === stampOf(sources);
}

/** Of these, the companions that no model among them could ask for. */
export function strayCompanions(manifests: readonly Manifest[]): readonly Manifest[] {
  const models = manifests.filter((manifest) => !companionComponent(manifest));
  const owners = models.flatMap(({ components }) => components.map(({ sources }) => sources));
  return manifests.filter(
    (manifest) => companionComponent(manifest) && !owners.some((sources) => isCompanionOf(manifest, sources)),
  );
}

/** The text of an origin component that is in the store, for repair. */
export function storedOriginText({ sources }: ManifestComponent): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(originText(sources.slice(1)));
}

function originText(sources: readonly SourceStamp[]): string {
  return JSON.stringify(sources.map(({ role, stamp }) => [role, stamp]));
}

function stampOf(sources: readonly SourceStamp[]): string {
  return `sha256:${sha256Hex(originText(sources))}`;
}
