/** @file Errors on their way from the engine's thread: their class, and what failed first. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DeviceMemoryError } from "../../src/backend/device.ts";
import { packError, unpackError } from "../../src/engine-messages.ts";
import { ArtifactError, BudgetError, DeviceError, firstFailure, SolvayError, UsageError } from "../../src/errors.ts";

const fields = { code: "E_X", subject: "thing", problem: "broken", next: "mend it" };
const cross = (error: unknown) => unpackError(structuredClone(packError(error)), undefined);

test("an error arrives as the public class that it is one of", () => {
  for (const Class of [ArtifactError, BudgetError, DeviceError, UsageError, SolvayError]) {
    const arrived = cross(new Class(fields));
    assert.equal((arrived as object).constructor, Class);
    assert.equal((arrived as Error).message, "E_X thing: broken. Next: mend it.");
  }
  assert.equal((cross(new DeviceMemoryError(fields)) as object).constructor, BudgetError);
});

test("what failed first is told, not what failed while things were given back", async () => {
  const first = new DeviceError(fields);
  const closing = async () => {
    await using stack = new AsyncDisposableStack();
    stack.defer(() => Promise.reject(new Error("settling")));
    stack.defer(() => Promise.reject(new Error("freeing")));
    throw first;
  };
  const thrown = await closing().catch((error: unknown) => error);
  assert.notEqual(thrown, first);
  assert.equal(firstFailure(thrown), first);
  assert.ok(cross(thrown) instanceof DeviceError);
  const abort = new DOMException("stop", "AbortError");
  assert.deepEqual(packError(new SuppressedError(new Error("settling"), abort)), { kind: "abort" });
  assert.equal(firstFailure("text"), "text");
});
