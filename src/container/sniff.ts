/** @file Content decides what a file is, not its name. Formats that can run code when opened are refused, never interpreted. */
import { ArtifactError } from "../errors.ts";
import type { ByteSource } from "../source/source.ts";

export type ContainerKind = "safetensors" | "lzr2";

const SNIFF_BYTES = 64;

interface Foreign {
  readonly code: string;
  readonly problem: string;
  readonly next: string;
  readonly matches: (head: Uint8Array, text: string) => boolean;
}

const PICKLE_NEXT = "convert it to .safetensors on a machine you trust";

/** Checked in order. */
const FOREIGN: readonly Foreign[] = [
  {
    code: "E_LFS_POINTER",
    problem: "this is a Git LFS pointer, not the model",
    next: "fetch the real file (git lfs pull, or solvay pull)",
    matches: (_, text) => text.startsWith("version https://git-lfs"),
  },
  {
    code: "E_PICKLE_REFUSED",
    problem: "a PyTorch pickle can run code when opened",
    next: PICKLE_NEXT,
    matches: ([a, b]) => a === 0x80 && b !== undefined && b <= 5,
  },
  {
    code: "E_PICKLE_REFUSED",
    problem: "a zip file (a PyTorch checkpoint can run code when opened)",
    next: PICKLE_NEXT,
    matches: (_, text) => text.startsWith("PK\u0003\u0004") || text.startsWith("PK\u0005\u0006"),
  },
  {
    code: "E_GZIP",
    problem: "the file is gzip-compressed",
    next: "unpack it first",
    matches: ([a, b]) => a === 0x1f && b === 0x8b,
  },
  {
    code: "E_HTML",
    problem: "this is a web page, not the model (a login or error page was saved)",
    next: "fetch the file again, signed in if the site asks for it",
    matches: (_, text) => /^\s*<(!doctype|html|\?xml)/i.test(text),
  },
  {
    code: "E_GGUF",
    problem: "this is a GGUF file, which Solvay does not read",
    next: "use the model's safetensors files",
    matches: (_, text) => text.startsWith("GGUF"),
  },
  {
    code: "E_NOT_WEIGHTS",
    problem: "this is a picture, not a file of weights",
    next: "name the model's file or folder",
    matches: (_, text) => /^(\x89PNG\r\n|\xff\xd8\xff|GIF8|RIFF.{4}WEBP)/s.test(text),
  },
  {
    code: "E_NOT_WEIGHTS",
    problem: "this is a JSON text, not a file of weights",
    next: "name the .safetensors file, or the folder that holds model_index.json",
    matches: (_, text) => /^\s*\{\s*"/.test(text),
  },
  {
    code: "E_NOT_WEIGHTS",
    problem: "this is a text, not a file of weights",
    next: "name the model's .safetensors file or folder",
    // A header's length has zeros in it.
    matches: (_, text) => /^[\t\n\r -~]{9,}$/.test(text),
  },
];

/** What a file that begins so seems to be, in words, and what helps; undefined if that is not known. */
export function describeForeign(head: Uint8Array): { readonly problem: string; readonly next: string } | undefined {
  const text = String.fromCharCode(...head.subarray(0, SNIFF_BYTES));
  return FOREIGN.find(({ matches }) => matches(head, text));
}

/** Throws ArtifactError: the refusals above, or `E_TRUNCATED` for files too short to be anything. */
export async function sniffContainer(source: ByteSource, signal?: AbortSignal): Promise<ContainerKind> {
  const head = new Uint8Array(Math.min(SNIFF_BYTES, source.byteLength));
  await source.read(0, head, signal);
  const text = String.fromCharCode(...head);
  if (text.startsWith("LZR2")) return "lzr2";
  // A pickle's first bytes could also be a header length, and a web page may have "{" at byte 8: a real header has both.
  if (head[8] === 0x7b && headerFits(head, source.byteLength)) return "safetensors";
  for (const { code, problem, next, matches } of FOREIGN) {
    if (matches(head, text)) throw new ArtifactError({ code, subject: source.name, problem, next });
  }
  if (head.length < 10) {
    const problem = `file ends after ${source.byteLength} bytes, too short for any container`;
    throw new ArtifactError({ code: "E_TRUNCATED", subject: source.name, problem, next: "fetch the file again" });
  }
  return "safetensors";
}

/** Is the u64 at the front a length that the file has room for? */
function headerFits(head: Uint8Array, fileBytes: number): boolean {
  return new DataView(head.buffer).getBigUint64(0, true) <= BigInt(fileBytes - 8);
}
