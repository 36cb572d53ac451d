/** @file The names that a state dict's pickle may use, and what they make: numbers' kinds, tensors, ordered dictionaries. All else is refused by name. */
import { type DType, elementCount } from "../tensor/dtype.ts";
import {
  PickledGlobal,
  PickledStorage,
  PickledTensor,
  PickleError,
  PickleTuple,
  type PickleValue,
} from "./pickle-value.ts";

const STORAGES: ReadonlyMap<string, DType> = new Map<string, DType>(
  Object.entries({
    DoubleStorage: "f64",
    FloatStorage: "f32",
    HalfStorage: "f16",
    BFloat16Storage: "bf16",
    LongStorage: "i64",
    IntStorage: "i32",
    ShortStorage: "i16",
    CharStorage: "i8",
    ByteStorage: "u8",
    BoolStorage: "bool",
  } as const).map(([name, dtype]) => [`torch.${name}`, dtype]),
);

type Call = (args: readonly PickleValue[]) => PickleValue;

const CALLS: ReadonlyMap<string, Call> = new Map<string, Call>([
  ["collections.OrderedDict", orderedDict],
  ["torch._utils._rebuild_tensor_v2", rebuildTensor],
  ["torch._utils._rebuild_parameter", ([tensor]) => requireTensor(tensor)],
  ["torch.Size", ([items]) => requireTuple(items, "torch.Size")],
]);

const MAX_AXES = 8;

/** Throws PickleError for a name that is not one of these. */
export function globalNamed(module: string, name: string): PickledGlobal {
  const full = `${module}.${name}`;
  if (STORAGES.has(full) || CALLS.has(full)) return new PickledGlobal(full);
  throw new PickleError(`it asks for ${full.slice(0, 100)}, which is no part of a tensor`);
}

/** What the pickle's REDUCE gives. Throws PickleError. */
export function called(callee: PickleValue, args: PickleValue): PickleValue {
  const call = callee instanceof PickledGlobal ? CALLS.get(callee.name) : undefined;
  if (!call) throw new PickleError("it calls what can't be called");
  return call(requireTuple(args, "arguments").items);
}

/** What a persistent id stands for: ('storage', kind, key, location, elements[, view]). Throws PickleError. */
export function storageOf(id: PickleValue): PickledStorage {
  const [what, kind, key, , elements, view = null] = requireTuple(id, "a persistent id").items;
  const dtype = kind instanceof PickledGlobal ? STORAGES.get(kind.name) : undefined;
  if (what !== "storage" || !dtype || typeof key !== "string" || !isCount(elements)) {
    throw new PickleError("a persistent id is no storage of numbers");
  }
  if (view !== null) throw new PickleError(`storage ${key.slice(0, 40)} is a view of another one`);
  return new PickledStorage(key, dtype, elements);
}

function orderedDict(args: readonly PickleValue[]): PickleValue {
  if (args.length > 0) throw new PickleError("an ordered dictionary is made of something");
  return new Map();
}

/** (storage, offset, size, stride, requires_grad, backward_hooks[, metadata]) */
function rebuildTensor([storage, offset, size, stride, , hooks]: readonly PickleValue[]): PickledTensor {
  if (!(storage instanceof PickledStorage)) throw new PickleError("a tensor has no storage");
  const shape = requireTuple(size, "a tensor's size").items;
  const strides = requireTuple(stride, "a tensor's strides").items;
  if (!isCount(offset) || !shape.every(isCount) || !strides.every(isCount) || shape.length > MAX_AXES) {
    throw new PickleError(`a tensor's sizes are no counts, or more than ${MAX_AXES}`);
  }
  if (hooks instanceof Map && hooks.size > 0) throw new PickleError("a tensor has hooks, which are code");
  const elements = elementCount(shape);
  if (!Number.isSafeInteger(elements) || offset + elements > storage.elements) {
    const found = `${offset} + [${shape.join(", ")}]`;
    throw new PickleError(`a tensor goes beyond its storage (found ${found}, allowed ${storage.elements} elements)`);
  }
  if (!isContiguous(shape, strides)) {
    throw new PickleError(
      `a tensor of [${shape.join(", ")}] is stored with strides [${strides.join(", ")}], not row by row`,
    );
  }
  return new PickledTensor(storage, offset, shape);
}

/** Axes of one element may have any stride. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  if (strides.length !== shape.length) return false;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return elementCount(shape) === 0;
    expected *= shape[axis]!;
  }
  return true;
}

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function requireTuple(value: PickleValue | undefined, what: string): PickleTuple {
  if (value instanceof PickleTuple) return value;
  throw new PickleError(`${what} must be a tuple`);
}

function requireTensor(value: PickleValue | undefined): PickledTensor {
  if (value instanceof PickledTensor) return value;
  throw new PickleError("a parameter is no tensor");
}
