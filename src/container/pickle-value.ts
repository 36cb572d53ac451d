/** @file What a pickle of tensors can hold, and how it is refused: plain data, never an object of anyone's class. */
import { ArtifactError } from "../errors.ts";
import type { DType } from "../tensor/dtype.ts";

/** A stretch of numbers that lies elsewhere in the file, by its key there. */
export class PickledStorage {
  readonly key: string;
  readonly dtype: DType;
  readonly elements: number;

  constructor(key: string, dtype: DType, elements: number) {
    this.key = key;
    this.dtype = dtype;
    this.elements = elements;
  }
}

/** A contiguous tensor over a storage. */
export class PickledTensor {
  readonly storage: PickledStorage;
  readonly offsetElements: number;
  readonly shape: readonly number[];

  constructor(storage: PickledStorage, offsetElements: number, shape: readonly number[]) {
    this.storage = storage;
    this.offsetElements = offsetElements;
    this.shape = shape;
  }
}

/** A name that the pickle may use; what it means is in pickle-globals.ts. */
export class PickledGlobal {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickledStorage
  | PickledTensor
  | PickledGlobal
  | PickleTuple
  | PickleValue[]
  | Map<PickleValue, PickleValue>;

/** Distinct from a list: it can't change. */
export class PickleTuple {
  readonly items: readonly PickleValue[];

  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}

/** What is wrong with a pickle, in words; whoever has the file's name makes an ArtifactError of it. */
export class PickleError extends Error {}

/** A file that holds more, or other things, than tensors. */
export function pickleRefusal(file: string, problem: string, cause?: unknown): ArtifactError {
  return new ArtifactError({
    code: "E_PICKLE",
    subject: file,
    problem,
    next: "use a .safetensors file of this model, or convert it on a machine you trust",
    cause,
  });
}
