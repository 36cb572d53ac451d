/** @file All routes as one app: nothing but whether it is ready is told without a key, each request is its key's, and failures are told in the caller's dialect. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { ArtifactError, BudgetError, DeviceError, UsageError } from "../../src/errors.ts";
import { Away } from "../../src/server/away.ts";
import { failed, serverApp } from "../../src/server/http/app.ts";
import { answerClientError } from "../../src/server/http/client-errors.ts";
import { failureOf, JobFailure, Refusal } from "../../src/server/http/failures.ts";
import { Keys } from "../../src/server/http/keys.ts";
import { asJson, pretendingServices } from "../support/pretending-services.ts";

const KEY = "0123456789abcdef";
const OTHER = "fedcba9876543210";
const silent = { info() {} } as never;
const studio = {
  answer: async ({ url }: Request) => (new URL(url).pathname === "/" ? new Response("a page") : undefined),
} as never;
const fields = { code: "E_X", subject: "steps", problem: "the test says so", next: "ask for something else" };

/** What there is at the moment. */
const now: { engine: object | undefined; names: () => Promise<readonly string[]> } = {
  engine: undefined,
  names: async () => ["mill"],
};

function serving(keys: Keys | undefined, worker: boolean) {
  const { services, ...pretended } = pretendingServices();
  const changed = { engine: () => now.engine, worker, models: { ...services.models, names: () => now.names() } };
  return {
    ...pretended,
    app: serverApp({ services: { ...services, ...changed } as never, keys, logger: silent, studio }),
  };
}

const keyed = serving(Keys.fromText(`ann:${KEY}\nben:${OTHER}`, "keys"), true);
const open = serving(undefined, false);
const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });

test("without a key nothing is told but whether it is ready; with one there is every route, and a method that it has not says which it has", async () => {
  const { app } = keyed;
  const document = (await (await app.request("/openapi.json", bearer(KEY))).json()) as {
    paths: Record<string, Record<string, object>>;
  };
  const operations = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => ({ path: path.replaceAll(/\{\w+\}/g, "1"), method: method.toUpperCase() })),
  );
  assert.ok(operations.length > 60, `${operations.length}`);
  for (const path of ["/", "/metrics", "/openapi.json", "/no-such"]) operations.push({ path, method: "GET" });
  for (const { path, method } of operations) {
    for (const authorization of ["", `Bearer ${KEY}x`, KEY]) {
      const headers: HeadersInit = authorization === "" ? {} : { authorization };
      const answer = await app.request(path, { method, headers });
      assert.deepEqual(
        [answer.status, answer.headers.get("www-authenticate")],
        [401, 'Basic realm="Solvay"'],
        `${method} ${path}`,
      );
    }
  }
  assert.equal(await (await app.request("/metrics", bearer(KEY))).text(), "measured");
  assert.equal(await (await app.request("/", bearer(KEY))).text(), "a page");
  assert.equal((await app.request("/no-such", bearer(KEY))).status, 404);
  const wrong = await app.request("/api/jobs", { method: "PUT", ...bearer(KEY) });
  assert.deepEqual([wrong.status, wrong.headers.get("allow")?.split(", ").toSorted()], [405, ["GET", "HEAD", "POST"]]);
});

test("jobs are those of the key that asks, and of nobody where there are no keys", async () => {
  const body = asJson({ job: { prompt: "x" } });
  for (const key of [KEY, OTHER]) {
    await keyed.app.request("/api/jobs", { ...body, headers: { ...body.headers, ...bearer(key).headers } });
  }
  assert.deepEqual(
    keyed.asked.map(({ asking }) => asking.owner),
    ["ann", "ben"],
  );
  assert.equal((await open.app.request("/api/jobs", body)).status, 201);
  assert.equal(open.asked[0]!.asking.owner, "");
});

test("a server that draws is ready when its model is open; one that only takes jobs is so at once", async () => {
  const ready = async ({ app }: typeof open) => (await app.request("/readyz")).status;
  assert.deepEqual([await ready(keyed), await ready(open)], [503, 200]);
  now.engine = {};
  assert.equal(await ready(keyed), 200);
  now.engine = undefined;
});

test("what failed here is in the log and not in the answer; what the client can mend is in the answer and not in the log", async () => {
  const asked = async () => {
    const answer = await keyed.app.request("/api/models", bearer(KEY));
    return [
      answer.status,
      answer.headers.get("retry-after"),
      ((await answer.json()) as { error: { code: string } }).error.code,
    ];
  };
  assert.deepEqual([await asked(), keyed.failures], [[503, "10", "E_NOT_READY"], []]);
  now.engine = { info: { model: "mill" } };
  now.names = () => Promise.reject(new Error("secret"));
  assert.deepEqual([await asked(), keyed.failures.map(String)], [[500, null, "E_INTERNAL"], ["Error: secret"]]);
});

test("what a request says beside a job is bounded, bounds inclusive, and refused before anything is asked for", async () => {
  const { app, asked, listed } = open;
  const list = async (query: string) => (await app.request(`/api/jobs${query}`)).status;
  for (const query of ["?limit=0", "?limit=501", "?limit=1.5", "?limit=", "?limit=-1", "?state=over"])
    assert.equal(await list(query), 400, query);
  for (const query of ["", "?limit=1", "?limit=500", "?state=failed"]) assert.equal(await list(query), 200, query);
  assert.deepEqual(listed, [
    [50, undefined],
    [1, undefined],
    [500, undefined],
    [50, "failed"],
  ]);
  const before = asked.length;
  const ask = async (beside: object, key = "k") => {
    const body = asJson({ job: { prompt: "x" }, ...beside });
    return (await app.request("/api/jobs", { ...body, headers: { ...body.headers, "idempotency-key": key } })).status;
  };
  const refused = [
    { count: 0 },
    { count: 11 },
    { count: "1" },
    { priority: 101 },
    { priority: -101 },
    { priority: 0.5 },
  ];
  for (const beside of refused) assert.equal(await ask(beside), 400, JSON.stringify(beside));
  for (const key of ["", "k".repeat(201), "k\u00e9"]) assert.equal(await ask({}, key), 400, key);
  assert.equal(asked.length, before);
  assert.equal(await ask({ count: 10, priority: -100, model: "lake" }, "k".repeat(200)), 201);
  assert.equal(await ask({ priority: 100 }), 201);
  assert.deepEqual(
    asked
      .slice(before)
      .map(({ jobs, asking }) => [jobs.length, jobs[0]!.model, asking.priority, asking.idempotencyKey]),
    [
      [10, "lake", -100, "k".repeat(200)],
      [1, "mill", 100, "k"],
    ],
  );
});

test("statuses by what went wrong: the client's to change, ours, or better later", () => {
  const usage = (code: string) => new UsageError({ ...fields, code });
  const cases: readonly (readonly [unknown, number, string, number?])[] = [
    [usage("E_JOB"), 400, "E_JOB"],
    [new ArtifactError(fields), 400, "E_X"],
    [new BudgetError(fields), 400, "E_X"],
    [new DeviceError(fields), 500, "E_X"],
    [new Away({ ...fields, code: "E_DATABASE" }), 503, "E_DATABASE", 10],
    [new Away({ ...fields, code: "E_BUCKET" }), 503, "E_BUCKET", 10],
    [usage("E_QUEUE_FULL"), 503, "E_QUEUE_FULL", 10],
    [usage("E_QUEUE_SHARE"), 429, "E_QUEUE_SHARE", 10],
    [usage("E_IDEMPOTENCY"), 409, "E_IDEMPOTENCY"],
    [usage("E_IMAGE_SIZE"), 413, "E_IMAGE_SIZE"],
    [new Refusal(415, fields), 415, "E_X"],
    [new Error("secret"), 500, "E_INTERNAL"],
    ["secret", 500, "E_INTERNAL"],
    // How a job ended that was waited for.
    ...["E_JOB", "E_PICTURE", "E_VRAM", "E_LORA_MISMATCH", "E_CONTROL", "E_UPSCALER"].map(
      (code) => [new JobFailure({ code, message: "m" }), 400, code] as const,
    ),
    ...["E_DEVICE", "E_POISON_JOB", "E_X_JOB"].map(
      (code) => [new JobFailure({ code, message: "m" }), 500, code] as const,
    ),
    [new JobFailure({ code: "E_CANCELLED", message: "m" }), 409, "E_CANCELLED"],
  ];
  for (const [error, status, code, retryAfterS] of cases) {
    const found = failureOf(error);
    assert.deepEqual([found.status, found.code, found.retryAfterS], [status, code, retryAfterS], String(error));
    assert.ok(!found.message.includes("secret"));
    assert.equal(failed("/", error).headers.get("retry-after"), retryAfterS === undefined ? null : String(retryAfterS));
  }
});

test("each family of routes has its own words for a failure", async () => {
  const told = async (path: string, status: 400 | 403 | 404 | 409 | 429 | 503) =>
    (await failed(path, new Refusal(status, fields)).json()) as { error: Record<string, unknown> };
  const { message } = (await told("/api/jobs", 400)).error;
  assert.match(String(message), /^E_X steps: the test says so/);
  assert.deepEqual(await told("/api/jobs", 400), { error: { code: "E_X", message } });
  const openAi = { message, code: "E_X" };
  for (const [status, type, param] of [
    [400, "invalid_request_error", "steps"],
    [409, "invalid_request_error", null],
    [403, "permission_error", null],
    [429, "rate_limit_error", null],
    [503, "server_error", null],
  ] as const) {
    assert.deepEqual(await told("/v1/images/edits", status), { error: { ...openAi, type, param } });
  }
  const rpc = (code: number) => ({ jsonrpc: "2.0", id: null, error: { code, message, data: { code: "E_X" } } });
  assert.deepEqual(await told("/mcp", 400), rpc(-32600));
  assert.deepEqual(await told("/mcp", 503), rpc(-32603));
  assert.deepEqual(await told("/sdapi/v1/txt2img", 404), { error: "E_X", detail: message, body: "", errors: message });
});

test("what is no request of HTTP is answered in the headers of every answer, and its connection ends", async () => {
  const said = async (code: string | undefined) => {
    const socket = new PassThrough();
    await answerClientError(Object.assign(new Error("x"), { code }), socket);
    const [head, body] = String(socket.read()).split("\r\n\r\n");
    const [line, ...headers] = head!.split("\r\n");
    assert.ok(headers.includes("connection: close") && headers.includes("x-content-type-options: nosniff"));
    assert.ok(headers.includes(`content-length: ${Buffer.byteLength(body!)}`) && socket.writableEnded);
    assert.match(body!, /^\{"error":\{"code":"E_REQUEST"/);
    return line;
  };
  assert.equal(await said("HPE_HEADER_OVERFLOW"), "HTTP/1.1 431 Request Header Fields Too Large");
  assert.equal(await said("ERR_HTTP_REQUEST_TIMEOUT"), "HTTP/1.1 408 Request Timeout");
  assert.equal(await said("HPE_INVALID_METHOD"), "HTTP/1.1 400 Bad Request");
  const gone = new PassThrough();
  await answerClientError(Object.assign(new Error("x"), { code: "ECONNRESET" }), gone);
  assert.deepEqual([gone.destroyed, gone.read()], [true, null]);
});
