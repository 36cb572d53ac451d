/**
 * @file A server under bad requests made from its own document, a burst of good ones, and many readers of its events: nothing of ours fails,
 * nothing stays in memory, health is answered. 10,000 requests each with SOLVAY_TEST_THOROUGH=1, which tells times too.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { Agent, request as rawRequest } from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import v8 from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { DocumentedAnswers } from "../support/documented-answers.ts";
import { type MadeRequest, type OpenApi, requestsOf } from "../support/request-generator.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";
import { searched } from "../support/thorough.ts";

const REQUESTS = searched(200, 10_000);
const AT_ONCE = 8;
const MAX_REFUSAL_CHARS = 50_000;
/** Of all that is kept for a while: events, jobs, what the clients of this process hold. */
const MAX_GROWTH_BYTES = 24 * 2 ** 20;

let folder: string;
let server: RunningServer;
/** With 100 readers beside them fewer than the server takes. */
const agent = new Agent({ keepAlive: true, maxSockets: 24 });
v8.setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

before(async () => {
  folder = await serverFolder();
  server = await pretendingServer({ folder, queueLimit: 12 });
});
after(async () => {
  agent.destroy();
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** Ends a stream of events once it has begun. */
function send(made: MadeRequest): Promise<Answer> {
  const { method, path, headers, body } = made;
  return new Promise((resolve, reject) => {
    const sent = rawRequest(new URL(server.url).origin, { method, path, headers, agent }, (answer) => {
      const { statusCode: status = 0, headers: given } = answer;
      let text = "";
      const done = () => resolve({ status, headers: given, text });
      if (given["content-type"] === "text/event-stream") {
        done();
        sent.destroy();
      }
      answer.setEncoding("utf8").on("data", (piece: string) => (text = `${text}${piece}`.slice(0, MAX_REFUSAL_CHARS)));
      answer.once("end", done).once("error", done);
    });
    sent.once("error", (error: NodeJS.ErrnoException) => {
      // The server had just closed what was kept for the next request.
      if (sent.reusedSocket && error.code === "ECONNRESET") resolve(send(made));
      else reject(error);
    });
    sent.end(body);
  });
}

const get = (path: string) => send({ method: "GET", path, headers: {} });

function requireSound(
  { method, path, body }: MadeRequest,
  { status, headers, text }: Answer,
  documented: DocumentedAnswers,
): void {
  const what = `${method} ${path} ${body?.slice(0, 300)}: ${status} ${text.slice(0, 300)}`;
  // A queue that is full says when to come again.
  if (status === 503) assert.equal(headers["retry-after"], "10", what);
  else assert.ok(status >= 200 && status < 500, what);
  assert.equal(headers["x-content-type-options"], "nosniff", what);
  assert.match(String(headers["content-security-policy"]), /^default-src /, what);
  assert.equal(headers["access-control-allow-origin"], undefined, what);
  if (String(headers["content-type"]).startsWith("application/json")) {
    assert.equal(documented.problem(method, path, status, JSON.parse(text)), undefined, what);
  }
  if (status < 400) return;
  assert.match(String(headers["content-type"]), /^application\/json/, what);
  // No stack, no file of this machine.
  assert.doesNotMatch(text, /\n\s+at |node_modules|\/work\/|src\/server/, what);
  assert.ok(text.length < MAX_REFUSAL_CHARS && JSON.parse(text), what);
}

/** Bytes of objects and buffers that are in use. */
function usedBytes(): number {
  collect();
  collect();
  const { used_heap_size: objects, external_memory: buffers } = v8.getHeapStatistics();
  return objects + buffers;
}

test(`${REQUESTS} bad requests from the document: each is answered, none by a fault of ours, and nothing is left of them`, async (t) => {
  const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as OpenApi;
  assert.ok(Object.keys(document.paths).length > 40);
  const documented = new DocumentedAnswers(document);
  const requests = fc.sample(requestsOf(document, []), {
    numRuns: REQUESTS,
    seed: Number(process.env.SOLVAY_TEST_SEED ?? Date.now()),
  });
  const half = requests.length / 2;
  const statuses = new Map<number, number>();
  const wrong: string[] = [];
  let slowestMs = 0;
  const run = async (some: readonly MadeRequest[]) => {
    const left = [...some];
    const one = async () => {
      for (let made = left.pop(); made; made = left.pop()) {
        const beganMs = performance.now();
        const answer = await send(made);
        slowestMs = Math.max(slowestMs, performance.now() - beganMs);
        try {
          requireSound(made, answer, documented);
        } catch (error) {
          wrong.push((error as Error).message);
        }
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  };
  await run(requests.slice(0, half));
  const before = usedBytes();
  await run(requests.slice(half));
  const grown = usedBytes() - before;
  t.diagnostic(
    `${JSON.stringify(Object.fromEntries(statuses))}, slowest ${Math.round(slowestMs)} ms, grown ${(grown / 2 ** 20).toFixed(1)} MiB`,
  );
  assert.deepEqual(wrong.slice(0, 20), []);
  assert.ok(grown < MAX_GROWTH_BYTES, `${grown} bytes more`);
  assert.ok((statuses.get(400) ?? 0) > REQUESTS / 20, "they reach the checks");
  assert.equal((await get("/healthz")).status, 200);
});

/** Of the bad requests some were good: their jobs may still wait. */
async function emptyQueue(): Promise<void> {
  for (const state of ["queued", "running"]) {
    const answer = await fetch(`${server.url}/api/jobs?state=${state}`);
    const { jobs } = (await answer.json()) as { readonly jobs: readonly { readonly id: string }[] };
    const sent = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    for (const { id } of jobs) await fetch(`${server.url}/api/jobs/${id}/cancel`, sent);
  }
}

test(`a burst of ${REQUESTS} requests for pictures: what the queue has no room for is told when to come again, and health is answered`, async (t) => {
  await emptyQueue();
  const before = usedBytes();
  const body = JSON.stringify({ prompt: "a lake", steps: 1, width: 64, height: 64 });
  const headers = { "content-type": "application/json" };
  const ask = async () => {
    const { status, headers: given } = await send({ method: "POST", path: "/v1/images/generations", headers, body });
    if (status === 503) assert.equal(given["retry-after"], "10");
    return status;
  };
  const answers = Promise.all(Array.from({ length: REQUESTS }, ask));
  const health: number[] = [];
  let over = false;
  const ended = answers.finally(() => {
    over = true;
  });
  while (!over) {
    const beganMs = performance.now();
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
    health.push(performance.now() - beganMs);
    await delay(20);
  }
  const counts = Map.groupBy(await ended, (status) => status);
  assert.deepEqual(new Set(counts.keys()), new Set([200, 503]));
  const grown = usedBytes() - before;
  const sorted = health.toSorted((a, b) => a - b);
  t.diagnostic(
    `${counts.get(200)!.length} drawn, ${counts.get(503)!.length} told to come again, grown ${(grown / 2 ** 20).toFixed(1)} MiB, ` +
      `health ${sorted.length} times: ${sorted[sorted.length >> 1]!.toFixed(0)} ms in the middle, ${sorted.at(-1)!.toFixed(0)} ms at most`,
  );
  assert.ok(grown < MAX_GROWTH_BYTES, `${grown} bytes more`);
});

test("100 readers of events hear all of them, and are forgotten when they go; who reads nothing holds nothing", async () => {
  // Those that are kept for the next request count too.
  agent.destroy();
  const readers = 100;
  const stop = new AbortController();
  const heard = Array.from({ length: readers }, () => 0);
  const streams = await Promise.all(heard.map(() => fetch(`${server.url}/api/events`, { signal: stop.signal })));
  const reading = streams.map(async ({ body }, at) => {
    let text = "";
    // The last one never reads.
    if (at === readers - 1) return;
    for await (const piece of body!.pipeThrough(new TextDecoderStream())) {
      text += piece;
      heard[at] = text.split("event: done").length - 1;
      if (heard[at] === 3) return;
    }
  });
  const headers = { "content-type": "application/json" };
  const job = JSON.stringify({ job: { prompt: "x", steps: 3 }, count: 3 });
  assert.equal((await send({ method: "POST", path: "/api/jobs", headers, body: job })).status, 201);
  await Promise.all(reading);
  assert.deepEqual(heard, [...Array<number>(readers - 1).fill(3), 0]);
  stop.abort();
});
