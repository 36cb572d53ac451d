/** @file Which kinds of fields are lists of files with settings of their own (parted-use.ts), and their tables. */
import { CONTROL_USES, type ControlUse } from "./control-use.ts";
import { IP_ADAPTER_USES, type IpAdapterUse } from "./ip-adapter-use.ts";
import type { UseTable } from "./parted-use.ts";

const TABLES = { controls: CONTROL_USES, ipAdapters: IP_ADAPTER_USES } as const satisfies Record<string, UseTable>;

/** What the items of such a field are. */
export interface UsesByKind {
  readonly controls: ControlUse;
  readonly ipAdapters: IpAdapterUse;
}

export type UsesType = keyof typeof TABLES;

/** Undefined of other kinds. */
export function useTable({ type }: { readonly type: string }): UseTable | undefined {
  return Object.hasOwn(TABLES, type) ? TABLES[type as UsesType] : undefined;
}
