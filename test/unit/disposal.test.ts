/** @file Our stacks and error for platforms without explicit resource management: they do what the platform's own do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { firstFailure } from "../../src/errors.ts";
import { AsyncDisposableStackClass, DisposableStackClass, SuppressedErrorClass } from "../../src/node/disposal.ts";

function failing(name: string, log: string[]): () => void {
  return () => {
    log.push(name);
    throw new Error(name);
  };
}

/** The messages of nested errors, the latest first. */
function messages(error: unknown): string[] {
  if (!(error instanceof Error)) return [String(error)];
  if (error.name !== "SuppressedError") return [error.message];
  const { error: later, suppressed } = error as SuppressedError;
  return [...messages(later), ...messages(suppressed)];
}

function useStack(Stack: typeof DisposableStack): unknown[] {
  const log: string[] = [];
  const stack = new Stack();
  const used = { [Symbol.dispose]: () => void log.push("used") };
  assert.equal(stack.use(used), used);
  assert.equal(stack.use(null), null);
  stack.adopt("adopted", (value) => void log.push(value));
  stack.defer(failing("first", log));
  stack.defer(failing("second", log));
  const moved = stack.move();
  const found: unknown[] = [stack.disposed, moved.disposed, String(stack), moved instanceof Stack];
  try {
    moved.dispose();
  } catch (error) {
    found.push(messages(error));
  }
  moved.dispose();
  for (const wrong of [() => moved.defer(() => {}), () => moved.move(), () => new Stack().use({} as Disposable)]) {
    try {
      wrong();
    } catch (error) {
      found.push((error as Error).name);
    }
  }
  return [...found, ...log];
}

async function useAsyncStack(Stack: typeof AsyncDisposableStack): Promise<unknown[]> {
  const log: string[] = [];
  const stack = new Stack();
  stack.use({ [Symbol.asyncDispose]: async () => void log.push("async") });
  stack.use({ [Symbol.dispose]: () => void log.push("sync") });
  stack.adopt("adopted", async (value) => void log.push(value));
  stack.defer(async () => failing("first", log)());
  stack.defer(failing("second", log));
  const moved = stack.move();
  const found: unknown[] = [stack.disposed, moved.disposed, String(stack), moved instanceof Stack];
  await moved.disposeAsync().catch((error) => found.push(messages(error)));
  await moved[Symbol.asyncDispose]();
  for (const wrong of [() => moved.defer(() => {}), () => moved.move(), () => new Stack().use({} as AsyncDisposable)]) {
    try {
      wrong();
    } catch (error) {
      found.push((error as Error).name);
    }
  }
  return [...found, ...log];
}

test("a stack gives back in reverse order and joins what fails, as the platform's does", () => {
  const found = useStack(DisposableStackClass);
  assert.deepEqual(found, useStack(DisposableStack));
  assert.deepEqual(found.slice(4, 5), [["first", "second"]]);
});

test("... and the asynchronous one", async () => {
  assert.deepEqual(await useAsyncStack(AsyncDisposableStackClass), await useAsyncStack(AsyncDisposableStack));
});

test("the error that holds two is named and read as the platform's", () => {
  const ours = new SuppressedErrorClass("later", "earlier", "both");
  const theirs = new SuppressedError("later", "earlier", "both");
  for (const key of ["name", "message", "error", "suppressed"] as const) assert.equal(ours[key], theirs[key]);
  assert.equal(firstFailure(theirs), "earlier");
});
