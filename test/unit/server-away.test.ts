/** @file What a server does about a store or a database that is away, and about a picture's file that is not what it was. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256Hex } from "../../src/node/hash.ts";
import { Away, patiently } from "../../src/server/away.ts";
import { Assets } from "../../src/server/pictures/assets.ts";

const away = () => new Away({ code: "E_DATABASE", problem: "away", next: "wait" });

test("what is away is asked again; not after the signal, not when patience is over, and not for any other failure", async () => {
  let calls = 0;
  const asking = (error: () => Error, failures: number, options: Parameters<typeof patiently>[1]) => {
    calls = 0;
    return patiently(async () => {
      if (calls++ < failures) throw error();
      return calls;
    }, options);
  };
  assert.equal(await asking(away, 1, { patienceMs: 10_000 }), 2);
  for (const [error, options] of [
    [away, { patienceMs: 10_000, signal: AbortSignal.abort() }],
    [away, { patienceMs: 0 }],
    [() => new TypeError("ours"), { patienceMs: 10_000 }],
  ] as const) {
    await assert.rejects(asking(error, 9, options));
    assert.equal(calls, 1);
  }
});

test("a picture whose file holds other bytes than its hash says is none", async () => {
  const bytes = new Uint8Array([1, 2, 3]);
  const sha256 = sha256Hex(bytes);
  const row = { sha256, name: "x.png", media_type: "image/png", bytes: 3, width: 1, height: 1 };
  const assets = (stored: Uint8Array | undefined) =>
    new Assets({ query: async () => [row] } as never, { get: async () => stored } as never);
  assert.deepEqual((await assets(bytes).read(sha256))?.bytes, bytes);
  assert.equal(await assets(new Uint8Array([1, 2, 4])).read(sha256), undefined);
  assert.equal(await assets(undefined).read(sha256), undefined);
});
