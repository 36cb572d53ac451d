/** @file One picture of an engine, which must take no more device memory than the plan that it told. */
import assert from "node:assert/strict";
import type { Engine, GenerateJob } from "../../src/node.ts";

export async function drawWithinPlan(engine: Engine, job: GenerateJob): Promise<Uint8Array<ArrayBuffer>> {
  let planned = 0;
  for await (const event of engine.generate(job)) {
    if (event.type === "plan") planned = event.plan.peak.deviceBytes;
    if (event.type !== "image") continue;
    assert.ok(event.peakDeviceBytes <= planned, `${event.peakDeviceBytes} of ${planned} bytes`);
    return new Uint8Array(event.bytes);
  }
  throw new Error("the job ended without a picture");
}
