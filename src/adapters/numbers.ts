/** @file Tensors of one number: alphas, and flags. */
import type { TensorEntry } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";
import { DTYPE_BYTES, type DType, toFloat32 } from "../tensor/dtype.ts";
import type { Role } from "./key-table.ts";
import { quoted } from "./kinds/adapted-layer.ts";

const ROLES: readonly Role[] = ["alpha", "onInput"];

type Numbers = ReadonlyMap<Role, number>;

/** Reads in flight at a time: each is a few bytes, and a file has a thousand of them. */
const READS_AT_ONCE = 32;

/**
 * Those of each layer, in the layers' order. Rejects with ArtifactError `E_LORA_TENSOR` where one is more than a number, `E_NONFINITE` where it is none.
 */
export async function readNumbers(
  file: string,
  layers: readonly ReadonlyMap<Role, TensorEntry>[],
  signal?: AbortSignal,
): Promise<readonly Numbers[]> {
  const numbers = layers.map(() => new Map<Role, number>());
  const asked = layers.flatMap((tensors, layer) =>
    ROLES.flatMap((role) => {
      const entry = tensors.get(role);
      return entry ? [{ entry, role, into: numbers[layer]! }] : [];
    }),
  );
  let next = 0;
  const readSome = async () => {
    for (let one = asked[next++]; one; one = asked[next++]) {
      one.into.set(one.role, await readNumber(file, one.entry, signal));
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: READS_AT_ONCE }, readSome));
  for (const result of ended) if (result.status === "rejected") throw result.reason;
  return numbers;
}

async function readNumber(file: string, entry: TensorEntry, signal?: AbortSignal): Promise<number> {
  const { name, dtype, shape, source, startByte, endByte } = entry;
  const bytes = new Uint8Array(DTYPE_BYTES[dtype]);
  if (endByte - startByte !== bytes.byteLength) {
    const problem = `tensor ${quoted(name)} is no single number (found [${shape}])`;
    throw new ArtifactError({ code: "E_LORA_TENSOR", subject: file, problem, next: "fetch the file again" });
  }
  await source.read(startByte, bytes, signal);
  const value = numberOf(dtype, bytes);
  if (Number.isFinite(value)) return value;
  const problem = `tensor ${quoted(name)} is ${value}`;
  throw new ArtifactError({
    code: "E_NONFINITE",
    subject: file,
    problem,
    next: "fetch the file again, or use another one",
  });
}

function numberOf(dtype: DType, bytes: Uint8Array<ArrayBuffer>): number {
  const view = new DataView(bytes.buffer);
  switch (dtype) {
    case "f64":
      return view.getFloat64(0, true);
    case "f32":
    case "f16":
    case "bf16":
      return toFloat32(dtype, bytes)[0]!;
    case "i64":
      return Number(view.getBigInt64(0, true));
    case "u64":
      return Number(view.getBigUint64(0, true));
    case "i32":
      return view.getInt32(0, true);
    case "u32":
      return view.getUint32(0, true);
    case "i16":
      return view.getInt16(0, true);
    case "u16":
      return view.getUint16(0, true);
    case "i8":
      return view.getInt8(0);
    case "u8":
    case "bool":
      return view.getUint8(0);
  }
}
