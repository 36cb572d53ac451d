/** @file Writes texts as an XMP packet, each an element of our own namespace by its keyword: what EXIF has no place for, our JSON above all. */
import type { PngText } from "../png.ts";

/** Prefix of our elements; xmp.ts reads them back. */
export const XMP_PREFIX = "solvay";
const NAMESPACE = "https://solvay.invalid/ns/1.0/";
/** What can be an element's name. */
const NAME = /^[A-Za-z][A-Za-z0-9-]*$/;
/** Characters that no XML can hold, in whatever way they are written. */
const UNWRITABLE = /[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

export function canBeXmp({ keyword }: PngText): boolean {
  return NAME.test(keyword);
}

/** Undefined where none of `texts` can be in one. */
export function xmpPacket(texts: readonly PngText[]): Uint8Array<ArrayBuffer> | undefined {
  const elements = texts
    .filter(canBeXmp)
    .map(({ keyword, text }) => `<${XMP_PREFIX}:${keyword}>${escaped(text)}</${XMP_PREFIX}:${keyword}>`);
  if (elements.length === 0) return undefined;
  const xml =
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>' +
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' +
    `<rdf:Description rdf:about="" xmlns:${XMP_PREFIX}="${NAMESPACE}">${elements.join("")}</rdf:Description>` +
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>';
  return new TextEncoder().encode(xml);
}

/** Spaces at the ends and line breaks survive readers as character references. */
function escaped(text: string): string {
  const plain = text.replace(UNWRITABLE, "\ufffd").replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return plain.replaceAll(">", "&gt;").replace(/[\t\n\r]|^ | $/g, (character) => `&#${character.charCodeAt(0)};`);
}
