/** @file Lists as text: items with commas between them; one that has commas or quotes itself stands in double quotes, quotes in it twice. Pure. */

/** Undefined where the text is no such list. */
export function itemsOfText(text: string): readonly string[] | undefined {
  const items: string[] = [];
  let rest = text.trim();
  while (rest !== "") {
    const [all, quoted, plain = ""] = /^(?:"((?:[^"]|"")*)"|([^,"][^,]*))\s*(?:,\s*|$)/.exec(rest) ?? [];
    if (all === undefined) return undefined;
    items.push(quoted === undefined ? plain.trim() : quoted.replaceAll('""', '"'));
    rest = rest.slice(all.length);
  }
  return items;
}

/** What `itemsOfText` reads. */
export function textOfItems(items: readonly string[]): string {
  return items.map((text) => (/[,"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)).join(", ");
}
