/** @file What the server's own API says, as far as the studio reads it. */

export type JobValue = string | number | boolean | readonly unknown[];
/** Fields of a job by name; which there are, the server's schema says. */
export type JobFields = Readonly<Record<string, JobValue>>;

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Job {
  readonly id: string;
  /** In the order of asking. */
  readonly number: number;
  readonly job: JobFields;
  /** The job enlarges a picture; absent: it draws one. */
  readonly upscale?: Upscale;
  /** Shared by jobs that were asked for at once. */
  readonly request: string;
  readonly state: JobState;
  readonly priority: number;
  readonly step: number;
  readonly steps?: number;
  readonly error?: { readonly code: string; readonly message: string };
  readonly asset?: string;
  /** The picture's address. */
  readonly url?: string;
  /** Address of what it looks like so far, or looked like when it was stopped. */
  readonly preview?: string;
  readonly createdAt: string;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  /** Milliseconds, as the latest step told: to its last step. */
  readonly etaMs?: number;
}

/** A picture that a network enlarges by itself. */
export interface Upscale {
  /** "sha256:" and the picture's. */
  readonly image: string;
  readonly upscaler: string;
  readonly scale?: number;
}

export interface Upscaler {
  readonly name: string;
  /** How many times it enlarges. */
  readonly scale: number;
}

export interface FieldKind {
  readonly type:
    | "text"
    | "whole"
    | "decimal"
    | "choice"
    | "named"
    | "switch"
    | "seed"
    | "pair"
    | "picture"
    | "loras"
    | "controls"
    | "ipAdapters"
    | "pictures"
    | "files";
  /** Names that its items may have. */
  readonly files?: readonly string[];
  /** What each of its items is told beside its name. */
  readonly parts?: readonly Pick<SchemaField, "name" | "kind" | "description">[];
  readonly min?: number;
  readonly max?: number;
  readonly multiple?: number;
  readonly maxChars?: number;
  readonly separator?: string;
  readonly maxCount?: number;
  /** Of a choice, or names. */
  readonly values?: readonly string[];
}

export interface SchemaField {
  readonly name: string;
  readonly kind: FieldKind;
  readonly description: string;
  /** Heading under which it stands; absent: it is written by programs, not by people. */
  readonly group?: string;
  readonly default?: JobValue;
  /** What stands in for a value that nobody gave. */
  readonly absent?: string;
  readonly required?: boolean;
  /** Jobs that differ in it don't share passes over the weights. */
  readonly shapesPlan?: boolean;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Schema {
  readonly fields: readonly SchemaField[];
  /** Pictures that one request may ask for. */
  readonly maxCount: number;
  /** What suits the model that is served. */
  readonly model: {
    readonly sizes: readonly Size[];
    /** Values to begin with where they differ from the defaults. */
    readonly advice: JobFields;
    /** Why: "Lightning". */
    readonly kind?: string;
  };
}

export interface ModelInfo {
  readonly model: string;
  readonly demo: boolean;
  readonly backend: string;
  readonly adapter?: string;
  readonly defaultWidth: number;
  readonly defaultHeight: number;
}

export interface Asset extends Size {
  readonly sha256: string;
  readonly mediaType: string;
  readonly bytes: number;
}

/** As far as a form needs it. */
export interface Plan {
  /** Of one picture. */
  readonly predictedMs?: number;
}

/** What a picture, or a text of one, says of how it was made. */
export interface Recalled {
  readonly format: string;
  /** Absent: it says nothing. */
  readonly job?: JobFields;
  /** That made it, as jobs name it; absent: it is not served here. */
  readonly model?: string;
  readonly source?: string;
  readonly tool?: string;
  /** What prompts were drawn from, by the prompt's field. */
  readonly templates?: Readonly<Record<string, string>>;
  /** What else it says of its making: model, backend, version. */
  readonly facts?: Readonly<Record<string, string>>;
  /** Settings that mean nothing here, by their names. */
  readonly others?: Readonly<Record<string, string>>;
  readonly notes: readonly string[];
  readonly remake?: { readonly exact: boolean; readonly reasons: readonly string[] };
}
