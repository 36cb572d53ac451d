/**
 * @file Writes an LZR2 artifact with the true shapes of SDXL base 1.0's UNet and seeded random weights: by default 5.2 GB, a fifth
 * of the tensors spelled out weight by weight and the others as lattices with a small overlay, in an order of its own.
 * Usage: node scripts/synth-lzr2.ts OUT.lzr2 [--seed N] [--spelled FRACTION] [--under DP] [--overlay FRACTION]
 * `--spelled 1` is the published artifact's way, 8 bytes a weight throughout: 20.6 GB. `--under 6` puts a lattice of that dimension
 * under those tensors too, with 21.3 GB.
 */
import { type FileHandle, open, rename } from "node:fs/promises";
import { parseArgs } from "node:util";
import { deflateSync } from "node:zlib";
import { codebookSize } from "../src/codec/lattice.ts";
import { SDXL_BASE_UNET } from "../src/models/sdxl/base.ts";
import { unetSchema } from "../src/models/sdxl/unet.ts";
import { elementCount } from "../src/tensor/dtype.ts";
import { uniforms } from "./synth-sdxl/uniforms.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string", default: "0" },
    spelled: { type: "string", default: "0.2" },
    under: { type: "string", default: "0" },
    overlay: { type: "string", default: "0.04" },
  },
});
const out = positionals[0];
const [seed, spelled, overlaid, under] = [values.seed, values.spelled, values.overlay, values.under].map(Number);
if (
  out === undefined ||
  !Number.isSafeInteger(seed) ||
  !(spelled! >= 0 && spelled! <= 1) ||
  !(overlaid! >= 0 && overlaid! <= 1) ||
  !(Number.isInteger(under) && under! >= 0 && under! <= 6)
) {
  console.error(
    "Usage: node scripts/synth-lzr2.ts OUT.lzr2 [--seed N] [--spelled FRACTION] [--under 0..6] [--overlay FRACTION]",
  );
  process.exit(2);
}

const ROW_BYTES = 8;
const ROWS_AT_ONCE = 2 ** 19;
/** Unit normals that all values are cut from. */
const POOL_ELEMENTS = 2 ** 20;

const random = uniforms(seed!);
const pool = Float32Array.from({ length: POOL_ELEMENTS }, () => {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
});
const rowsBuffer = new ArrayBuffer(ROWS_AT_ONCE * ROW_BYTES);
const places = new Uint32Array(rowsBuffer);
const floats = new Float32Array(rowsBuffer);

/** Norms near 1, everything else small: activations stay finite. */
function statistics(name: string, shape: readonly number[]): { mean: number; spread: number } {
  if (shape.length === 1) return { mean: /norm.*weight$/.test(name) ? 1 : 0, spread: 0.02 };
  return { mean: 0, spread: 0.6 / Math.sqrt(elementCount(shape) / shape[0]!) };
}

async function writeRecord(file: FileHandle, name: string, shape: readonly number[]): Promise<void> {
  const rows = shape[0]!;
  const columns = elementCount(shape) / rows;
  const full = random() < spelled!;
  // The largest dimension at which overlay rows take 8 bytes.
  let dp = 10;
  while (dp > 1 && Math.max(rows, Math.ceil(columns / dp)) * dp >= 65536) dp--;
  if (full) dp = Math.max(1, under!);
  const blocks = full && under === 0 ? 0 : Math.ceil(columns / dp);
  const { mean, spread } = statistics(name, shape);
  const perRow = new Float32Array(rows * 2);
  for (let row = 0; row < rows; row++) {
    perRow[row] = mean / spread + 0.1 * (random() - 0.5); // w = (code + mean) scale
    perRow[rows + row] = spread * (0.75 + random() / 2);
  }
  const indices = new Uint16Array(rows * blocks);
  const size = codebookSize(dp);
  for (let i = 0; i < indices.length; i++) indices[i] = Math.floor(random() * size);
  const packed = deflateSync(new Uint8Array(indices.buffer), { level: 1 });
  const overlayRows = full ? rows * columns : Math.floor(rows * columns * overlaid!);
  await file.write(
    Buffer.concat([
      header(name, shape),
      words(dp),
      Buffer.alloc(rows * dp * 4),
      new Uint8Array(perRow.buffer),
      words(packed.byteLength),
      packed,
      words(overlayRows),
    ]),
  );
  const first = Math.floor(random() * POOL_ELEMENTS);
  // A stride without a common factor visits each cell at most once; 1 visits them in order.
  const stride = full ? 1 : Math.max(1, Math.floor((rows * columns) / Math.max(1, overlayRows)));
  for (let done = 0; done < overlayRows; done += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, overlayRows - done);
    let row = Math.floor((done * stride) / columns);
    let column = (done * stride) % columns;
    for (let i = 0; i < count; i++) {
      places[i * 2] = row | (column << 16);
      floats[i * 2 + 1] = mean + spread * pool[(first + done + i) & (POOL_ELEMENTS - 1)]!;
      column += stride;
      while (column >= columns) {
        column -= columns;
        row++;
      }
    }
    await file.write(new Uint8Array(rowsBuffer, 0, count * ROW_BYTES));
  }
}

function header(name: string, shape: readonly number[]): Buffer {
  const key = Buffer.from(name);
  return Buffer.concat([words(key.length), key, words(shape.length, ...shape), Buffer.of(1)]);
}

function words(...list: readonly number[]): Buffer {
  const buffer = Buffer.alloc(list.length * 4);
  for (const [i, value] of list.entries()) buffer.writeUInt32LE(value, i * 4);
  return buffer;
}

const tensors = [...unetSchema(SDXL_BASE_UNET)];
for (let i = tensors.length - 1; i > 0; i--) {
  const other = Math.floor(random() * (i + 1));
  [tensors[i], tensors[other]] = [tensors[other]!, tensors[i]!];
}
const startedMs = performance.now();
const partial = `${out}.partial`;
const file = await open(partial, "w");
await file.write("LZR2");
for (const [name, shape] of tensors) await writeRecord(file, name, shape);
const { size } = await file.stat();
await file.close();
await rename(partial, out);
console.error(
  `${(size / 1e9).toFixed(2)} GB, ${tensors.length} records in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`,
);
