/** @file Files of wildcards: NAME.txt in a folder that the user has named, or deeper in it; never outside, also by links. */
import { realpath } from "node:fs/promises";
import path from "node:path";
import { UsageError } from "../errors.ts";
import { type ReadWildcard, wildcardLines } from "../prompt/wildcards.ts";
import { openFileSource } from "./files/file.ts";

const MAX_FILE_BYTES = 4 * 1024 ** 2;
/** No hidden files, no way up. */
const NAME = /^(?!\.)[\p{L}\p{N}_\-. ]+(?:\/(?!\.)[\p{L}\p{N}_\-. ]+)*$/u;

/** `folder`: absolute. */
export function wildcardReader(folder: string): ReadWildcard {
  return async (name, signal) => {
    if (!NAME.test(name))
      throw refusal(name, "that is no name of a file (letters, digits, _ - . and /)", "write a name");
    const file = path.join(folder, ...`${name}.txt`.split("/"));
    const root = await realpath(folder).catch((cause: unknown) => {
      throw refusal(name, `the folder of wildcards ${folder} can't be opened`, "check --wildcards-dir", cause);
    });
    const real = await realpath(file).catch((cause: unknown) => {
      throw refusal(name, `there is no file ${name}.txt in the folder of wildcards`, "check its name", cause);
    });
    if (!real.startsWith(root.endsWith(path.sep) ? root : root + path.sep)) {
      throw refusal(name, "its file lies outside the folder of wildcards", "copy it into the folder");
    }
    await using source = await openFileSource(real, `${name}.txt`, `${name}.txt`);
    if (source.byteLength > MAX_FILE_BYTES) {
      const problem = `its file is too large (found ${source.byteLength} bytes, allowed ${MAX_FILE_BYTES})`;
      throw refusal(name, problem, "split it");
    }
    const bytes = new Uint8Array(source.byteLength);
    await source.read(0, bytes, signal);
    return wildcardLines(textOf(name, bytes));
  };
}

function textOf(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw refusal(name, "its file is no UTF-8 text", "save it as UTF-8", cause);
  }
}

function refusal(name: string, problem: string, next: string, cause?: unknown): UsageError {
  return new UsageError({ code: "E_WILDCARD", subject: `__${name}__`, problem, next, cause });
}
