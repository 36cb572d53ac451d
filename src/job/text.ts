/** @file Values of fields from text: flags, the loop's lines. Refusals name them as the user wrote them. */
import { UsageError } from "../errors.ts";
import { type Budget, describeBudget, parseBudget } from "../ledger/budget.ts";
import { allowed, type FieldValue, hasRange, type Kind, nearestOf } from "./field-type.ts";
import { itemsOfText, textOfItems } from "./list-text.ts";
import { type LoraUse, lorasFromText, lorasText } from "./lora-use.ts";
import { pairOf } from "./pair.ts";
import { type ReadUsePart, usesFromText, usesText } from "./parted-use.ts";
import { pictureReference } from "./picture.ts";
import { RANDOM_SEED, seedFromDigits } from "./seed.ts";
import { useTable } from "./use-tables.ts";

/** The value that `text` stands for; undefined for one that is left to chance. Throws UsageError naming `name`, such as "--steps" or ":steps". */
export function valueFromText(kind: Kind, name: string, text: string): FieldValue | undefined {
  switch (kind.type) {
    case "text":
      return text.length <= kind.maxChars ? text : refuse(kind, name, `${text.length} characters`);
    case "whole": {
      const value = Number(text);
      const { min, max, multiple = 1 } = kind;
      const fits =
        /^\d+$/.test(text) && Number.isSafeInteger(value) && value >= min && value <= max && value % multiple === 0;
      return fits ? value : refuse(kind, name, JSON.stringify(text));
    }
    case "decimal": {
      const value = Number(text);
      const fits = /^\d*\.?\d+$|^\d+\.$/.test(text) && value >= kind.min && value <= kind.max;
      return fits ? value : refuse(kind, name, JSON.stringify(text));
    }
    case "choice":
      return kind.values.includes(text) ? text : refuse(kind, name, JSON.stringify(text));
    case "named": {
      const meaning = kind.table.meaning(text);
      return meaning ?? refuse(kind, name, `${JSON.stringify(text)}${nearestOf(kind, text)}`);
    }
    case "switch":
      return text === "true" || text === "false" ? text === "true" : refuse(kind, name, JSON.stringify(text));
    case "seed":
      if (text === String(RANDOM_SEED)) return undefined;
      return seedFromDigits(text) ?? refuse(kind, name, JSON.stringify(text));
    case "pair": {
      const { separator, min, max } = kind;
      const fits = pairOf(text, separator)?.every((number) => number >= min && number <= max);
      return fits ? text : refuse(kind, name, JSON.stringify(text));
    }
    case "picture":
      pictureReference(name, text);
      return text;
    case "loras":
      return lorasFromText(text) ?? refuse(kind, name, JSON.stringify(text));
    case "controls":
    case "ipAdapters":
      return usesFromText(useTable(kind)!, text, usePartReader(name)) ?? refuse(kind, name, JSON.stringify(text));
    case "pictures": {
      const items = itemsOfText(text);
      if (!items || items.length > kind.maxCount) return refuse(kind, name, JSON.stringify(text.slice(0, 80)));
      for (const item of items) pictureReference(name, item);
      return items;
    }
    case "files": {
      const items = itemsOfText(text);
      return items && items.length <= kind.maxCount && !items.includes("")
        ? items
        : refuse(kind, name, JSON.stringify(text));
    }
    case "amount":
      return parseBudget(name, text);
  }
}

/** A value as people read it. */
export function textOfValue(kind: Kind, value: unknown): string {
  if (kind.type === "amount") return describeBudget(value as Budget);
  const table = useTable(kind);
  if (table) return usesText(table, value as Parameters<typeof usesText>[1]);
  if (kind.type === "files" || kind.type === "pictures") return textOfItems(value as readonly string[]);
  return kind.type === "loras" ? lorasText(value as readonly LoraUse[]) : String(value);
}

/** Reads what one of a list is told; it throws UsageError naming `name`. */
export function usePartReader(name: string): ReadUsePart {
  return (kind, text) => valueFromText(kind, name, text);
}

/** A whole number in [min, max]. Throws UsageError. */
export function wholeFromText(name: string, text: string, min: number, max: number): number {
  return valueFromText({ type: "whole", min, max }, name, text) as number;
}

function refuse(kind: Kind, name: string, found: string): never {
  const problem = `${name} must be ${allowed(kind)} (found ${found})`;
  const names = kind.type === "choice" || kind.type === "named";
  const next = names
    ? `give ${name} one of these names`
    : `give ${name} ${hasRange(kind) ? "a value in that range" : "such a value"}`;
  throw new UsageError({ code: "E_USAGE", problem, next });
}
