/** @file A pull's transfers: gone on with, tried again, stopped, given up. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { PullEvent } from "../../src/library/pull-events.ts";
import { resolveHubModel } from "../../src/node/hub/cache.ts";
import { MODEL } from "./fake-hub.ts";
import { assertWhole, bench, bytesOf, distinct, failure, faulty, rangesOf, SMALL, UNET, VAE } from "./pull-bench.ts";

test("a part is gone on with by Range, and its old bytes are checked too", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
  writeFileSync(`${b.blob(UNET)}.incomplete`, unet.subarray(0, 100_000));
  const done = await b.pull();
  assert.deepEqual(rangesOf(b.hub, UNET), ["bytes=100000-"]);
  assert.ok(b.events.some((e) => e.type === "file" && e.file === UNET && e.haveBytes === 100_000));
  assert.equal(done.downloadedBytes, bytesOf(distinct(SMALL), SMALL) - 100_000);
  assertWhole(b);

  rmSync(b.repo, { recursive: true });
  mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
  writeFileSync(`${b.blob(UNET)}.incomplete`, Buffer.alloc(100_000));
  await assert.rejects(b.pull(), failure("E_HASH", /deleted/));
  assert.equal(existsSync(`${b.blob(UNET)}.incomplete`), false);
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
  await b.pull();
  assertWhole(b);
});

test("a part that is whole is only checked; one that is too long is begun anew", async (t) => {
  const b = await bench(t);
  mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
  writeFileSync(`${b.blob(UNET)}.incomplete`, b.hub.files.get(UNET)!);
  writeFileSync(`${b.blob(VAE)}.incomplete`, Buffer.alloc(50_000));
  await b.pull();
  assert.deepEqual([rangesOf(b.hub, UNET), rangesOf(b.hub, VAE)], [[], [undefined]]);
  assertWhole(b);
});

test("servers without ranges, with 416 or with another range make it begin anew", async (t) => {
  const b = await bench(t);
  const cases: [string, () => void][] = [
    [
      "200",
      () => {
        b.hub.ranges = false;
      },
    ],
    [
      "416",
      () => {
        b.hub.fault = faulty(UNET, 1, (_, response) => response.writeHead(416).end());
      },
    ],
    [
      "206",
      () => {
        const wrong = { "Content-Range": "bytes 0-9/300000" };
        b.hub.fault = faulty(UNET, 1, (_, response) => response.writeHead(206, wrong).end("0123456789"));
      },
    ],
  ];
  for (const [name, prepare] of cases) {
    rmSync(b.repo, { recursive: true, force: true });
    mkdirSync(path.join(b.repo, "blobs"), { recursive: true });
    writeFileSync(`${b.blob(UNET)}.incomplete`, Buffer.alloc(1000));
    b.hub.ranges = true;
    prepare();
    b.hub.requests.length = 0;
    await b.pull();
    assert.equal(rangesOf(b.hub, UNET)[0], "bytes=1000-", name);
    assertWhole(b);
  }
});

test("a body that ends too early is gone on with", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  b.hub.fault = faulty(UNET, 1, (_, response) => {
    response.writeHead(200, { "Content-Length": unet.length });
    response.write(unet.subarray(0, 120_000), () => response.destroy());
  });
  await b.pull();
  const ranges = rangesOf(b.hub, UNET);
  assert.equal(ranges.length, 2);
  assert.match(ranges[1] ?? "", /^bytes=[1-9]\d*-$/);
  assert.ok(b.events.some((e) => e.type === "retry"));
  assertWhole(b);
});

test("a body that always ends too early is given up, and its part kept", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  b.hub.fault = faulty(UNET, 99, ({ range }, response) => {
    const from = Number(/\d+/.exec(range ?? "0")![0]);
    const headers = { "Content-Length": unet.length - from, "Content-Range": `bytes ${from}-299999/300000` };
    response.writeHead(from > 0 ? 206 : 200, headers);
    response.write(unet.subarray(from, from + 10), () => response.destroy());
  });
  await assert.rejects(b.pull(), failure("E_NETWORK", /goes on where it stopped/));
  const part = readFileSync(`${b.blob(UNET)}.incomplete`);
  assert.ok(part.length > 0 && part.equals(unet.subarray(0, part.length)));
  assert.equal(existsSync(b.blob(UNET)), false);
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
});

test("passing failures are tried again, with the wait the server asks for; others say what to do", async (t) => {
  const b = await bench(t);
  const waits: number[] = [];
  const clock = { sleep: async (ms: number) => void waits.push(ms) };
  let answers: [number, Record<string, string>][] = [
    [500, {}],
    [429, { "Retry-After": "7" }],
    [503, {}],
  ];
  b.hub.fault = (_, response, name) => {
    const next = name === "api" ? answers.shift() : undefined;
    if (next) response.writeHead(...next).end();
    return next !== undefined;
  };
  await b.pull({ clock });
  assert.deepEqual(waits, [1000, 7000, 4000]);

  const cases: [string, RegExp, [number, Record<string, string>][]][] = [
    ["E_NETWORK", /answered 503 \(tried 5 times\)/, new Array<[number, Record<string, string>]>(9).fill([503, {}])],
    ["E_NETWORK", /wait 60 minutes/, [[429, { "Retry-After": "3600" }]]],
    ["E_HUB_AUTH", /set HF_TOKEN/, [[401, { "X-Error-Code": "RepoNotFound" }]]],
    ["E_HUB_GATED", /accept its terms, set HF_TOKEN/, [[401, { "X-Error-Code": "GatedRepo" }]]],
    ["E_HUB_GATED", /accept its terms/, [[403, {}]]],
    ["E_HUB_NOT_FOUND", /spelling/, [[404, { "X-Error-Code": "RepoNotFound" }]]],
    ["E_HUB_NOT_FOUND", /--revision/, [[404, { "X-Error-Code": "RevisionNotFound" }]]],
    ["E_HUB", /answered 418/, [[418, {}]]],
  ];
  for (const [code, words, list] of cases) {
    answers = [...list];
    await assert.rejects(b.pull({ clock }), failure(code, words));
  }
});

test("an abort keeps what has come, and the next pull goes on from there", async (t) => {
  const b = await bench(t);
  const unet = b.hub.files.get(UNET)!;
  b.hub.fault = faulty(UNET, 1, (_, response) => {
    response.writeHead(200, { "Content-Length": unet.length });
    response.write(unet.subarray(0, 150_000));
  });
  const stop = new AbortController();
  const onEvent = (event: PullEvent) => {
    const before = [...SMALL].filter(([name]) => name !== UNET).reduce((sum, [, bytes]) => sum + bytes.length, 0);
    if (event.type === "progress" && event.file === UNET && event.doneBytes >= before + 150_000)
      stop.abort(new Error("enough"));
  };
  await assert.rejects(b.pull({ onEvent, signal: stop.signal }), /enough/);
  assert.equal(statSync(`${b.blob(UNET)}.incomplete`).size, 150_000);
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
  await b.pull();
  assert.deepEqual(rangesOf(b.hub, UNET), [undefined, "bytes=150000-"]);
  assertWhole(b);
});

test("a silent server is given up after the set time", async (t) => {
  const b = await bench(t);
  b.hub.fault = faulty(UNET, 1, (_, response) => {
    response.writeHead(200, { "Content-Length": 300_000 });
    response.write(Buffer.from(SMALL.get(UNET)!.subarray(0, 10)));
  });
  await b.pull({ env: { ...b.env, HF_HUB_DOWNLOAD_TIMEOUT: "0.2" } });
  assert.ok(b.events.some((e) => e.type === "retry" && /silent for 0.2 seconds/.test(e.problem)));
  assertWhole(b);
});
