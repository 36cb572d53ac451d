/** @file Networks beside a model's own that steer its steps by pictures, such as ControlNets: what plans and denoisers know of them. */
import type { TensorTable } from "../container/table.ts";

/** A network that steers another by a picture, as plain data; what more there is of it is its family's. */
export interface ControlNetwork {
  readonly kind: string;
  /** How many kinds of pictures it can be told to look at; absent: it looks at one kind. */
  readonly modes?: number | undefined;
  /** False: it can't steer the prompt's answers alone. */
  readonly guesses?: boolean | undefined;
}

export interface ControlShape {
  /** What its weights are read as: another one for each file. */
  readonly component: string;
  readonly network: ControlNetwork;
  /** It steers what is told of the prompt, and not of the negative one, and its early blocks less. */
  readonly guess: boolean;
  /** Of a network with modes: which, from 0. */
  readonly mode?: number | undefined;
  /** Of the batch, the last ones. */
  readonly rows: number;
  /** How often it is asked in one image. */
  readonly calls: number;
}

/** What steers the steps beside prompts, in the order of the shape's. */
export interface ControlInput {
  /** [1, 3, height, width] of the stage, 0..1. */
  readonly picture: Float32Array;
  /** Of its results, by step, from 0; the last holds for all later steps. */
  readonly weights: readonly number[];
}

/** `table`: what the network reads, by canonical name. */
export interface OpenedControl {
  readonly network: ControlNetwork;
  readonly table: TensorTable;
  /** The model's component whose weights it reads beside its own. */
  readonly over?: string | undefined;
}
