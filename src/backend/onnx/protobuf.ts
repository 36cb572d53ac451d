/** @file Writes the few protobuf messages of an ONNX model (github.com/onnx/onnx, onnx/onnx.proto, IR version 10). */

/** TensorProto.DataType */
const ONNX_TYPE = { f32: 1, i32: 6, i64: 7, f16: 10 } as const;
export type OnnxType = keyof typeof ONNX_TYPE;

export type Attribute = number | { readonly float: number } | string | readonly number[];

export interface OnnxNode {
  readonly op: string;
  /** Default: the ONNX standard's operators. */
  readonly domain?: "com.microsoft";
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

export interface OnnxValue {
  readonly name: string;
  readonly type: OnnxType;
  readonly shape: readonly number[];
}

export interface OnnxConstant {
  readonly name: string;
  readonly type: "f32" | "i64";
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly constants: readonly OnnxConstant[];
}

const IR_VERSION = 10;
const OPSET = 20;
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 };

/** A whole ModelProto. */
export function encodeOnnxModel(graph: OnnxGraph): Uint8Array {
  const model = new Message();
  model.int(1, IR_VERSION);
  model.message(7, encodeGraph(graph));
  model.message(8, new Message().string(1, "").int(2, OPSET));
  model.message(8, new Message().string(1, "com.microsoft").int(2, 1));
  return model.bytes();
}

function encodeGraph({ nodes, inputs, outputs, constants }: OnnxGraph): Message {
  const message = new Message();
  for (const node of nodes) message.message(1, encodeNode(node));
  message.string(2, "segment");
  for (const constant of constants) message.message(5, encodeConstant(constant));
  for (const input of inputs) message.message(11, encodeValue(input));
  for (const output of outputs) message.message(12, encodeValue(output));
  return message;
}

function encodeNode({ op, domain, inputs, outputs, attributes }: OnnxNode): Message {
  const message = new Message();
  for (const input of inputs) message.string(1, input);
  for (const output of outputs) message.string(2, output);
  message.string(4, op);
  for (const [name, value] of Object.entries(attributes ?? {})) message.message(5, encodeAttribute(name, value));
  if (domain) message.string(7, domain);
  return message;
}

function encodeAttribute(name: string, value: Attribute): Message {
  const message = new Message().string(1, name);
  if (typeof value === "number") return message.int(3, value).int(20, ATTRIBUTE_TYPE.int);
  if (typeof value === "string") return message.string(4, value).int(20, ATTRIBUTE_TYPE.string);
  if ("float" in value) return message.float(2, value.float).int(20, ATTRIBUTE_TYPE.float);
  for (const item of value) message.int(8, item);
  return message.int(20, ATTRIBUTE_TYPE.ints);
}

function encodeConstant({ name, type, shape, values }: OnnxConstant): Message {
  const message = new Message();
  for (const dim of shape) message.int(1, dim);
  const raw = type === "f32" ? Float32Array.from(values) : BigInt64Array.from(values, BigInt);
  return message.int(2, ONNX_TYPE[type]).string(8, name).raw(9, new Uint8Array(raw.buffer));
}

function encodeValue({ name, type, shape }: OnnxValue): Message {
  const dims = new Message();
  for (const dim of shape) dims.message(1, new Message().int(1, dim));
  const tensor = new Message().int(1, ONNX_TYPE[type]).message(2, dims);
  return new Message().string(1, name).message(2, new Message().message(1, tensor));
}

const UTF8 = new TextEncoder();

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const FIXED_32 = 5;

class Message {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  /** Integers from 0 up; ONNX graphs of ours have no negative ones except axis -1, which is 10 bytes. */
  int(field: number, value: number): this {
    return this.#add(varint((field << 3) | VARINT), varint(value));
  }

  float(field: number, value: number): this {
    return this.#add(varint((field << 3) | FIXED_32), new Uint8Array(Float32Array.of(value).buffer));
  }

  string(field: number, value: string): this {
    return this.raw(field, UTF8.encode(value));
  }

  message(field: number, value: Message): this {
    return this.raw(field, value.bytes());
  }

  raw(field: number, value: Uint8Array): this {
    return this.#add(varint((field << 3) | LENGTH_DELIMITED), varint(value.length), value);
  }

  bytes(): Uint8Array {
    const out = new Uint8Array(this.#length);
    let offset = 0;
    for (const part of this.#parts) {
      out.set(part, offset);
      offset += part.length;
    }
    return out;
  }

  #add(...parts: readonly Uint8Array[]): this {
    for (const part of parts) {
      this.#parts.push(part);
      this.#length += part.length;
    }
    return this;
  }
}

function varint(value: number): Uint8Array {
  if (value >= 0 && value <= 0x7f) return Uint8Array.of(value);
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return Uint8Array.from(out);
}
