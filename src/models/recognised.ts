/** @file What a file by itself was recognised as: one of a family's networks, or several. */
import type { ComponentRules } from "../checkpoint/schema.ts";
import type { TensorTable } from "../container/table.ts";

/** A network that a file by itself was recognised as. */
export interface RecognisedNetwork {
  readonly rules: ComponentRules;
  /** For people: "SDXL base's unet". */
  readonly network: string;
}

/** One of the networks that a file holds together. `rules`: undefined where its dimensions can't be told from it alone. */
export interface NetworkInFile {
  /** The component's id. */
  readonly component: string;
  readonly network: string;
  /** By diffusers' names. */
  readonly table: TensorTable;
  readonly rules: ComponentRules | undefined;
}
