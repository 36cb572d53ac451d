/** @file What is compiled for one picture size goes when another is drawn: it would pile up beside every budget. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { HostDevice } from "../../src/backend/host-device.ts";
import type { OnnxBackend } from "../../src/backend/onnx/backend.ts";
import { composeEngine } from "../../src/engine/engine.ts";
import { GiB } from "../../src/ledger/byte-text.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import { openOnnxBackend } from "../../src/node/onnx.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));

async function openCounted(backend: OnnxBackend) {
  const parts = await openNodeParts({ model: MODEL, backend: "reference" }, (path) => path);
  await parts.compute.device[Symbol.asyncDispose]();
  return await composeEngine({
    ...parts,
    compute: { ...parts.compute, backend: "cpu", device: new HostDevice(backend) },
    budgets: { vram: { bytes: GiB }, ram: { bytes: GiB } },
  });
}

test("sessions of one picture size are held at a time, and of few numbers of steps", async () => {
  const backend = await openOnnxBackend(1);
  await using engine = await openCounted(backend);
  const sessionsAfter = async (width: number, steps: number) => {
    for await (const _ of engine.generate({ prompt: "a hill", seed: 1, width, height: 16, steps, guidance: 1 }));
    return backend.sessionCount;
  };
  const alone = await sessionsAfter(24, 1);
  assert.ok(alone > 10, `${alone} sessions`);
  for (const width of [16, 32, 40, 48, 56]) await sessionsAfter(width, 1);
  assert.ok(
    (await sessionsAfter(24, 1)) <= alone,
    `${backend.sessionCount} sessions after six sizes, ${alone} at first`,
  );
  const most = [];
  for (const steps of [2, 3, 4, 5, 6, 7, 8, 9]) most.push(await sessionsAfter(24, steps));
  assert.ok(Math.max(...most) < 1.5 * alone, `${most} sessions for other numbers of steps, ${alone} for one`);
});
