/** @file Where bytes come from. Implementations: node/files/file.ts, memory.ts. */

/** Half-open range of bytes: `endByte` is exclusive. */
export interface ByteRange {
  readonly startByte: number;
  readonly endByte: number;
}

/** Random access to a fixed number of bytes. */
export interface ByteSource extends AsyncDisposable {
  /** Short name for messages (basename or URL). */
  readonly name: string;
  readonly byteLength: number;
  /** For files: where it is, and a text that differs once it was changed or replaced (size, time of change, inode). */
  readonly file?: { readonly path: string; readonly stamp: string };
  /**
   * Fills all of `into` from `startByte`. Rejects with `ArtifactError` `E_TRUNCATED` if the source ends sooner, and
   * with `E_CHANGED_DURING_READ` if it changed since it was opened.
   */
  read(startByte: number, into: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Memory that a read takes beside `into`, while it is on its way. Default: none. */
  readonly readingBytes?: number;
  /** The bytes themselves, uncopied and aligned to 8, where they are in memory anyway; undefined elsewhere. */
  view?(startByte: number, endByte: number): Uint8Array<ArrayBuffer> | undefined;
}
