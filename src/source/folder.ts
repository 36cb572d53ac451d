/** @file A model folder, wherever it is: what reading a checkpoint needs of it. Implementation for disks: node/files/file-folder.ts. */
import type { ByteSource } from "./source.ts";

export interface Folder {
  /** As the user named it, for messages. */
  readonly name: string;
  /** Text of a small file, or undefined if it is not there. */
  readText(relativePath: string, maxBytes: number): Promise<string | undefined>;
  /** Opens a file for random access, or undefined if it is not there. The caller disposes it. */
  open(relativePath: string): Promise<ByteSource | undefined>;
}
