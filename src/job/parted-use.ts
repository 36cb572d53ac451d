/** @file Lists of files, each with settings of its own (ControlNets, IP-Adapters): as JSON, and as text, by a table of their parts. Pure. */
import { itemsOfText, textOfItems } from "./list-text.ts";

/** A setting of one of them, which has a flag of its own. */
export interface UsePart {
  /** Also a kind of a field. */
  readonly kind:
    | { readonly type: "picture" }
    | { readonly type: "pictures"; readonly maxCount: number }
    | { readonly type: "text"; readonly maxChars: number }
    | { readonly type: "decimal"; readonly min: number; readonly max: number }
    | { readonly type: "switch" }
    | { readonly type: "choice"; readonly values: readonly string[] };
  /** In texts, `:word=value`; of several pictures one for each. Default: its name. */
  readonly word?: string;
  /** "--control-image <file>". */
  readonly usage: string;
  readonly description: string;
}

export interface UseTable {
  /** By name, in the order in which texts have them. */
  readonly parts: Readonly<Record<string, UsePart>>;
  /** Of the list. */
  readonly max: number;
  /** Of one of them, what the limits of its parts leave open. */
  readonly fits: (use: Readonly<Record<string, unknown>>) => boolean;
  /** One as text, for messages. */
  readonly example: string;
}

/** Longest path that any system takes. */
export const MAX_USE_CHARS = 32767;

/** Reads the text of a part; undefined where it is none. May throw. */
export type ReadUsePart = (kind: UsePart["kind"], text: string) => unknown;

type Parts = Readonly<Record<string, unknown>>;
type Use = { readonly file: string } & Parts;

/** `FILE:image=pose.png:weight=0.8`; undefined where a part is said twice or can't be. */
function useFromText(table: UseTable, text: string, read: ReadUsePart): Use | undefined {
  const names = new Map(Object.entries(table.parts).map(([name, { word = name }]) => [word, name]));
  /** `:weight=0.8` at the end of a text. */
  const last = new RegExp(`^(.+):(${[...names.keys()].join("|")})=(.*)$`, "s");
  const parts: Record<string, unknown> = {};
  let file = text.trim();
  for (let match = last.exec(file); match; match = last.exec(file)) {
    const [, rest, word, value] = match;
    const name = names.get(word!)!;
    const before = parts[name];
    if (table.parts[name]!.kind.type === "pictures") parts[name] = [value, ...((before as string[] | undefined) ?? [])];
    else if (before !== undefined) return undefined;
    else parts[name] = value;
    file = rest!;
  }
  return checkedUse(table, { file, ...parts }, read);
}

/** Several, as list-text.ts has them. */
export function usesFromText(table: UseTable, text: string, read: ReadUsePart): readonly Use[] | undefined {
  return checkedUses(
    table,
    itemsOfText(text)?.map((item) => useFromText(table, item, read)),
  );
}

/** What `usesFromText` reads. */
export function usesText(table: UseTable, uses: readonly Use[]): string {
  const items = uses.map(({ file, ...parts }) => {
    const told = Object.entries(parts).flatMap(([name, value]) =>
      [value].flat().map((each) => `${table.parts[name]?.word ?? name}=${String(each)}`),
    );
    return [file, ...told].join(":");
  });
  return textOfItems(items);
}

/** From JSON; undefined where it is none. */
export function usesFromJson(table: UseTable, value: unknown, read: ReadUsePart): readonly Use[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return checkedUses(
    table,
    value.map((each) => checkedUse(table, each, read)),
  );
}

/** Whether shares of the steps are in their order. */
export function hasSteps({ start = 0, end = 1 }: { readonly start?: unknown; readonly end?: unknown }): boolean {
  return Number(start) <= Number(end);
}

function checkedUses({ max }: UseTable, uses: readonly (Use | undefined)[] | undefined): readonly Use[] | undefined {
  const read = uses?.filter((use) => use !== undefined);
  return read && read.length === uses!.length && read.length <= max ? read : undefined;
}

function checkedUse(table: UseTable, value: unknown, read: ReadUsePart): Use | undefined {
  if (value === null || typeof value !== "object") return undefined;
  const { file, ...parts } = value as Parts;
  if (typeof file !== "string" || file === "" || file.length > MAX_USE_CHARS) return undefined;
  const use: { file: string; [part: string]: unknown } = { file };
  for (const [name, given] of Object.entries(parts)) {
    const part = Object.hasOwn(table.parts, name) ? table.parts[name] : undefined;
    const found = part && checkedPart(part, given, read);
    if (found === undefined) return undefined;
    use[name] = found;
  }
  return table.fits(use) ? use : undefined;
}

function checkedPart({ kind }: UsePart, given: unknown, read: ReadUsePart): unknown {
  if (kind.type !== "pictures") {
    return ["string", "number", "boolean"].includes(typeof given) ? read(kind, String(given)) : undefined;
  }
  if (!Array.isArray(given) || given.length > kind.maxCount) return undefined;
  const items = given.map((each: unknown) => (typeof each === "string" ? read({ type: "picture" }, each) : undefined));
  return items.includes(undefined) ? undefined : items;
}
