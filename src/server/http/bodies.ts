/** @file Bodies of requests: counted while they come, and JSON that is neither too deep nor anything but an object. */
import type { Context } from "hono";
import { isJsonObject, type JsonObject } from "../../source/json-fields.ts";
import { Refusal } from "./failures.ts";

export const MAX_JSON_BYTES = 2 ** 20;
/** With pictures in it, as base64. */
export const MAX_PICTURE_BODY_BYTES = 32 * 2 ** 20;
const MAX_DEPTH = 32;

/** The body's bytes. Throws Refusal 413 as soon as there are too many. */
export async function bytesOf({ req }: Context, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = (found: string) => {
    const problem = `the body is too large (found ${found} bytes, allowed ${maxBytes})`;
    return new Refusal(413, { code: "E_BODY_SIZE", problem, next: "send less" });
  };
  const told = req.header("content-length");
  if (told !== undefined && Number(told) > maxBytes) throw tooLarge(told);
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of req.raw.body ?? []) {
    length += piece.byteLength;
    if (length > maxBytes) throw tooLarge(`more than ${maxBytes}`);
    pieces.push(piece);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}

/** The body as a JSON object; empty where there is none. Throws Refusal. */
export async function jsonOf(context: Context, maxBytes: number): Promise<JsonObject> {
  const bytes = await bytesOf(context, maxBytes);
  if (bytes.length === 0) return {};
  const type = context.req.header("content-type") ?? "none";
  if (!/^application\/json *(;|$)/i.test(type)) {
    throw new Refusal(415, {
      code: "E_BODY",
      subject: type.slice(0, 80),
      problem: "the body must be JSON",
      next: "send application/json",
    });
  }
  const value = parsed(bytes);
  if (isJsonObject(value)) return value;
  throw new Refusal(400, { code: "E_JSON", problem: "the body is no JSON object", next: "send an object" });
}

function parsed(bytes: Uint8Array): unknown {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (depthOf(text) > MAX_DEPTH) {
      throw new Refusal(400, {
        code: "E_JSON",
        problem: `the JSON is too deep (allowed ${MAX_DEPTH})`,
        next: "send less",
      });
    }
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    return undefined;
  }
}

/** Most brackets that are open at once outside of strings. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inText = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (inText) {
      if (char === "\\") at++;
      else if (char === '"') inText = false;
    } else if (char === '"') inText = true;
    else if (char === "{" || char === "[") deepest = Math.max(deepest, ++depth);
    else if (char === "}" || char === "]") depth--;
  }
  return deepest;
}
