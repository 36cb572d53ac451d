/** @file Matrix products in WebAssembly: bit for bit those of the plain loop, whatever the sizes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { multiplyPanels, PackedMatrix, packedBytes } from "../../src/adapters/made/packed-matrix.ts";
import { productKernel, WORKSPACE_BYTES } from "../../src/adapters/made/product-kernel.ts";
import { drawer } from "../support/adapters.ts";
import { sameBytes } from "../support/same.ts";

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);

test("here there is such a kernel, with as much memory as plans count", () => {
  assert.equal(productKernel()?.memory.byteLength, WORKSPACE_BYTES);
});

for (const [rows, rank, columns] of [
  [1, 3, 5],
  [2, 1, 1],
  [3, 7, 4],
  [5, 16, 12],
  [8, 64, 40],
  [7, 4, 8],
  // More than fits the kernel's memory at once, and too wide for two rows.
  [101, 33, 5000],
  [3, 2, 300_000],
] as const) {
  test(`[${rows}, ${rank}] times [${rank}, ${columns}]`, () => {
    const draw = drawer(rows * 100 + rank);
    const a = Float32Array.from(draw([rows, rank], 3));
    // What has no bits to spare, and what no number is.
    a[0] = 1e30;
    if (rank > 2) a[rank - 1] = Number.NaN;
    const b = Float32Array.from(draw([rank, columns], 3));
    const matrix = new PackedMatrix(rank, columns);
    const panels = new Float32Array(packedBytes(rank, columns) / 4);
    for (let r = 0; r < rank; r++) {
      matrix.setRow(r, b.subarray(r * columns, (r + 1) * columns));
      for (let c = 0; c < columns; c++) panels[Math.floor(c / 4) * 4 * rank + r * 4 + (c % 4)] = b[r * columns + c]!;
    }
    const [found, expected] = [new Float32Array(rows * columns), new Float32Array(rows * columns)];
    matrix.multiply(a, rows, found);
    multiplyPanels(a, panels, expected, rows, rank, columns);
    sameBytes(bytesOf(found), bytesOf(expected), "the kernel's");
    // And the plain loop's are sums of products.
    const last = rows - 1;
    const sum = Array.from({ length: rank }, (_, r) => a[last * rank + r]! * b[r * columns + columns - 1]!);
    if (last > 0) assert.equal(found.at(-1), Math.fround(sum.reduce((total, value) => total + value, 0)));
  });
}
