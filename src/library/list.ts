/** @file The models of the block store, as people and pages list them. */
import { FAMILIES } from "../models/families.ts";
import { companionComponent } from "../store/companion.ts";
import { listModels, type Store } from "../store/store.ts";

export interface ListedModel {
  readonly id: string;
  /** As it was named at import, with the artifact's path if there is one. */
  readonly name?: string | undefined;
  /** It is no model, but what one got later: the component. */
  readonly companion?: string | undefined;
  /** It is a refiner, which pictures name beside their model. */
  readonly refiner?: true | undefined;
  readonly blocks: number;
  readonly packs: number;
  readonly plainBytes: number;
  /** Why it can't be read. */
  readonly problem?: string | undefined;
}

/** Components that only refiners have. */
const REFINERS: ReadonlySet<string> = new Set(
  FAMILIES.flatMap(({ refinerComponents }) => refinerComponents.map(({ id }) => id)),
);

/** Damaged models with their problem. Rejects where the store's folder can't be read. */
export async function listStored(store: Store): Promise<ListedModel[]> {
  return (await listModels(store)).map(({ id, manifest, problem }) => {
    const blocks = manifest?.components.flatMap((component) => component.blocks) ?? [];
    const plainBytes = blocks.reduce((sum, block) => sum + block.plainBytes, 0);
    const packs = new Set(blocks.map(({ pack }) => pack)).size;
    const sources = manifest?.components.flatMap((component) => component.sources) ?? [];
    const artifact = sources.find(({ role }) => role === "artifact")?.path;
    const name = artifact === undefined ? manifest?.name : `${manifest?.name} + ${artifact}`;
    const companion = manifest && companionComponent(manifest)?.name;
    const refiner = manifest?.components.some(({ name }) => REFINERS.has(name)) ? true : undefined;
    return { id, name, companion, refiner, blocks: blocks.length, packs, plainBytes, problem };
  });
}
