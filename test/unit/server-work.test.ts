/** @file A worker without a database: its signs of life, what becomes of a job by how it ended, and which saved state it may go on from. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { BudgetError, DeviceError, UsageError } from "../../src/errors.ts";
import { Away } from "../../src/server/away.ts";
import { Drawing, type DrawingParts, ModelNotHere } from "../../src/server/work/drawing.ts";
import { SavedStates, type SavedStatesOptions } from "../../src/server/work/saved-states.ts";
import { work } from "../../src/server/work/worker.ts";

const fields = { code: "E_X", problem: "the test says so", next: "ask for something else" };
const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve())));

test("a worker's signs of life are given one by one, a failed one is told of, and the last is over before it leaves", async ({
  mock,
}) => {
  mock.timers.enable({ apis: ["setInterval"] });
  const said: string[] = [];
  const beats: PromiseWithResolvers<void>[] = [];
  const stop = new AbortController();
  const seen = async () => {
    said.push("seen");
    // The first one is told of the model that is open.
    if (said.length > 1) await beats[beats.push(Promise.withResolvers()) - 1]!.promise;
  };
  const entries = { enter: async () => "1", seen, leave: async () => void said.push("left") };
  const claims = { claim: async () => undefined, endRefused: async () => void said.push("refused") };
  const engine = { info: {}, [Symbol.asyncDispose]: async () => void said.push("closed") };
  const over = work(
    {
      ...{
        entries,
        claims,
        touchMs: 10,
        models: ["a"],
        contents: async () => ({}),
        log: { waiting: new Promise(() => {}) },
      },
      ...{ open: async () => ({ engine, states: {} }), onOpened() {}, onTrouble: (what: string) => said.push(what) },
    } as never,
    stop.signal,
  );
  for (let turns = 0; turns < 50; turns++) await turn();
  mock.timers.tick(10);
  mock.timers.tick(30);
  assert.equal(beats.length, 1);
  beats[0]!.reject(new Error("away"));
  await turn();
  mock.timers.tick(10);
  assert.equal(beats.length, 2);
  beats[1]!.resolve();
  await turn();
  mock.timers.tick(10);
  stop.abort();
  for (let turns = 0; turns < 5; turns++) await turn();
  assert.deepEqual(said.splice(0), ["seen", "seen", "no sign of life can be given", "seen", "refused", "seen"]);
  beats[2]!.resolve();
  await over;
  assert.deepEqual(said, ["refused", "left", "closed"]);
});

function drawing(closing: AbortSignal) {
  const said: unknown[] = [];
  const told =
    (name: string) =>
    async (_: unknown, ...more: readonly unknown[]) => {
      said.push([name, ...more.filter((each) => typeof each === "boolean")].join(" "));
    };
  const parts = {
    claims: { touch: async () => true, giveBack: told("back"), fail: told("failed"), refuse: told("refused") },
    log: {
      last: 0,
      since: (_: number, signal: AbortSignal) => ({
        [Symbol.asyncIterator]: () => ({
          next: async () => {
            await untilAborted(signal);
            return { done: true, value: undefined };
          },
        }),
      }),
    },
    stateStore: { remove: told("removed") },
    ...{ previews: { end() {} }, live: { end() {} }, touchMs: 1000, worker: "1", onTrouble() {} },
  };
  return { said, drawn: new Drawing(parts as unknown as DrawingParts, { record: { id: "1" } } as never, closing) };
}

test("how a job ended says what becomes of it, whose fault that was, and whether the engine is broken", async () => {
  const device = new DeviceError(fields);
  const ends: readonly (readonly [Error, boolean, readonly string[], boolean])[] = [
    [device, false, ["back false"], true],
    [device, true, ["back false"], true],
    [new Away(fields), false, ["back true"], false],
    [new ModelNotHere("no"), false, ["back true"], false],
    [new Error("secret"), true, ["back false"], false],
    [new BudgetError(fields), false, ["refused"], false],
    [new UsageError({ ...fields, code: "E_UPSCALER" }), false, ["refused"], false],
    [new UsageError(fields), false, ["failed", "removed"], false],
    [new Error("secret"), false, ["failed", "removed"], false],
  ];
  for (const [error, together, calls, isBroken] of ends) {
    const { said, drawn } = drawing(new AbortController().signal);
    drawn.fail(error, together);
    assert.equal(await drawn.over, isBroken, String(error));
    assert.deepEqual(said, calls, `${error} ${together}`);
  }
  // Whatever it ends by, a worker that closes has no blame to give.
  const { said, drawn } = drawing(AbortSignal.abort());
  drawn.fail(device);
  assert.deepEqual([await drawn.over, said], [false, ["back true"]]);
});

test("a saved state is gone on from by the same job, model, precision, backend and card alone, and as whole as it was saved", async () => {
  const files = new Map<string, Uint8Array>();
  const store = {
    put: async (name: string, pieces: readonly Uint8Array[]) => void files.set(name, Buffer.concat(pieces)),
    get: async (name: string) => files.get(name),
  };
  const info = { model: "/m", backend: "webgpu", adapter: "a card", precision: "fp16" };
  const states = (info: object, modelContent: string | undefined) =>
    new SavedStates({ store, request: { model: "/m" }, info, modelContent } as unknown as SavedStatesOptions);
  const job = { prompt: "a", seed: 1, steps: 9 };
  const state = { step: 3, x: new Float32Array([1, 2, 3, 4]), history: [new Float32Array([5, 6, 7, 8])] };
  await states(info, "c").save("1", job, state, 9);
  const read = async (id: string, asked: object, info: object, content: string | undefined) =>
    await states(info, content).read(id, asked as never);
  const found = await read("1", { steps: 9, seed: 1, prompt: "a" }, info, "c");
  assert.deepEqual([found?.step, found?.x, found?.history], [state.step, state.x, state.history]);
  const { adapter: _, ...without } = info;
  const others: readonly (readonly [string, object, object, string | undefined])[] = [
    ["2", job, info, "c"],
    ...[{ prompt: "b" }, { seed: 2 }, { steps: 8 }, { guidance: 1 }].map(
      (change) => ["1", { ...job, ...change }, info, "c"] as const,
    ),
    ...[{ model: "/n" }, { backend: "cpu" }, { adapter: "b" }, { precision: "fp32" }].map(
      (change) => ["1", job, { ...info, ...change }, "c"] as const,
    ),
    ["1", job, without, "c"],
    ["1", job, info, "d"],
    ["1", job, info, undefined],
  ];
  for (const other of others) assert.equal(await read(...other), undefined, JSON.stringify(other));
  const [bytes] = files.values();
  bytes![bytes!.length - 1]! ^= 1;
  assert.equal(await read("1", job, info, "c"), undefined);
});
