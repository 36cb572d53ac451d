/**
 * @file A pickle machine that runs nothing: it knows the instructions that a state dict is written with (Python's pickletools, protocols 0 to 5,
 * as torch.save uses them), and the few names of pickle-globals.ts. Anything else is refused by name, with its byte.
 */
import { called, globalNamed, storageOf } from "./pickle-globals.ts";
import { PickleError, PickleTuple, type PickleValue } from "./pickle-value.ts";

/** SDXL's 2,500 tensors take 400,000 instructions. */
const MAX_INSTRUCTIONS = 2 ** 22;
/** Lists, tuples and dictionaries: a tensor takes six. */
const MAX_CONTAINERS = 2 ** 18;
const MAX_STACK = 2 ** 16;
const MAX_MARKS = 64;
const MAX_STRING_BYTES = 2 ** 16;

const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface Unpickled {
  readonly value: PickleValue;
  /** Behind its STOP. */
  readonly endByte: number;
}

/** Reads the pickle at `startByte`. Throws PickleError. */
export function unpickle(bytes: Uint8Array, startByte = 0): Unpickled {
  const machine = new PickleMachine(bytes, startByte);
  try {
    return machine.run();
  } catch (error) {
    if (error instanceof PickleError) throw new PickleError(`${error.message} (byte ${machine.at} of the pickle)`);
    // DataView's, where the pickle is cut.
    if (error instanceof RangeError) throw new PickleError(`the pickle ends too soon (after ${bytes.length} bytes)`);
    throw error;
  }
}

class PickleMachine {
  /** Of the instruction that runs. */
  at: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #next: number;
  #stack: PickleValue[] = [];
  readonly #below: PickleValue[][] = [];
  readonly #memo = new Map<number, PickleValue>();
  #containers = 0;

  constructor(bytes: Uint8Array, startByte: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = startByte;
    this.#next = startByte;
  }

  run(): Unpickled {
    for (let count = 0; count < MAX_INSTRUCTIONS; count++) {
      this.at = this.#next;
      const code = this.#u8();
      if (code === 0x2e) return { value: this.#pop(), endByte: this.#next };
      const instruction = INSTRUCTIONS.get(code);
      if (!instruction) throw new PickleError(`it has instruction 0x${code.toString(16)}, which no state dict needs`);
      instruction(this);
      if (this.#stack.length > MAX_STACK) throw new PickleError(`its stack is deeper than ${MAX_STACK}`);
    }
    throw new PickleError(`it has more than ${MAX_INSTRUCTIONS} instructions`);
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pushContainer(value: PickleValue): void {
    if (++this.#containers > MAX_CONTAINERS) throw new PickleError(`it holds more than ${MAX_CONTAINERS} containers`);
    this.push(value);
  }

  mark(): void {
    if (this.#below.length >= MAX_MARKS) throw new PickleError(`its marks nest deeper than ${MAX_MARKS}`);
    this.#below.push(this.#stack);
    this.#stack = [];
  }

  /** What lies above the last mark, which goes. */
  popMark(): PickleValue[] {
    const items = this.#stack;
    const below = this.#below.pop();
    if (!below) throw new PickleError("a mark is missing");
    this.#stack = below;
    return items;
  }

  pop(): PickleValue {
    return this.#pop();
  }

  top(): PickleValue {
    const value = this.#stack.at(-1);
    if (value === undefined) throw new PickleError("its stack is empty");
    return value;
  }

  tuple(count: number): void {
    const items = Array.from({ length: count }, () => this.#pop()).reverse();
    this.pushContainer(new PickleTuple(items));
  }

  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== "string" || typeof name !== "string") throw new PickleError("a global's name is no text");
    this.push(globalNamed(module, name));
  }

  reduce(): void {
    const args = this.#pop();
    this.pushContainer(called(this.#pop(), args));
  }

  /** Attributes: of a dictionary (PyTorch's `_metadata`) they say nothing about tensors. */
  build(): void {
    this.#pop();
    if (!(this.top() instanceof Map)) throw new PickleError("it sets attributes of something else than a dictionary");
  }

  persistent(): void {
    this.push(storageOf(this.#pop()));
  }

  append(items: readonly PickleValue[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw new PickleError("it appends to something else than a list");
    for (const item of items) list.push(item);
  }

  set(items: readonly PickleValue[]): void {
    const map = this.top();
    if (!(map instanceof Map) || items.length % 2 !== 0)
      throw new PickleError("it sets items of something else than a dictionary");
    for (let i = 0; i < items.length; i += 2) {
      const [key, value] = [items[i]!, items[i + 1]!];
      if (typeof key !== "string" && typeof key !== "number")
        throw new PickleError("a key is neither text nor a number");
      if (map.has(key)) throw new PickleError(`the key ${JSON.stringify(key).slice(0, 100)} stands twice`);
      map.set(key, value);
    }
  }

  put(index: number): void {
    this.#memo.set(index, this.top());
  }

  memoize(): void {
    this.put(this.#memo.size);
  }

  get(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw new PickleError(`its memo has no entry ${index}`);
    this.push(value);
  }

  u8(): number {
    return this.#u8();
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  i32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true));
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8), false);
  }

  /** Little-endian two's complement, at most 16 bytes. */
  long(): number | bigint {
    const lengthBytes = this.#u8();
    if (lengthBytes > 16) throw new PickleError(`it holds an integer of ${lengthBytes} bytes`);
    const start = this.#take(lengthBytes);
    let value = 0n;
    for (let i = lengthBytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#view.getUint8(start + i));
    const signed = lengthBytes === 0 ? 0n : BigInt.asIntN(8 * lengthBytes, value);
    const number = Number(signed);
    return Number.isSafeInteger(number) ? number : signed;
  }

  text(lengthBytes: number, decoder = utf8): string {
    if (lengthBytes > MAX_STRING_BYTES) throw new PickleError(`it holds a text of ${lengthBytes} bytes`);
    const start = this.#take(lengthBytes);
    try {
      return decoder.decode(this.#bytes.subarray(start, start + lengthBytes));
    } catch {
      throw new PickleError("it holds a text that is not UTF-8");
    }
  }

  line(): string {
    const end = this.#bytes.subarray(this.#next, this.#next + MAX_STRING_BYTES).indexOf(0x0a);
    if (end < 0) throw new PickleError("a line has no end");
    const text = this.text(end, latin1);
    this.#next++;
    return text;
  }

  skip(bytes: number): void {
    this.#take(bytes);
  }

  #pop(): PickleValue {
    const value = this.#stack.pop();
    if (value === undefined) throw new PickleError("its stack is empty");
    return value;
  }

  #u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  #take(bytes: number): number {
    const start = this.#next;
    if (start + bytes > this.#bytes.length) throw new RangeError("cut");
    this.#next = start + bytes;
    return start;
  }
}

/** By their bytes in pickletools. */
const INSTRUCTIONS: ReadonlyMap<number, (machine: PickleMachine) => void> = new Map<number, (m: PickleMachine) => void>(
  [
    [0x80, (m) => m.skip(1)], // PROTO
    [0x95, (m) => m.skip(8)], // FRAME
    [0x28, (m) => m.mark()], // MARK
    [0x30, (m) => void m.pop()], // POP
    [0x7d, (m) => m.pushContainer(new Map())], // EMPTY_DICT
    [0x5d, (m) => m.pushContainer([])], // EMPTY_LIST
    [0x29, (m) => m.tuple(0)], // EMPTY_TUPLE
    [0x74, (m) => m.pushContainer(new PickleTuple(m.popMark()))], // TUPLE
    [0x85, (m) => m.tuple(1)],
    [0x86, (m) => m.tuple(2)],
    [0x87, (m) => m.tuple(3)],
    [0x4e, (m) => m.push(null)], // NONE
    [0x88, (m) => m.push(true)],
    [0x89, (m) => m.push(false)],
    [0x4a, (m) => m.push(m.i32())], // BININT
    [0x4b, (m) => m.push(m.u8())], // BININT1
    [0x4d, (m) => m.push(m.u16())], // BININT2
    [0x8a, (m) => m.push(m.long())], // LONG1
    [0x47, (m) => m.push(m.f64())], // BINFLOAT
    [0x54, (m) => m.push(m.text(m.u32(), latin1))], // BINSTRING
    [0x55, (m) => m.push(m.text(m.u8(), latin1))], // SHORT_BINSTRING
    [0x58, (m) => m.push(m.text(m.u32()))], // BINUNICODE
    [0x8c, (m) => m.push(m.text(m.u8()))], // SHORT_BINUNICODE
    [0x8d, (m) => m.push(m.text(m.u64()))], // BINUNICODE8
    [0x71, (m) => m.put(m.u8())], // BINPUT
    [0x72, (m) => m.put(m.u32())], // LONG_BINPUT
    [0x94, (m) => m.memoize()], // MEMOIZE
    [0x68, (m) => m.get(m.u8())], // BINGET
    [0x6a, (m) => m.get(m.u32())], // LONG_BINGET
    [0x63, (m) => m.global(m.line(), m.line())], // GLOBAL
    [0x93, (m) => globalFromStack(m)], // STACK_GLOBAL
    [0x51, (m) => m.persistent()], // BINPERSID
    [0x52, (m) => m.reduce()], // REDUCE
    [0x62, (m) => m.build()], // BUILD
    [0x61, (m) => appendOne(m)], // APPEND
    [0x65, (m) => m.append(m.popMark())], // APPENDS
    [0x73, (m) => setOne(m)], // SETITEM
    [0x75, (m) => m.set(m.popMark())], // SETITEMS
  ],
);

function globalFromStack(machine: PickleMachine): void {
  const name = machine.pop();
  machine.global(machine.pop(), name);
}

function appendOne(machine: PickleMachine): void {
  const item = machine.pop();
  machine.append([item]);
}

function setOne(machine: PickleMachine): void {
  const value = machine.pop();
  const key = machine.pop();
  machine.set([key, value]);
}
