/** @file Files of upscalers on this machine's disk: .safetensors, and .pth by a reader that runs nothing. */
import { stat } from "node:fs/promises";
import path from "node:path";
import { tensorTables } from "../checkpoint/tensor-file.ts";
import { SolvayError, UsageError } from "../errors.ts";
import { recogniseUpscaler, type UpscalerFile } from "../models/upscaler-file.ts";
import type { ByteSource } from "../source/source.ts";
import { openFileSource } from "./files/file.ts";
import { filesIn, stemOf } from "./named-files.ts";

/** A recognised network whose weights are read from `source`, which the caller disposes. */
export interface OpenedUpscaler extends UpscalerFile {
  readonly source: ByteSource;
}

/**
 * Opens a file without reading its weights. Rejects with ArtifactError: `E_UPSCALER` for another network, `E_PICKLE` for a file that wants more than
 * tensors, or what a missing or damaged file is refused with.
 */
export async function openUpscaler(file: string, shown: string, signal?: AbortSignal): Promise<OpenedUpscaler> {
  await using sources = new AsyncDisposableStack();
  const source = sources.use(await openFileSource(file, shown, shown));
  const network = recogniseUpscaler(await tensorTables(source, signal), shown);
  sources.move();
  return { ...network, source };
}

const ENDINGS = [".safetensors", ".pth"];

/** Names of the upscalers' files in the folder, in it or deeper. Empty where none was named. */
export async function upscalerNames(folder: string | undefined): Promise<readonly string[]> {
  if (folder === undefined) return [];
  const files = await Array.fromAsync(filesIn(folder, ENDINGS));
  return [...new Set(files.map((file) => path.basename(file)))].toSorted();
}

/** A network as lists tell it. */
export interface ListedUpscaler {
  /** As jobs name it: its file without the ending. */
  readonly name: string;
  readonly file: string;
  /** How many times it enlarges. */
  readonly scale: number;
}

/** Those that can be opened. */
export async function upscalersIn(folder: string | undefined): Promise<readonly ListedUpscaler[]> {
  if (folder === undefined) return [];
  const found: ListedUpscaler[] = [];
  for (const file of (await Array.fromAsync(filesIn(folder, ENDINGS))).toSorted()) {
    const name = path.basename(file);
    const opened = await openUpscaler(file, name).catch((error: unknown) => {
      if (error instanceof SolvayError) return undefined;
      throw error;
    });
    await using _ = opened?.source;
    if (opened) found.push({ name: stemOf(file), file: name, scale: opened.config.scale });
  }
  return found;
}

/** The file of that name, with its ending or without. */
export function upscalerNamed(files: readonly string[], name: string): string | undefined {
  return files.find((file) => file === name) ?? files.find((file) => stemOf(file) === name);
}

/** `folder`: of upscalers, absolute; absent: none was named. `toAbsolute`: absent where nothing is named by path. Rejects also with UsageError `E_UPSCALER`. */
export function upscalerOpener(folder: string | undefined, toAbsolute?: (file: string) => string) {
  return async (reference: string, signal?: AbortSignal): Promise<OpenedUpscaler> => {
    const direct = toAbsolute?.(reference);
    const isThere = direct !== undefined && (await stat(direct).catch(() => undefined))?.isFile() === true;
    // A path that isn't there is refused as files are.
    if (direct !== undefined && (isThere || folder === undefined)) return await openUpscaler(direct, reference, signal);
    const files = folder === undefined ? [] : await Array.fromAsync(filesIn(folder, ENDINGS, signal));
    const [file, other] = files.filter((each) => path.basename(each) === reference);
    if (file !== undefined && other === undefined) return await openUpscaler(file, path.basename(file), signal);
    const problem =
      folder === undefined
        ? "no folder of upscalers was named, and jobs here name none by path"
        : `the folder of upscalers has ${file === undefined ? "none" : "more than one"} of that name (allowed one)`;
    const next = folder === undefined ? "name it with --upscaler-dir" : "check its name, or --upscaler-dir";
    throw new UsageError({ code: "E_UPSCALER", subject: reference.slice(0, 80), problem, next });
  };
}
