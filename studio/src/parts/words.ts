/** @file The words of a field: its title and what it means, in the language where the catalogue has them. */
import type { SchemaField } from "../api/types.ts";
import { maybe, t } from "../messages/translate.ts";

/** Its words in the language, or its name as words: "guidanceRescale" is "Guidance rescale". */
export function titleOf(name: string): string {
  const words = name.replaceAll(/([a-z])([A-Z0-9])/g, "$1 $2").toLowerCase();
  return maybe(`field.${name}`) ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** In the language's own words where there are some, else the server's. */
export function hintOf({ name, description, absent }: Pick<SchemaField, "name" | "description" | "absent">): string {
  const own = maybe(`hint.${name}`);
  if (own !== undefined) return own;
  return absent === undefined ? description : `${description} (${t("draw.standing", { value: absent })})`;
}
