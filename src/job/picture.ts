/** @file A picture in a job: one string that is a file, the bytes themselves, or the hash of an asset that a server holds. */
import { ArtifactError, UsageError } from "../errors.ts";
import { MAX_PICTURE_BYTES } from "../image/picture-header.ts";

export type PictureReference =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "data"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "asset"; readonly sha256: string };

/** Longest path that any system takes. */
const MAX_PATH_CHARS = 32_767;
const DATA_HEAD = /^data:image\/(?:png|jpeg|jpg|webp);base64,/i;
/** A data: URL of the largest picture. */
export const MAX_PICTURE_CHARS = Math.ceil(MAX_PICTURE_BYTES / 3) * 4 + 64;

/** The picture that `text` stands for. Throws UsageError `E_PICTURE` naming `subject`, a field or a flag. */
export function pictureReference(subject: string, text: string): PictureReference {
  if (/^data:/i.test(text)) return { kind: "data", bytes: dataOf(subject, text) };
  if (/^sha256:/i.test(text)) {
    const sha256 = text.slice("sha256:".length).toLowerCase();
    if (/^[0-9a-f]{64}$/.test(sha256)) return { kind: "asset", sha256 };
    throw refusal(subject, "after sha256: there must be 64 hexadecimal digits");
  }
  if (/^https?:/i.test(text)) throw refusal(subject, "a picture is not fetched from the network", "save it to a file");
  if (text.length > MAX_PATH_CHARS) {
    throw refusal(subject, `a path is too long (found ${text.length} characters, allowed ${MAX_PATH_CHARS})`);
  }
  if (text === "" || text.includes("\0")) throw refusal(subject, "no file is named");
  return { kind: "file", path: text };
}

function dataOf(subject: string, text: string): Uint8Array<ArrayBuffer> {
  const head = DATA_HEAD.exec(text.slice(0, 64));
  if (!head) throw refusal(subject, "a data: URL must be data:image/png, jpeg or webp, in base64");
  const start = head[0].length;
  const chars = text.length - start;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const lengthBytes = (chars / 4) * 3 - padding;
  if (chars % 4 !== 0 || chars === 0) throw refusal(subject, `its base64 is cut (${chars} characters)`);
  if (lengthBytes > MAX_PICTURE_BYTES) {
    throw new ArtifactError({
      code: "E_IMAGE_SIZE",
      subject,
      problem: `the picture is too large (found ${lengthBytes} bytes, allowed ${MAX_PICTURE_BYTES})`,
      next: "scale it down",
    });
  }
  const bytes = new Uint8Array(lengthBytes);
  const pieceChars = 2 ** 16;
  for (let at = 0; at < chars; at += pieceChars) {
    const piece = text.slice(start + at, start + Math.min(chars, at + pieceChars));
    const last = at + pieceChars >= chars;
    if (!(last ? /^[A-Za-z0-9+/]*={0,2}$/ : /^[A-Za-z0-9+/]*$/).test(piece)) {
      throw refusal(subject, `its base64 has other characters at character ${start + at} or behind`);
    }
    const binary = atob(piece);
    const into = (at / 4) * 3;
    for (let i = 0; i < binary.length; i++) bytes[into + i] = binary.charCodeAt(i);
  }
  return bytes;
}

function refusal(subject: string, problem: string, next?: string): UsageError {
  const advice = next ?? "give a file, a data: URL of a PNG, JPEG or WebP, or sha256: and an asset's hash";
  return new UsageError({ code: "E_PICTURE", subject, problem, next: advice });
}
