/**
 * @file The texts in an XMP packet that tools write prompts to: a user's comment, a description, and our own elements. No XML parser: those elements
 * are looked for.
 */
import type { TextList } from "./bounds.ts";
import { XMP_PREFIX } from "./xmp-packet.ts";

const ELEMENTS = [
  ["exif:UserComment", "UserComment"],
  ["dc:description", "description"],
] as const;
/** Ours, of any keyword. */
const OWN = new RegExp(`<${XMP_PREFIX}:([A-Za-z][A-Za-z0-9-]*)>([^<]*)</`, "g");
const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** Adds what stands in the elements, or in attributes of these names. */
export function readXmp(bytes: Uint8Array, list: TextList): void {
  const xml = new TextDecoder().decode(bytes);
  for (const [element, keyword] of ELEMENTS) {
    const text = plain(between(xml, `<${element}`, `</${element}>`) ?? attribute(xml, element) ?? "");
    if (text !== "" && list.hasRoom(`the XMP element ${element}`, text.length))
      list.add({ keyword, text }, text.length);
  }
  for (const [, keyword = "", inner = ""] of xml.matchAll(OWN)) {
    const text = plain(inner);
    if (!list.hasRoom(`the XMP element ${XMP_PREFIX}:${keyword}`, text.length)) break;
    list.add({ keyword, text }, text.length);
  }
}

/** What is in an element, without the list that RDF puts around it. */
function between(xml: string, start: string, end: string): string | undefined {
  const at = xml.indexOf(start);
  const to = at < 0 ? -1 : xml.indexOf(end, at);
  if (to < 0) return undefined;
  const inner = xml.slice(xml.indexOf(">", at) + 1, to);
  const item = inner.indexOf("<rdf:li");
  if (item < 0) return inner;
  const close = inner.indexOf("</rdf:li>", item);
  return close < 0 ? undefined : inner.slice(inner.indexOf(">", item) + 1, close);
}

function attribute(xml: string, name: string): string | undefined {
  const at = xml.indexOf(`${name}="`);
  const end = at < 0 ? -1 : xml.indexOf('"', at + name.length + 2);
  return end < 0 ? undefined : xml.slice(at + name.length + 2, end);
}

function plain(text: string): string {
  return text.trim().replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w+));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
