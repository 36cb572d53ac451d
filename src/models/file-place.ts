/** @file Where weights come from, as a user named it. */
import type { Folder } from "../source/folder.ts";
import type { ByteSource } from "../source/source.ts";

/** A file or a folder that weights come from. `path`: as the user named it; who opened the file disposes of it. */
export type FilePlace =
  | { readonly kind: "file"; readonly path: string; readonly file: ByteSource }
  | { readonly kind: "folder"; readonly folder: Folder };
