/** @file A picture as A1111's clients send it. */
import { wrong } from "./refusals.ts";

const SIGNATURES = [
  ["iVBORw0KGgo", "png"],
  ["/9j/", "jpeg"],
  ["UklGR", "webp"],
] as const;

/** A1111 takes bare base64 as well. */
export function dataUrl(subject: string, text: unknown): string {
  if (typeof text !== "string") throw wrong(subject, "base64 or a data: URL is wanted");
  if (/^(data|https?|sha256):/i.test(text)) return text;
  const [, kind] = SIGNATURES.find(([start]) => text.startsWith(start)) ?? [];
  if (kind === undefined) throw wrong(subject, "base64 of a PNG, JPEG or WebP is wanted");
  return `data:image/${kind};base64,${text.replace(/\s+/g, "")}`;
}
