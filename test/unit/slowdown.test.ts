/** @file When weights come slower than before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SlowdownWatch } from "../../src/pipeline/slowdown.ts";
import { Telemetry } from "../../src/stream/telemetry.ts";

const MB = 1e6;

test("a rate below a quarter of the best is told, once", () => {
  const watch = new SlowdownWatch();
  assert.equal(watch.observe(400 * MB, 100), undefined); // 4 GB/s
  assert.equal(watch.observe(100 * MB, 100), undefined); // a quarter
  assert.match(watch.observe(90 * MB, 100) ?? "", /at 0\.90 GB\/s, 4\.00 GB\/s before/);
  assert.equal(watch.observe(90 * MB, 100), undefined);
});

test("it is the best rate so far that counts, not the first", () => {
  const watch = new SlowdownWatch();
  for (const gbps of [1, 8, 2.1]) assert.equal(watch.observe(gbps * 1e9, 1000), undefined, `${gbps} GB/s`);
  assert.match(watch.observe(1.9e9, 1000)!, /at 1\.90 GB\/s, 8\.00 GB\/s before/);
});

test("the first steps, growing rates and a few bytes tell nothing", () => {
  const watch = new SlowdownWatch();
  for (const mb of [10, 100, 1000]) assert.equal(watch.observe(mb * MB, 100), undefined);
  assert.equal(watch.observe(0, 100), undefined);
  assert.equal(watch.observe(0, 0), undefined);
  assert.equal(watch.observe(MB / 2, 100), undefined);
});

test("telemetry sums up what came since it was cleared", () => {
  const telemetry = new Telemetry();
  assert.deepEqual(telemetry.loaded, { bytes: 0, ms: 0 });
  telemetry.load({ key: "a", storedBytes: 5, diskBytes: 5, readMs: 1, decodeMs: 1, uploadMs: 1 });
  telemetry.load({ key: "b", storedBytes: 7, diskBytes: 0, readMs: 1, decodeMs: 0, uploadMs: 2 });
  assert.deepEqual(telemetry.loaded, { bytes: 12, ms: 5 });
});
