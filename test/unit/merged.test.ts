/** @file Several generators as one: what they give and whose it is, and that none is left at work. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { merged } from "../../src/pipeline/merged.ts";

const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** Gives its items one by one, each after some of the event loop's turns; notes what becomes of it. */
function worker(events: string[], name: string, items: readonly number[], wait: number, failsAfter = false) {
  return (async function* () {
    try {
      for (const item of items) {
        await turns(wait);
        events.push(`${name} has ${item}`);
        yield item;
      }
      await turns(wait);
      if (failsAfter) throw new Error(`${name} broke`);
    } finally {
      events.push(`${name} ended`);
    }
  })();
}

test("all items come with whose they are, each generator's in its order, and nobody is stopped before the end", async () => {
  const events: string[] = [];
  const generators = [worker(events, "a", [1, 2], 3), worker(events, "b", [3, 4, 5], 1), worker(events, "c", [], 1)];
  const found: string[] = [];
  for await (const { index, item } of merged(generators, () => events.push("stop"))) found.push(`${index}:${item}`);
  assert.deepEqual(found.toSorted(), ["0:1", "0:2", "1:3", "1:4", "1:5"]);
  assert.deepEqual(
    found.filter((each) => each.startsWith("1")),
    ["1:3", "1:4", "1:5"],
  );
  assert.equal(found[0], "1:3", "the quicker one first");
  assert.deepEqual(events.at(-1), "stop");
});

test("a generator works on only once what it has given was taken", async () => {
  const events: string[] = [];
  const all = merged([worker(events, "a", [1, 2], 0)], () => {});
  await all.next();
  await turns(5);
  assert.deepEqual(events, ["a has 1"]);
  await all.return();
  assert.deepEqual(events, ["a has 1", "a ended"]);
});

test("one breaks, or whoever listens leaves: the others are stopped, and have ended before that is told", async () => {
  for (const breaks of [true, false]) {
    const events: string[] = [];
    const generators = [
      worker(events, "a", [1], 1, breaks),
      worker(events, "b", [2], 30),
      worker(events, "c", [3], 30),
    ];
    const listen = async () => {
      for await (const _ of merged(generators, () => events.push("stop"))) if (!breaks) return;
    };
    if (breaks) await assert.rejects(listen(), /a broke/);
    else await listen();
    assert.equal(events[0], "a has 1");
    const stopped = events.indexOf("stop");
    for (const name of ["b", "c"]) {
      assert.ok(events.indexOf(`${name} ended`) > stopped, `${name} has ended`);
      assert.ok(events.indexOf(`${name} has ${name === "b" ? 2 : 3}`) > stopped, `${name} was at work`);
    }
    assert.ok(events.includes("a ended"));
  }
});
