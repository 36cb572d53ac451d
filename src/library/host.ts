/** @file What the library needs of the machine it is on: files, the block store, the hub's cache. Node's is in node/. */
import type { Folder } from "../source/folder.ts";
import type { ModelChooser } from "../source/listing.ts";
import type { ByteSource } from "../source/source.ts";
import type { Store } from "../store/store.ts";
import type { PullDone, PullOptions } from "./pull-events.ts";

export interface LibraryHost {
  /** Where the embedded demo model lies. */
  readonly demoModel: string;
  /** Folder of CLIP's vocabulary, which a single file has not. */
  readonly clipVocabulary: string;
  /** As the user wrote it, from where the user stands. */
  absolute(path: string): string;
  kindOf(path: string): Promise<"file" | "folder" | undefined>;
  /** Rejects with ArtifactError `E_MISSING` or `E_NOT_A_FOLDER`. */
  openFolder(path: string): Promise<Folder>;
  /** `name`: in messages about its content; default its base name. Rejects with ArtifactError. The caller disposes it. */
  openFile(path: string, name?: string): Promise<ByteSource>;
  /** A small text file in the folder of the file at `path`, and that folder's own name; undefined if there is none. */
  readBeside(path: string, name: string): Promise<{ readonly folder: string; readonly text: string } | undefined>;
  /** Writes a file by `fill`, in place of what is there once it is whole. */
  replaceFile<T>(path: string, fill: (write: (bytes: Uint8Array) => Promise<void>) => Promise<T>): Promise<T>;
  /** The block store in `folder`. Default: the user's own. */
  store(folder?: string): Store;
  readonly hub: {
    isId(text: string): boolean;
    /** Where the cache has the model, or undefined. */
    resolve(id: string): Promise<string | undefined>;
    /** Fetches what `choose` names and the cache lacks. */
    pull(id: string, options: PullOptions & { readonly choose: ModelChooser }): Promise<PullDone>;
  };
}
