/** @file The shared check refuses backends that are nearly right. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Backend, SegmentRun } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { f16ToNumber, numberToF16 } from "../../src/tensor/dtype.ts";
import { drawData, requireAgreement, segmentGraph } from "./conformance.ts";
import { SEGMENT_CASES } from "./segment-cases.ts";

/** The reference backend with a fault: `before` may change what is run, `after` spoils its results. */
function faulty(fault: {
  readonly before?: (run: SegmentRun) => SegmentRun;
  readonly after?: (data: Float32Array) => void;
}): Backend {
  const backend = createReferenceBackend();
  return {
    ...backend,
    async run(run, signal) {
      await backend.run(fault.before?.(run) ?? run, signal);
      for (const data of run.outputs.values()) fault.after?.(data);
    },
  };
}

const FAULTS: Readonly<Record<string, Backend>> = {
  "rounds results to fp16": faulty({ after: (data) => data.set(data.map((x) => f16ToNumber(numberToF16(x)))) }),
  "spoils one number of many": faulty({
    after: (data) => {
      data[data.length - 1]! += 1e-3 * data.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    },
  }),
  "leaves results unwritten": faulty({ after: (data) => data.fill(Number.NaN, 0, 1) }),
  "takes bf16 for f16": faulty({
    before: (run) => ({
      ...run,
      weights: new Map([...run.weights].map(([id, weight]) => [id, { ...weight, dtype: "f16" }])),
    }),
  }),
};

test("the reference backend passes", async () => {
  for (const item of SEGMENT_CASES) {
    const graph = segmentGraph(item);
    await requireAgreement(createReferenceBackend(), graph, drawData(graph, 1), "bf16");
  }
});

for (const [name, backend] of Object.entries(FAULTS)) {
  test(`a backend that ${name} fails`, async () => {
    const graph = segmentGraph(SEGMENT_CASES[0]!);
    await assert.rejects(requireAgreement(backend, graph, drawData(graph, 1), "bf16"), assert.AssertionError);
  });
}
