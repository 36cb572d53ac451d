/** @file Errors on their way from the engine's thread: their class, and what failed first. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DeviceMemoryError } from "../../src/backend/device.ts";
import { packError, unpackError } from "../../src/engine/messages.ts";
import { ArtifactError, BudgetError, DeviceError, firstFailure, SolvayError, UsageError } from "../../src/errors.ts";
import { describeFailure } from "../../src/terminal/failure.ts";

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

test("what the operating system said arrives: its code and path decide about message and exit code", () => {
  const error = Object.assign(new Error("EACCES: permission denied, open '/m/x'"), { code: "EACCES", path: "/m/x" });
  const arrived = cross(error) as NodeJS.ErrnoException;
  assert.deepEqual([arrived.message, arrived.code, arrived.path], [error.message, "EACCES", "/m/x"]);
  assert.equal(describeFailure(arrived).code, "E_ACCESS");
  const foreign = cross(new DOMException("odd", "DataCloneError")) as NodeJS.ErrnoException;
  assert.deepEqual([foreign.message, foreign.code], ["odd", undefined]);
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
