/** @file Server-sent events as bytes: how each is written, and that a reader who goes ends what makes them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { eventStream } from "../../src/server/http/sse.ts";

test("each event is its id, its name and one line of JSON, and the stream ends with its events", async () => {
  const answer = eventStream(async function* () {
    yield { event: "step", data: { text: "a\nb\r\u2028" }, id: 0 };
    yield { event: "done", data: null };
  });
  assert.equal(answer.headers.get("content-type"), "text/event-stream");
  assert.equal(answer.headers.get("cache-control"), "no-store");
  assert.equal(
    await answer.text(),
    'id: 0\nevent: step\ndata: {"text":"a\\nb\\r\u2028"}\n\nevent: done\ndata: null\n\n',
  );
});

test("nothing is asked of the events before somebody reads; a reader who goes ends them, also while they wait", async () => {
  for (const isRead of [true, false]) {
    let told = 0;
    let ended = false;
    const reader = eventStream(async function* (signal) {
      try {
        yield { event: "step", data: ++told };
        // The next one never comes.
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      } finally {
        ended = true;
      }
    }).body!.getReader();
    assert.equal(told, 0);
    await reader.read();
    const next = isRead ? reader.read() : undefined;
    // Until the events are asked for the next one.
    await turn();
    await reader.cancel();
    await next;
    assert.deepEqual([told, ended], [1, true]);
  }
});

test("a stream in which nothing happens says every 15 s that it lives, and loses nothing of what comes then", async ({
  mock,
}) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const coming = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const reader = eventStream(async function* () {
    for (const [at, { promise }] of coming.entries()) {
      await promise;
      yield { event: "step", data: at };
    }
  }).body!.getReader();
  const next = async () => {
    const { value } = await reader.read();
    return value === undefined ? undefined : new TextDecoder().decode(value);
  };
  for (const [at, { resolve }] of coming.entries()) {
    for (let signs = 0; signs < 2; signs++) {
      const sign = next();
      await turn();
      mock.timers.tick(15_000);
      assert.equal(await sign, ": still here\n\n");
    }
    const event = next();
    await turn();
    mock.timers.tick(14_999);
    resolve();
    assert.equal(await event, `event: step\ndata: ${at}\n\n`);
  }
  assert.equal(await next(), undefined);
});
