/**
 * @file The adapters of a job by component and layer: what they add there, and the tensors for it under names of their own. All low-rank changes of
 * a layer become one, joined along the rank. Pure but for the tensors' bytes, which are read when they are needed.
 */
import { sha256Hex } from "#hash";
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { type AdaptedLayer, adaptedLayer, type OwnedChange } from "./adapted-layer.ts";
import type { Adapter, LayerChange } from "./layer-change.ts";
import { WORKSPACE_BYTES } from "./made/product-kernel.ts";

/** Of one component: its layers by module name, and the tensors by weight name. */
export class ComponentAdapters {
  /** Before the names of its blocks of weights; no component has such a prefix. */
  readonly prefix: string;
  readonly layers: ReadonlyMap<string, AdaptedLayer>;
  readonly table: TensorTable;

  /** `base`: the component's own weights, which some changes are made from. */
  constructor(prefix: string, changes: readonly ReadonlyMap<string, readonly LayerChange[]>[], base: TensorTable) {
    const tensors = new Map<string, TensorEntry>();
    const names = new Set(changes.flatMap((layers) => [...layers.keys()]));
    this.prefix = prefix;
    this.table = tensors;
    this.layers = new Map(
      [...names].map((name) => {
        const own = changes.flatMap((layers, adapter) =>
          (layers.get(name) ?? []).map((change): OwnedChange => ({ adapter, change })),
        );
        return [name, adaptedLayer(`${prefix}${WEIGHT_MARK}${name}`, own, base.get(`${name}.weight`), tensors)];
      }),
    );
  }
}

/** What no weight of a model has in its name. */
const WEIGHT_MARK = ":";

/** The prefix of the blocks that hold such a weight; undefined for a model's own. */
export function adapterPrefixOf(weightName: string): string | undefined {
  const at = weightName.indexOf(WEIGHT_MARK);
  return at < 0 ? undefined : weightName.slice(0, at);
}

/** Of what an adapter has for a layer: the layer, and which of its tensors ("lora.down"); undefined for a model's own weight. */
export function adapterTensor(weightName: string): { readonly layer: string; readonly role: string } | undefined {
  const at = weightName.indexOf(WEIGHT_MARK);
  const [, layer, role] =
    (at < 0
      ? undefined
      : /^(.*?)\.((?:lora|input|dora\d+|diff\d+|bias\d+|scale\d+|turn\d+)(?:\..*)?)$/.exec(weightName.slice(at + 1))) ??
    [];
  return layer === undefined || role === undefined ? undefined : { layer, role };
}

/** Reads of tensors that are under way at a time: of two blocks, four each. */
const READS_AT_ONCE = 8;

/** The adapters of a job, in its order. */
export class AdapterSet {
  readonly components: ReadonlyMap<string, ComponentAdapters>;
  /** Host memory that reading their tensors takes. */
  readonly hostBytes: number;
  readonly #id: string;

  /** `baseOf`: a component's own weights. */
  constructor(adapters: readonly Adapter[], baseOf: (component: string) => TensorTable | undefined) {
    this.#id = sha256Hex(JSON.stringify(adapters.map(({ id }) => id))).slice(0, 12);
    const ids = new Set(
      adapters.flatMap(({ layers }) => [...layers].flatMap(([id, own]) => (own.size > 0 ? [id] : []))),
    );
    const none: ReadonlyMap<string, readonly LayerChange[]> = new Map();
    this.components = new Map(
      [...ids].map((id) => {
        const changes = adapters.map(({ layers }) => layers.get(id) ?? none);
        return [id, new ComponentAdapters(`lora-${this.#id}-${id}`, changes, baseOf(id) ?? new Map())];
      }),
    );
    let [mostBytes, keptBytes] = [0, 0];
    for (const { table } of this.components.values()) {
      for (const { source } of table.values()) {
        mostBytes = Math.max(mostBytes, source.readingBytes ?? 0);
        if ("keptBytes" in source && typeof source.keptBytes === "number") keptBytes += source.keptBytes;
      }
    }
    this.hostBytes = READS_AT_ONCE * mostBytes + keptBytes + (mostBytes > 0 ? WORKSPACE_BYTES : 0);
  }

  /** The same for the same adapters in the same order: what shapes of jobs are told apart by. */
  toJSON(): string {
    return this.#id;
  }
}
