/** @file The bytes of weights as they are stored, for comparisons. */
import type { TensorTable } from "../../src/container/table.ts";

export async function bytesOf(table: TensorTable): Promise<Map<string, Buffer>> {
  const all = new Map<string, Buffer>();
  for (const [name, { source, startByte, endByte }] of table) {
    const bytes = Buffer.alloc(endByte - startByte);
    await source.read(startByte, bytes);
    all.set(name, bytes);
  }
  return all;
}
