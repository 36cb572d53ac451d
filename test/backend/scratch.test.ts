/** @file Memory that ONNX Runtime takes while it runs a segment, measured in a process of its own: never more than was planned, and not far from it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { winogradScratchBytes } from "../../src/backend/onnx/winograd.ts";

const PROBE = fileURLToPath(new URL("scratch-probe.ts", import.meta.url));
/** Pages of the process itself that come and go meanwhile. */
const NOISE_BYTES = 4 * 1024 ** 2;
/** Of an upper bound: far from it, it would be none of this segment. */
const LEAST_SHARE = 0.4;

function canMeasure(): boolean {
  try {
    accessSync("/proc/self/clear_refs", constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const skip = canMeasure() ? {} : { skip: "this system's kernel tells no peak of a process's memory that can be reset" };

/** As `npm start` sets them: what is large is given back at once, so that a peak is one. */
const { malloc } = JSON.parse(readFileSync(new URL("../../bin/memory-settings.json", import.meta.url), "utf8"));

for (const name of ["winograd", "direct", "casts", "attention"]) {
  test(`scratch is as planned: ${name}`, skip, () => {
    const env = { ...process.env, ...malloc };
    const { stdout, stderr } = spawnSync(process.execPath, [PROBE, name], { encoding: "utf8", env });
    assert.notEqual(stdout, "", stderr);
    const { plannedBytes, takenBytes } = JSON.parse(stdout) as { plannedBytes: number; takenBytes: number };
    assert.ok(takenBytes <= plannedBytes + NOISE_BYTES, `${takenBytes} taken, ${plannedBytes} planned`);
    assert.ok(takenBytes > LEAST_SHARE * plannedBytes, `${takenBytes} taken of ${plannedBytes} planned`);
  });
}

test("Winograd's scratch, added up by hand", () => {
  // 512 channels to 512, 48 x 48: 12 x 12 tiles of 36 values, in two bands of 6 rows of tiles.
  const shape = { x: [1, 512, 48, 48], w: [512, 512, 3, 3], pad: [1, 1, 1, 1] };
  const kernels = 512 * 512 * 36 * 4;
  const band = 6 * 12 * (512 + 512) * 36 * 4;
  const results = 512 * 48 * 48 * 4;
  assert.equal(winogradScratchBytes(shape), kernels + 2 * band + 2 * results);
});
