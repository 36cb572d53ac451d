/**
 * @file The inner loop of matrix products of plain numbers as WebAssembly, two fp64 at a time: the sums of packed-matrix.ts to the bit, some four times as
 * fast. The module is put together here, instruction by instruction. https://webassembly.github.io/spec/core/binary
 */

/** Columns of a block of the right side. */
export const BLOCK_COLUMNS = 8;
/** Memory of the thread that makes products, for all of them. */
export const WORKSPACE_BYTES = 2 * 1024 ** 2;
const PAGE_BYTES = 65536;

/**
 * out [rows, 8] in fp32, rows `outStride` bytes apart, = a [rows, rank] times b [rank, 8], both in fp64; all by byte offsets, multiples of 16. `rows` is even.
 * Each sum runs over the rank in its order, as the plain loop's.
 */
type Multiply = (a: number, b: number, out: number, rows: number, rank: number, outStride: number) => void;

export interface ProductKernel {
  readonly memory: ArrayBuffer;
  readonly multiply: Multiply;
}

let kernel: ProductKernel | undefined | "none";

/** Of this thread; undefined where there is no WebAssembly with vectors: the plain loop gives the same. */
export function productKernel(): ProductKernel | undefined {
  kernel ??= load() ?? "none";
  return kernel === "none" ? undefined : kernel;
}

function load(): ProductKernel | undefined {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()));
    const { memory, multiply } = exports as { memory: WebAssembly.Memory; multiply: Multiply };
    return { memory: memory.buffer as ArrayBuffer, multiply };
  } catch {
    return undefined;
  }
}

const I32 = 0x7f;
const V128 = 0x7b;

/** Instructions as bytes; SIMD's have a prefix and numbers of their own. */
const op = {
  get: (local: number) => [0x20, local],
  set: (local: number) => [0x21, local],
  i32: (value: number) => [0x41, ...signed(value)],
  addI32: [0x6a],
  subI32: [0x6b],
  mulI32: [0x6c],
  loop: (...body: number[][]) => [0x03, 0x40, ...body.flat(), 0x0b],
  repeatIf: [0x0d, 0],
  load: (offset: number) => [0xfd, 0x00, 4, offset],
  loadSplat: [0xfd, 0x0a, 3, 0],
  zero: [0xfd, 0x0c, ...new Array<number>(16).fill(0)],
  /** The lower half. */
  storeHalf: (offset: number) => [0xfd, 0x5b, 3, offset, 0],
  toF32: [0xfd, 0x5e],
  add: [0xfd, 0xf0, 1],
  mul: [0xfd, 0xf2, 1],
};

const [A, B, OUT, ROWS, RANK, STRIDE] = [0, 1, 2, 3, 4, 5] as const;
/** Where the loop over the rank is in both rows and in b, and how much is left of it; bytes of a row. */
const [X_AT, Y_AT, B_AT, LEFT, ROW_BYTES] = [6, 7, 8, 9, 10] as const;
/** Sums of the first row, of the second; four pairs of b; a value of each row. */
const SUMS = [11, 12, 13, 14, 15, 16, 17, 18];
const PAIRS = [19, 20, 21, 22];
const [X, Y] = [23, 24] as const;

/** local += what `by` puts on the stack. */
const increase = (local: number, ...by: number[][]) => [...op.get(local), ...by.flat(), ...op.addI32, ...op.set(local)];

function multiplyBody(): number[] {
  const sum = (into: number, factor: number, pair: number) => [
    ...[...op.get(into), ...op.get(factor), ...op.get(pair)],
    ...[...op.mul, ...op.add, ...op.set(into)],
  ];
  const alongRank = op.loop(
    ...PAIRS.map((pair, i) => [...op.get(B_AT), ...op.load(16 * i), ...op.set(pair)]),
    [...op.get(X_AT), ...op.loadSplat, ...op.set(X)],
    [...op.get(Y_AT), ...op.loadSplat, ...op.set(Y)],
    ...PAIRS.map((pair, i) => sum(SUMS[i]!, X, pair)),
    ...PAIRS.map((pair, i) => sum(SUMS[4 + i]!, Y, pair)),
    increase(X_AT, op.i32(8)),
    increase(Y_AT, op.i32(8)),
    increase(B_AT, op.i32(8 * BLOCK_COLUMNS)),
    increase(LEFT, op.i32(-1)),
    [...op.get(LEFT), ...op.repeatIf],
  );
  const stored = (sums: readonly number[], at: number[]) =>
    sums.flatMap((local, i) => [...at, ...op.get(local), ...op.toF32, ...op.storeHalf(8 * i)]);
  return [
    ...[...op.get(RANK), ...op.i32(8), ...op.mulI32, ...op.set(ROW_BYTES)],
    ...op.loop(
      ...SUMS.map((local) => [...op.zero, ...op.set(local)]),
      [...op.get(A), ...op.set(X_AT)],
      [...op.get(A), ...op.get(ROW_BYTES), ...op.addI32, ...op.set(Y_AT)],
      [...op.get(B), ...op.set(B_AT)],
      [...op.get(RANK), ...op.set(LEFT)],
      alongRank,
      stored(SUMS.slice(0, 4), op.get(OUT)),
      stored(SUMS.slice(4), [...op.get(OUT), ...op.get(STRIDE), ...op.addI32]),
      increase(A, op.get(ROW_BYTES), op.get(ROW_BYTES), op.addI32),
      increase(OUT, op.get(STRIDE), op.get(STRIDE), op.addI32),
      increase(ROWS, op.i32(-2)),
      [...op.get(ROWS), ...op.repeatIf],
    ),
  ];
}

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const text = (name: string) => [name.length, ...new TextEncoder().encode(name)];
  const section = (id: number, content: number[]) => [id, ...unsigned(content.length), ...content];
  const locals = [2, 5, I32, SUMS.length + PAIRS.length + 2, V128];
  const body = [...locals, ...multiplyBody(), 0x0b];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    // One type, of six numbers to none; one function of it.
    ...section(1, [1, 0x60, 6, ...new Array<number>(6).fill(I32), 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, ...unsigned(WORKSPACE_BYTES / PAGE_BYTES)]),
    ...section(7, [2, ...text("memory"), 2, 0, ...text("multiply"), 0, 0]),
    ...section(10, [1, ...unsigned(body.length), ...body]),
  ]);
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** Of numbers from -64 to 8191. */
function signed(value: number): number[] {
  return value < 0x40 ? [value & 0x7f] : [(value & 0x7f) | 0x80, value >> 7];
}
