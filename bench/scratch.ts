/**
 * @file Checks what ONNX Runtime takes for itself against the backend's scratchBytes: each different segment runs alone while
 * the kernel's peak of resident memory is reset and read (Linux). Usage: node bench/scratch.ts --model DIR [--width 512]
 * [--height 512] [--json FILE]. See bench/README.md.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Graph, Segment } from "../src/ir/graph.ts";
import { segmentSignature } from "../src/ir/signature.ts";
import { openSdxl } from "../src/models/sdxl/checkpoint.ts";
import { SDXL } from "../src/models/sdxl/family.ts";
import { openFileFolder } from "../src/node/files/file-folder.ts";
import { openOnnxBackend } from "../src/node/onnx.ts";
import { componentReaders } from "../src/pipeline/readers.ts";
import { segmentBlocks, storedWeights } from "../src/plan/describe.ts";
import { DTYPE_BYTES, elementCount } from "../src/tensor/dtype.ts";

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    width: { type: "string", default: "512" },
    height: { type: "string", default: "512" },
    json: { type: "string" },
  },
});
if (options.model === undefined || process.platform !== "linux") {
  console.error("Usage (Linux): node bench/scratch.ts --model DIR [--width N] [--height N] [--json FILE]");
  process.exit(2);
}

function statusBytes(field: "VmHWM" | "VmRSS"): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync("/proc/self/status", "utf8"));
  return Number(line?.[1]) * 1024;
}

await using checkpoint = await openSdxl(SDXL, await openFileFolder(options.model));
await using backend = await openOnnxBackend();
const readers = componentReaders(checkpoint, performance.now);
const shape = { batch: 2, width: Number(options.width), height: Number(options.height) } as const;
const { phases } = checkpoint.describe({ ...shape, modelCalls: 2, historyLength: 0, fp32: false });

interface Row {
  readonly segment: string;
  readonly plannedMiB: number;
  readonly measuredMiB: number;
}
const rows: Row[] = [];
const seen = new Set<string>();
for (const { graph, component } of phases.flatMap(({ passes }) => passes)) {
  const reader = readers.get(component)!;
  for (const segment of graph.segments) {
    const blocks = segmentBlocks(graph, segment, (name, weights) => reader.blocks(name, weights));
    const weights = storedWeights(graph, segment, blocks);
    const signature = segmentSignature(
      graph,
      segment,
      weights.map(({ dtype }) => (dtype === "f16" ? "f16" : "f32")),
    );
    if (seen.has(signature)) continue;
    seen.add(signature);
    rows.push(await measure(graph, segment, weights));
  }
}
rows.sort((a, b) => b.measuredMiB - a.measuredMiB);
console.table(rows.slice(0, 40));
const wrong = rows.filter(({ plannedMiB, measuredMiB }) => measuredMiB > plannedMiB + 4);
console.log(`${rows.length} different segments, ${wrong.length} take more than planned (by over 4 MiB)`);
console.table(wrong);
if (options.json) writeFileSync(options.json, `${JSON.stringify({ shape, rows }, null, 2)}\n`);

async function measure(graph: Graph, segment: Segment, weights: ReturnType<typeof storedWeights>): Promise<Row> {
  const planned = backend.scratchBytes(graph, segment, weights);
  const touched = (bytes: number) => new Uint8Array(bytes).fill(0x11);
  const floats = (id: number) => new Float32Array(touched(4 * elementCount(graph.values[id]!.shape)).buffer);
  const inputs = new Map(
    segment.inputs.map((id) => [
      id,
      graph.values[id]!.dtype === "i32" ? new Int32Array(elementCount(graph.values[id]!.shape)) : floats(id),
    ]),
  );
  const run = {
    graph,
    segment,
    inputs,
    outputs: new Map(segment.outputs.map((id) => [id, floats(id)])),
    weights: new Map(
      segment.weights.map((id, i) => {
        const { dtype, shape: of } = weights[i]!;
        return [id, { dtype, bytes: touched(elementCount(of) * DTYPE_BYTES[dtype]) }];
      }),
    ),
  };
  let mostBytes = 0;
  for (let i = 0; i < 2; i++) {
    writeFileSync("/proc/self/clear_refs", "5");
    const before = statusBytes("VmRSS");
    await backend.run(run);
    mostBytes = Math.max(mostBytes, statusBytes("VmHWM") - before);
  }
  const mib = (bytes: number) => Math.round((bytes / 1024 ** 2) * 10) / 10;
  return {
    segment: `${graph.name} ${segment.name}`,
    plannedMiB: mib(planned),
    measuredMiB: mib(mostBytes),
  };
}
