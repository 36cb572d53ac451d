/** @file Requests to the hub, one by one, over a made-up network: who gets the token, which redirect is followed, what is tried again. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SolvayError } from "../../src/errors.ts";
import { HubHttp, plainEtag, readReply, withRetries } from "../../src/node/hub/http.ts";
import { brokenConnection, refusedBy, Transient } from "../../src/node/hub/hub-failure.ts";
import type { HubSettings } from "../../src/node/hub/settings.ts";

const SETTINGS: HubSettings = {
  endpoint: "https://mirror.example",
  token: "hf_x",
  symlinks: true,
  stallMs: 10_000,
};
const ASK = { what: "thing" };

interface Asked {
  readonly url: string;
  readonly method: string;
  readonly redirect: string;
  readonly headers: Headers;
}

/** Answers in their turn; of a function, what it gives or throws. */
function network(t: TestContext, answers: readonly (Response | (() => Response | Promise<Response>))[]): Asked[] {
  const asked: Asked[] = [];
  t.mock.method(globalThis, "fetch", async (url: URL, init: RequestInit) => {
    const { method = "GET", redirect = "follow" } = init;
    asked.push({ url: String(url), method, redirect, headers: new Headers(init.headers) });
    const answer = answers[Math.min(asked.length, answers.length) - 1]!;
    return typeof answer === "function" ? await answer() : answer;
  });
  return asked;
}

const to = (location: string, status = 302, headers: Record<string, string> = {}) =>
  new Response(null, { status, headers: { location, ...headers } });
const ok = (headers: Record<string, string> = {}) => new Response("body", { headers });

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => assert.fail("it should fail"),
    (reason: unknown) => reason,
  );
  if (error instanceof Transient) return "passing";
  assert.ok(error instanceof SolvayError, String(error));
  return error.code;
};

test("the token goes to the endpoint's own origin alone: no other port, protocol or name", async (t) => {
  const places = ["/b", "https://mirror.example:444/c", "https://cdn.mirror.example/d", "https://mirror.example/e"];
  const asked = network(t, [...places.map((place) => to(place)), ok()]);
  using reply = await new HubHttp(SETTINGS).send("/a", ASK);
  assert.equal(reply.status, 200);
  assert.deepEqual(
    asked.map(({ url, headers }) => [new URL(url).pathname, headers.get("authorization")]),
    [
      ["/a", "Bearer hf_x"],
      ["/b", "Bearer hf_x"],
      ["/c", null],
      ["/d", null],
      ["/e", "Bearer hf_x"],
    ],
  );
  for (const { headers, redirect, method } of asked) {
    assert.deepEqual([headers.get("accept-encoding"), redirect, method], ["identity", "manual", "GET"]);
  }
  t.mock.restoreAll();
  const upgraded = network(t, [to("https://localhost/b"), ok()]);
  using _ = await new HubHttp({ ...SETTINGS, endpoint: "http://localhost" }).send("/a", ASK);
  assert.deepEqual(
    upgraded.map(({ headers }) => headers.has("authorization")),
    [true, false],
  );
});

test("redirects: every kind is followed, five of them, to the web alone, never from private to open", async (t) => {
  const send = async (answers: Response[], settings = SETTINGS) => {
    t.mock.restoreAll();
    const asked = network(t, answers);
    const code = await new HubHttp(settings).send("/a", ASK).then(
      (reply) => {
        reply[Symbol.dispose]();
        return "";
      },
      (error: SolvayError) => error.code,
    );
    return [code, asked.length] as const;
  };
  for (const status of [301, 302, 303, 307, 308]) assert.deepEqual(await send([to("/b", status), ok()]), ["", 2]);
  const five = Array.from({ length: 5 }, (_, i) => to(`/${i}`));
  assert.deepEqual(await send([...five, ok()]), ["", 6]);
  assert.deepEqual(await send([...Array.from({ length: 6 }, (_, i) => to(`/${i}`)), ok()]), ["E_HUB_REDIRECT", 6]);
  for (const place of ["ftp://mirror.example/b", "data:text/plain,x", "https://", "http://mirror.example/b"]) {
    assert.deepEqual(await send([to(place), ok()]), ["E_HUB_REDIRECT", 1], place);
  }
  const plain = { ...SETTINGS, endpoint: "http://mirror.example", token: undefined };
  assert.deepEqual(await send([to("http://store.example/b"), ok()], plain), ["", 2]);
  assert.deepEqual(await send([to("ftp://store.example/b"), ok()], plain), ["E_HUB_REDIRECT", 1]);
  const own = { ...SETTINGS, endpoint: "https://huggingface.co" };
  for (const host of ["cdn-lfs.huggingface.co", "hf.co", "cas-bridge.xethub.hf.co", "huggingface.co"]) {
    assert.deepEqual(await send([to(`https://${host}/b`), ok()], own), ["", 2], host);
  }
  for (const host of ["evilhuggingface.co", "hf.co.evil.example", "huggingfacexco", "huggingface.com"]) {
    assert.deepEqual(await send([to(`https://${host}/b`), ok()], own), ["E_HUB_REDIRECT", 1], host);
  }
});

test("what is said of a file is the hub's own word: not the storage's, nor a redirect's plain ETag", async (t) => {
  const linked = { "x-linked-etag": '"aa"', "x-linked-size": "12", "x-repo-commit": "c1" };
  const foreign = { "x-linked-etag": '"ee"', "x-linked-size": "99", "x-repo-commit": "c9", etag: '"ff"' };
  const hubOf = async (answers: Response[], method: "GET" | "HEAD" = "GET") => {
    t.mock.restoreAll();
    const asked = network(t, answers);
    using reply = await new HubHttp(SETTINGS).send("/a", { ...ASK, method });
    return [reply.hub, asked.length] as const;
  };
  const storage = "https://storage.example/b";
  const said = { etag: "aa", sizeBytes: 12, commit: "c1" };
  assert.deepEqual(await hubOf([to(storage, 302, linked), ok(foreign)]), [said, 2]);
  // HEAD has all it asks for in the hub's own answer, or goes on.
  assert.deepEqual(await hubOf([to(storage, 302, linked), ok(foreign)], "HEAD"), [said, 1]);
  const half = { "x-linked-etag": '"aa"' };
  assert.equal((await hubOf([to(storage, 302, half), ok(foreign)], "HEAD"))[1], 2);
  assert.deepEqual(await hubOf([to("/b", 302, linked), ok()]), [said, 2]);
  assert.equal((await hubOf([to("/b", 307, { etag: '"page"' }), ok()]))[0].etag, undefined);
  assert.deepEqual(await hubOf([to("/b", 307, { etag: '"page"' }), ok({ etag: 'W/"x"' })]), [
    { etag: "x", sizeBytes: undefined, commit: undefined },
    2,
  ]);
  assert.equal((await hubOf([ok({ ...linked, "x-linked-size": "-1" })]))[0].sizeBytes, undefined);
  assert.equal((await hubOf([ok({ ...linked, "x-linked-size": "1e3" })]))[0].sizeBytes, undefined);
  assert.deepEqual(['"a"', 'W/"a"', "a", ' "a" '].map(plainEtag), ["a", "a", "a", "a"]);
});

test("answers: 200 and what the caller takes; all else is passing or final", async (t) => {
  const send = (status: number, accept?: number[], headers: Record<string, string> = {}) => {
    t.mock.restoreAll();
    network(t, [new Response(null, { status, headers })]);
    return new HubHttp(SETTINGS).send("/a", { ...ASK, accept });
  };
  using partial = await send(206, [206, 416]);
  assert.equal(partial.status, 206);
  assert.equal(await codeOf(send(206)), "E_HUB");
  for (const status of [408, 429, 500, 502, 503, 504]) assert.equal(await codeOf(send(status)), "passing", `${status}`);
  const final: [number, Record<string, string>, string][] = [
    [400, {}, "E_HUB"],
    [501, {}, "E_HUB"],
    [401, {}, "E_HUB_AUTH"],
    [403, {}, "E_HUB_GATED"],
    [401, { "x-error-code": "GatedRepo" }, "E_HUB_GATED"],
    [404, {}, "E_HUB_NOT_FOUND"],
    [302, {}, "E_HUB"],
  ];
  for (const [status, headers, code] of final) assert.equal(await codeOf(send(status, [], headers)), code, `${status}`);
  const advice = (status: number, hasToken: boolean, headers: Record<string, string> = {}) =>
    String(refusedBy(status, new Headers(headers), "m", hasToken));
  assert.match(advice(401, true), /does not accept the token.*check HF_TOKEN/);
  assert.match(advice(401, false), /not there, or private.*set HF_TOKEN/);
  assert.match(advice(403, true), /the account of your token/);
  assert.match(advice(403, false), /set HF_TOKEN to a token of that account/);
  assert.match(advice(404, false, { "x-error-code": "RevisionNotFound" }), /check --revision/);
});

test("Retry-After: seconds, a date, or nothing that can be used", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: Date.parse("2026-01-01T00:00:00Z") });
  const wait = (value?: string) => {
    const error = refusedBy(429, new Headers(value === undefined ? {} : { "retry-after": value }), "m", false);
    return error instanceof Transient ? error.waitMs : assert.fail();
  };
  assert.equal(wait("7"), 7000);
  assert.equal(wait("Thu, 01 Jan 2026 00:00:09 GMT"), 9000);
  assert.equal(wait("Thu, 01 Jan 2025 00:00:09 GMT"), 0);
  assert.equal(wait("soon"), undefined);
  assert.equal(wait(), undefined);
});

test("a broken connection: final at first where name or port are wrong, always where the certificate is, else passing", () => {
  const broken = (code: string, reached: boolean) => {
    const cause = code ? Object.assign(new Error("why"), { code }) : new Error("why");
    const error = brokenConnection(new TypeError("fetch failed", { cause }), "h", reached);
    return error instanceof Transient ? "passing" : error.code;
  };
  for (const code of ["ENOTFOUND", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"]) {
    assert.deepEqual([broken(code, false), broken(code, true)], ["E_NETWORK", "passing"], code);
  }
  for (const code of ["CERT_HAS_EXPIRED", "DEPTH_ZERO_SELF_SIGNED_CERT", "UNABLE_TO_GET_ISSUER_CERT", "ERR_TLS_X"]) {
    assert.deepEqual([broken(code, false), broken(code, true)], ["E_NETWORK", "E_NETWORK"], code);
  }
  for (const code of ["ECONNRESET", "EPIPE", "UND_ERR_SOCKET", "UND_ERR_CONNECT_TIMEOUT", "EAI_AGAIN", ""]) {
    assert.deepEqual([broken(code, false), broken(code, true)], ["passing", "passing"], code);
  }
  const both = new AggregateError([Object.assign(new Error("no"), { code: "ECONNREFUSED" })]);
  assert.ok(brokenConnection(new TypeError("x", { cause: both }), "h", false) instanceof SolvayError);
});

test("once the hub has answered, a refused connection is a passing one", async (t) => {
  const refused = () => {
    throw new TypeError("fetch failed", { cause: Object.assign(new Error("no"), { code: "ECONNREFUSED" }) });
  };
  network(t, [refused, ok(), refused]);
  const http = new HubHttp(SETTINGS);
  assert.equal(await codeOf(http.send("/a", ASK)), "E_NETWORK");
  using _ = await http.send("/a", ASK);
  assert.equal(await codeOf(http.send("/a", ASK)), "passing");
});

test("silence, before the answer or in it, is a passing failure; an abort is the caller's reason", async (t) => {
  const reason = new Error("enough");
  const stop = new AbortController();
  let given: AbortSignal | undefined;
  t.mock.method(globalThis, "fetch", (_: URL, { signal }: RequestInit) => {
    given = signal!;
    return new Promise((_resolve, reject) => signal!.addEventListener("abort", () => reject(signal!.reason)));
  });
  const http = new HubHttp({ ...SETTINGS, stallMs: 10 });
  const silent = (error: unknown) =>
    error instanceof Transient && error.message === "the server was silent for 0.01 seconds";
  await assert.rejects(http.send("/a", { ...ASK, signal: stop.signal }), silent);
  const stopped = assert.rejects(new HubHttp(SETTINGS).send("/a", { ...ASK, signal: stop.signal }), reason);
  stop.abort(reason);
  assert.ok(given?.aborted, "the request itself is stopped");
  await stopped;

  t.mock.restoreAll();
  t.mock.method(globalThis, "fetch", async (_: URL, { signal }: RequestInit) => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(Uint8Array.of(1));
        signal!.addEventListener("abort", () => controller.error(signal!.reason));
      },
    });
    return new Response(body);
  });
  using quiet = await http.send("/a", ASK);
  assert.equal(await codeOf(readReply(quiet, "x", 100)), "passing");
  const later = new AbortController();
  using ours = await new HubHttp(SETTINGS).send("/a", { ...ASK, signal: later.signal });
  const ended = assert.rejects(readReply(ours, "x", 100), reason);
  setImmediate(() => later.abort(reason));
  await ended;
});

test("what a caller does with bytes that came is no silence of the server's", async (t) => {
  const chunks = [1, 2, 3].map((byte) => Uint8Array.of(byte));
  t.mock.method(globalThis, "fetch", async (_: URL, { signal }: RequestInit) => {
    const pull = (controller: ReadableStreamDefaultController) => {
      if (signal!.aborted) return controller.error(signal!.reason);
      const chunk = chunks.shift();
      return chunk ? controller.enqueue(chunk) : controller.close();
    };
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  });
  using reply = await new HubHttp({ ...SETTINGS, stallMs: 40 }).send("/a", ASK);
  let bytes = 0;
  for await (const chunk of reply.body) {
    await new Promise((resolve) => setTimeout(resolve, 60));
    bytes += chunk.byteLength;
  }
  assert.equal(bytes, 3);
});

test("a reply's text is cut nowhere, and refused one byte beyond what is allowed", async (t) => {
  // In two pieces, the first of which ends within a letter.
  const inPieces = () =>
    new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        for (const piece of [[0xc3], [0xa4, 0x62, 0x63]]) controller.enqueue(Uint8Array.from(piece));
        controller.close();
      },
    });
  network(t, [() => new Response(inPieces())]);
  const http = new HubHttp(SETTINGS);
  using whole = await http.send("/a", ASK);
  assert.equal(await readReply(whole, "x", 4), "äbc");
  using long = await http.send("/a", ASK);
  assert.equal(await codeOf(readReply(long, "x", 3)), "E_SIZE");
});

test("tries: five with growing pauses, anew after a megabyte, the server's wait up to two minutes", async () => {
  const run = async (failures: number, options: { waitMs?: number; received?: () => number } = {}) => {
    const [waits, problems]: [number[], string[]] = [[], []];
    let attempts = 0;
    const result = await withRetries(
      {
        what: "m",
        clock: { sleep: async (ms) => void waits.push(ms) },
        onRetry: (problem, waitMs) => problems.push(`${problem} ${waitMs}`),
        receivedBytes: options.received,
      },
      async () => {
        if (attempts++ < failures) throw new Transient("gone", { waitMs: options.waitMs });
        return "came";
      },
    ).catch((error: SolvayError) => error.problem);
    return { result, waits, problems, attempts };
  };
  const four = await run(4);
  assert.deepEqual([four.result, four.waits], ["came", [1000, 2000, 4000, 8000]]);
  assert.deepEqual(four.problems, ["gone 1000", "gone 2000", "gone 4000", "gone 8000"]);
  assert.deepEqual((await run(5)).result, "gone (tried 5 times)");
  assert.deepEqual(await run(1, { waitMs: 120_000 }).then(({ waits }) => waits), [120_000]);
  const asked = await run(1, { waitMs: 120_001 });
  assert.deepEqual([asked.result, asked.attempts, asked.waits], ["gone, and asks to wait 3 minutes", 1, []]);
  let received = 0;
  const more = (bytes: number) => () => {
    received += bytes;
    return received;
  };
  const progress = await run(9, { received: more(2 ** 20) });
  assert.deepEqual([progress.result, new Set(progress.waits)], ["came", new Set([1000])]);
  received = 0;
  const crumbs = await run(9, { received: more(2 ** 20 - 1) });
  assert.equal(crumbs.attempts, 5);
  assert.equal((await run(1, { waitMs: 0 })).waits[0], 0);

  const reason = new Error("enough");
  const stop = new AbortController();
  const clock = {
    sleep: async () => {
      stop.abort(reason);
      throw new Error("the clock's");
    },
  };
  const options = { what: "m", clock, signal: stop.signal, onRetry: () => {} };
  await assert.rejects(
    withRetries(options, async () => {
      throw new Transient("gone");
    }),
    reason,
  );
  let attempts = 0;
  const other = new Error("other");
  await assert.rejects(
    withRetries({ ...options, signal: undefined }, async () => {
      attempts++;
      throw other;
    }),
    other,
  );
  assert.equal(attempts, 1);
});
