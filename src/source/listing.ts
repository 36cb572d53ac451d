/** @file The files of a model before they are here, and the choice among them: the hub and the cache know no model, and ask for one. */

/** Files of a model, wherever they lie: a folder, the cache, a hub repository. Paths are relative, with "/". */
export interface FileListing {
  /** As the user named it, for messages. */
  readonly name: string;
  has(path: string): boolean | Promise<boolean>;
  /** Text of a small file, fetched if need be; undefined if it is not there. */
  readText(path: string): Promise<string | undefined>;
}

/** Which weights: "auto": fp16 where there is one, else plain; "fp16", "none": only that. */
export type Variant = "auto" | "fp16" | "none";

/** What of a listing is needed. */
export interface FileChoice {
  /** Each once; small files first, so that a model that does not fit is found out early. */
  readonly files: readonly string[];
}

/** Rejects with ArtifactError where the listing is of no such model, or not complete. */
export type ModelChooser = (listing: FileListing, options: { readonly variant: Variant }) => Promise<FileChoice>;
