/** @file What a pull is asked for, and what it tells. */
import type { Variant } from "../source/listing.ts";

/** Progress of a pull. Byte counts are of the files, not of the wire. */
export type PullEvent =
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "wait"; readonly owner: string }
  | {
      readonly type: "plan";
      readonly model: string;
      readonly revision: string;
      readonly commit: string;
      readonly files: number;
      readonly totalBytes: number;
      /** Of `totalBytes`, what the cache lacks. */
      readonly missingBytes: number;
    }
  /** A file is begun, or gone on with after `haveBytes`. */
  | { readonly type: "file"; readonly file: string; readonly fileBytes: number; readonly haveBytes: number }
  | { readonly type: "progress"; readonly file: string; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly type: "retry"; readonly file: string; readonly problem: string; readonly waitMs: number }
  | {
      readonly type: "done";
      readonly model: string;
      readonly commit: string;
      /** The snapshot folder. */
      readonly path: string;
      readonly files: number;
      readonly totalBytes: number;
      readonly downloadedBytes: number;
      /** False: the environment forbids the network, and the model was whole in the cache. */
      readonly online: boolean;
    };

export type PullDone = Extract<PullEvent, { type: "done" }>;

export interface PullOptions {
  /** Branch, tag or commit. Default "main". */
  readonly revision?: string | undefined;
  readonly variant?: Variant;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: PullEvent) => void;
}
