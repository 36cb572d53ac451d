/**
 * @file `solvay serve`: our own API, OpenAI's through its own client, what is refused, and a queue that loses nothing. Most of it over an engine
 * that pretends; the last tests kill and stop real processes over one folder.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { readPictureHeader } from "../../src/image/picture-header.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import type { GenerateJob } from "../../src/job/types.ts";
import { Keys } from "../../src/server/http/keys.ts";
import { pretendingServer, type RunningServer, ServerProcess, serverFolder } from "../support/server.ts";

interface JobJson {
  readonly id: string;
  readonly state: string;
  readonly step: number;
  readonly job: { readonly seed: number; readonly prompt: string };
  readonly error?: { readonly code: string; readonly message: string };
  readonly asset?: string;
  readonly url?: string;
}

/** A route of the document, as far as how it refuses. */
interface DocumentedRefusal {
  readonly post: {
    readonly responses: {
      readonly default: {
        readonly content: Readonly<
          Record<
            string,
            {
              readonly schema: {
                readonly required: readonly string[];
                readonly properties: Readonly<Record<string, { readonly type?: unknown }>>;
              };
            }
          >
        >;
      };
    };
  };
}

interface Refused {
  readonly error: { readonly code: string; readonly message: string };
}

const FLAT = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
/** What processes draw with. */
const SMALL = ["--model", FLAT, "--backend", "reference"];
const KEY = "0123456789abcdef0123";
const OTHER_KEY = "fedcba98765432100000";
/** What SOLVAY_STATE names for processes. */
let folder: string;
let state: string;
const asked: GenerateJob[] = [];
let server: RunningServer;
/** What was answered before the engine was there. */
let early: unknown[] = [];
/** The job that ran when the first server stopped. */
let left: string;

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "solvay-state-"));
  state = path.join(folder, "serve");
  renameSync(await serverFolder(), state);
  server = await pretendingServer({
    ...{ folder: state, queueLimit: 20, asked: (job) => asked.push(job) },
    async opening(url) {
      const [ready, models] = [await call(`${url}/readyz`), await call<Refused>(`${url}/api/models`)];
      early = [ready.status, models.status, models.json.error.code];
    },
  });
});
after(() => {
  ServerProcess.killAll();
  rmSync(folder, { recursive: true, force: true });
});

async function call<T>(
  url: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; json: T }> {
  const answer = await fetch(url, {
    headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
    ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
  });
  return { status: answer.status, json: (await answer.json()) as T };
}

async function ask(base: string, job: object, beside: object = {}, headers = {}): Promise<readonly JobJson[]> {
  const { status, json } = await call<{ jobs: JobJson[] }>(`${base}/api/jobs`, { job, ...beside }, headers);
  assert.equal(status, 201, JSON.stringify(json));
  return json.jobs;
}

/** Reads events until one of the job that `until` takes. */
async function events(base: string, until: (type: string, data: Record<string, unknown>) => boolean, last?: number) {
  const headers: Record<string, string> = last === undefined ? {} : { "last-event-id": String(last) };
  const answer = await fetch(`${base}/api/events`, { headers });
  const seen: { readonly id: number; readonly type: string; readonly data: Record<string, unknown> }[] = [];
  let text = "";
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [, id, type, data] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)/s.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (id === undefined) continue;
      const event = { id: Number(id), type: type!, data: JSON.parse(data!) as Record<string, unknown> };
      seen.push(event);
      if (until(event.type, event.data)) return seen;
    }
  }
  return seen;
}

const over = (job: string) => (type: string, data: Record<string, unknown>) =>
  data.job === job && ["done", "failed", "cancelled"].includes(type);

async function finished(base: string, id: string): Promise<JobJson> {
  for (let last = 0; ; ) {
    const { json } = await call<JobJson>(`${base}/api/jobs/${id}`);
    if (["done", "failed", "cancelled"].includes(json.state)) return json;
    last = (await events(base, over(id), last)).at(-1)!.id;
  }
}

/** The number of the job of that prompt, once it runs. */
async function runs(prompt: string): Promise<string> {
  for (;;) {
    const { json } = await call<{ jobs: JobJson[] }>(`${server.url}/api/jobs?state=running`);
    const found = json.jobs.find(({ job }) => job.prompt === prompt);
    if (found) return found.id;
    await delay(20);
  }
}

test("jobs: asked for, followed, their pictures by hash and in the gallery", async () => {
  const jobs = await ask(server.url, { prompt: "a lake at dawn", steps: 3, seed: 41 }, { count: 2 });
  assert.deepEqual(
    jobs.map(({ state, job }) => [state, job.seed]),
    [
      ["queued", 41],
      ["queued", 42],
    ],
  );
  const told = await events(server.url, over(jobs[1]!.id), 0);
  const mine = told.filter(({ data }) => data.job === jobs[1]!.id).map(({ type }) => type);
  assert.deepEqual([mine[0], mine[1], mine.at(-1)], ["queued", "started", "done"]);
  // Where a reader left off.
  const middle = told[3]!.id;
  const rest = await events(server.url, over(jobs[1]!.id), middle);
  assert.deepEqual(
    rest.map(({ id }) => id),
    told.map(({ id }) => id).filter((id) => id > middle),
  );

  const { json: done } = await call<JobJson>(`${server.url}/api/jobs/${jobs[0]!.id}`);
  assert.equal(done.state, "done");
  const picture = await fetch(server.url + done.url);
  const bytes = new Uint8Array(await picture.arrayBuffer());
  assert.equal(picture.headers.get("content-type"), "image/png");
  assert.equal(createHash("sha256").update(bytes).digest("hex"), done.asset);
  assert.equal((await decodePng(bytes)).pixels[0], 41);
  const search = (words: string) =>
    call<{ pictures: { job: string }[] }>(`${server.url}/api/gallery?q=${encodeURIComponent(words)}`);
  assert.deepEqual(
    (await search('"at dawn" -boat')).json.pictures.map(({ job }) => job),
    [jobs[1]!.id, jobs[0]!.id],
  );
  assert.deepEqual((await search("dawn -lake")).json.pictures, []);
});

test("idempotency: the same again gives the same job, another with the same key is refused", async () => {
  const headers = { "idempotency-key": "once 100%" };
  const [first] = await ask(server.url, { prompt: "once", steps: 1 }, {}, headers);
  const [again] = await ask(server.url, { prompt: "once", steps: 1 }, {}, headers);
  assert.equal(again!.id, first!.id);
  const { status, json } = await call<{ error: { code: string } }>(
    `${server.url}/api/jobs`,
    { job: { prompt: "twice" } },
    headers,
  );
  assert.deepEqual([status, json.error.code], [409, "E_IDEMPOTENCY"]);
});

test("cancel stops a running job and takes a waiting one out; retry and priority put them back, in that order", async () => {
  const [running] = await ask(server.url, { prompt: "wait", steps: 5 });
  const [low] = await ask(server.url, { prompt: "low", steps: 1 });
  const [high] = await ask(server.url, { prompt: "high", steps: 1 });
  await events(server.url, (type, data) => type === "step" && data.job === running!.id, 0);
  const preview = await fetch(`${server.url}/api/jobs/${running!.id}/preview`);
  assert.equal((await decodePng(new Uint8Array(await preview.arrayBuffer()))).width, 32);
  const act = (id: string, what: string, body?: object) =>
    call<JobJson>(`${server.url}/api/jobs/${id}/${what}`, body ?? {});
  assert.equal((await act(low!.id, "cancel")).json.state, "cancelled");
  assert.equal((await act(low!.id, "retry")).json.state, "queued");
  assert.equal((await act(high!.id, "priority", { priority: 5 })).status, 200);
  assert.equal((await act(running!.id, "cancel")).json.state, "cancelled");
  await finished(server.url, low!.id);
  const order = asked.map(({ prompt }) => prompt);
  assert.ok(order.indexOf("high") < order.indexOf("low"), order.join());
  assert.equal((await act("00000000-0000-0000-0000-000000000000", "cancel")).status, 404);
});

test("failures: what can't be done fails with its reason, what breaks the engine is tried again and then parked (E_POISON_JOB)", async () => {
  const [refused] = await ask(server.url, { prompt: "refuse", steps: 3 });
  const failed = await finished(server.url, refused!.id);
  assert.deepEqual([failed.state, failed.error?.code], ["failed", "E_PRETENDED"]);
  const [crashed] = await ask(server.url, { prompt: "crash", steps: 3 });
  assert.equal((await finished(server.url, crashed!.id)).error?.code, "E_INTERNAL");
  const before = asked.length;
  const [breaking] = await ask(server.url, { prompt: "break", steps: 3 });
  const parked = await finished(server.url, breaking!.id);
  assert.deepEqual([parked.state, parked.error?.code], ["failed", "E_POISON_JOB"]);
  // The first claim came as far as ever; as many more as are allowed did not come further.
  assert.equal(asked.length - before, 5);
});

test("refusals name the field: limits of a server, files, unknown fields, JSON that is none (E_JOB, E_PICTURE, E_JSON, E_BODY, E_QUERY)", async () => {
  const refusals: [string, unknown, number, RegExp][] = [
    ["/api/jobs", { job: { prompt: "x", steps: 151 } }, 400, /E_JOB steps: .*allowed 1 to 150/],
    ["/api/jobs", { job: { prompt: "x", width: 4096 } }, 400, /E_JOB width: /],
    ["/api/jobs", { job: { prompt: "x", steps: [3] } }, 400, /E_JOB steps: /],
    [
      "/api/jobs",
      { job: { prompt: "x", initImage: "/etc/passwd" } },
      400,
      /E_PICTURE initImage: a server reads no files/,
    ],
    ["/api/jobs", { job: { prompt: "x", initImage: "http://127.1/a.png" } }, 400, /E_PICTURE initImage: .*network/],
    ["/api/jobs", { job: { prompt: "x", initImage: `sha256:${"0".repeat(64)}` } }, 400, /E_PICTURE .*no asset/],
    ["/api/jobs", { job: { prompt: "x", hiresScale: 2, hiresUpscaler: "../x.pth" } }, 400, /E_JOB hiresUpscaler: /],
    ["/api/jobs", { job: { prompt: "x", loras: [{ file: "../x" }] } }, 400, /E_JOB loras: .*by their names/],
    ["/api/jobs", { job: { prompt: "x", embeddings: ["/a.pt"] } }, 400, /E_JOB embeddings: .*by their names/],
    ["/api/jobs", { job: { prompt: "a \ud800 b" } }, 400, /E_JOB prompt: .*half/],
    ["/v1/images/generations", { prompt: "a", negative_prompt: "\udc00" }, 400, /E_JOB negativePrompt: .*half/],
    ["/v1/images/generations", { prompt: "a \0 b" }, 400, /E_JOB prompt: .*code 0/],
    ["/api/settings", { settings: { "prompt-history": ["\ud800"] } }, 400, /E_SETTING prompt-history: .*half/],
    ["/api/jobs", { job: { prompt: "x" }, count: 11 }, 400, /E_JOB count: /],
    ["/api/jobs", { job: { prompt: "x" }, jobs: 1 }, 400, /E_JOB jobs: there is no such field/],
    ["/api/jobs", "text", 400, /E_JSON/],
    ["/api/jobs", JSON.parse(`${"[".repeat(40)}${"]".repeat(40)}`), 400, /E_JSON: the JSON is too deep/],
  ];
  for (const [route, body, status, message] of refusals) {
    const { status: found, json } = await call<{ error: { message: string } }>(server.url + route, body);
    assert.match(json.error.message, message);
    assert.equal(found, status, json.error.message);
  }
  const query = await call<{ error: { code: string } }>(`${server.url}/api/jobs?limit=0`);
  assert.deepEqual([query.status, query.json.error.code], [400, "E_QUERY"]);
  const nothing = await call<{ error: { code: string } }>(`${server.url}/file?path=..%2f..%2fetc`);
  assert.deepEqual([nothing.status, nothing.json.error.code], [404, "E_NOT_FOUND"]);
  const unreadable = await fetch(`${server.url}/api/assets`, {
    method: "POST",
    body: "no picture",
    headers: { "content-type": "image/png" },
  });
  assert.match(await unreadable.text(), /E_IMAGE_KIND/);
});

test("an uploaded picture is an asset that jobs name; too many bytes are refused while they come (E_BODY_SIZE)", async () => {
  const png = await encodePng({ width: 64, height: 64, rgb: new Uint8Array(64 * 64 * 3).fill(9) });
  const upload = (body: BodyInit) =>
    fetch(`${server.url}/api/assets`, { method: "POST", body, headers: { "content-type": "image/png" } });
  const asset = (await (await upload(png)).json()) as { sha256: string; width: number };
  assert.deepEqual([asset.width, asset.sha256], [64, createHash("sha256").update(png).digest("hex")]);
  const [job] = await ask(server.url, { prompt: "from it", steps: 1, initImage: `sha256:${asset.sha256}` });
  await finished(server.url, job!.id);
  assert.equal(asked.at(-1)?.initImage, `data:image/png;base64,${Buffer.from(png).toString("base64")}`);
  // What it says where a file is gone helps.
  const { sha256 } = asset;
  rmSync(path.join(state, "images", "uploads", sha256.slice(0, 2), `${sha256}.png`));
  const read = async () => (await fetch(`${server.url}/api/assets/${sha256}`)).status;
  assert.equal(await read(), 404);
  await upload(png);
  assert.equal(await read(), 200);
  const large = await upload(new Uint8Array(33 * 2 ** 20));
  assert.equal(large.status, 413);
  assert.match(await large.text(), /E_BODY_SIZE/);
});

test("OpenAI's own client: pictures as bytes and by URL, several, streamed with partial ones, its errors", async () => {
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const models = await client.models.list();
  assert.deepEqual(
    models.data.map(({ id }) => id),
    ["pretence"],
  );
  const extras = { seed: 7, steps: 4, negative_prompt: "fog", cfg_scale: 3 };
  const made = await client.images.generate({
    model: "pretence",
    prompt: "a mill",
    n: 2,
    size: "128x64" as "auto",
    ...extras,
  });
  assert.equal(made.data?.length, 2);
  const picture = await decodePng(new Uint8Array(Buffer.from(made.data![1]!.b64_json!, "base64")));
  assert.deepEqual([picture.width, picture.height, picture.pixels[0]], [128, 64, 8]);
  assert.deepEqual([made.size, made.output_format], ["128x64", "png"]);
  const { prompt, ...fields } = asked.at(-2)!;
  assert.deepEqual(fields, { width: 128, height: 64, seed: 7, steps: 4, negativePrompt: "fog", guidance: 3 });
  assert.equal(prompt, "a mill");

  const hidden = '<sd_cpp_extra_args>{"seed": 9, "sample_params": {"sample_steps": 2}}</sd_cpp_extra_args>';
  const linked = await client.images.generate({
    prompt: `a door ${hidden}`,
    response_format: "url",
    model: "dall-e-3",
  });
  const bytes = await (await fetch(linked.data![0]!.url!)).arrayBuffer();
  assert.equal((await decodePng(new Uint8Array(bytes))).pixels[0], 9);
  assert.deepEqual([asked.at(-1)?.prompt, asked.at(-1)?.steps], ["a door", 2]);

  const stream = await client.images.generate({
    prompt: "a tower",
    stream: true,
    partial_images: 2,
    steps: 200 / 2,
    ...{ seed: 3 },
  } as OpenAI.ImageGenerateParamsStreaming);
  const types: string[] = [];
  for await (const event of stream) types.push(event.type);
  assert.equal(types.at(-1), "image_generation.completed");
  assert.deepEqual(types.slice(0, -1), ["image_generation.partial_image", "image_generation.partial_image"]);

  const refused = async (body: Partial<OpenAI.ImageGenerateParamsNonStreaming>) => {
    const error = await client.images.generate({ prompt: "x", ...body }).then(
      () => undefined,
      (cause: unknown) => cause,
    );
    assert.ok(error instanceof OpenAI.APIError);
    return [error.status, error.code, error.type];
  };
  assert.deepEqual(await refused({ model: "flux" }), [404, "model_not_found", "invalid_request_error"]);
  assert.deepEqual(await refused({ n: 11 }), [400, "E_REQUEST", "invalid_request_error"]);
  assert.deepEqual(await refused({ size: "huge" as "auto" }), [400, "E_REQUEST", "invalid_request_error"]);
  assert.deepEqual(await refused({ prompt: "refuse" }), [500, "E_PRETENDED", "server_error"]);
});

test("OpenAI's client edits a picture where a mask is transparent, and varies one", async () => {
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const side = 64;
  const rgb = new Uint8Array(3 * side * side).fill(77);
  const alpha = new Uint8Array(side * side).fill(255);
  alpha[0] = 0;
  const file = async (image: Parameters<typeof encodePng>[0]) =>
    new File([await encodePng(image)], "a.png", { type: "image/png" });
  const [image, mask] = [
    await file({ width: side, height: side, rgb }),
    await file({ width: side, height: side, rgb, alpha }),
  ];
  const made = await client.images.edit({ image, mask, prompt: "a boat", n: 1, ...{ steps: 2, seed: 6 } });
  assert.equal((await decodePng(new Uint8Array(Buffer.from(made.data![0]!.b64_json!, "base64")))).pixels[0], 6);
  const { initImage, maskImage, strength, steps } = asked.at(-1)!;
  const pixels = async (url = "") =>
    (await decodePng(new Uint8Array(Buffer.from(url.split(",")[1]!, "base64")))).pixels;
  // White is painted anew.
  assert.deepEqual([...(await pixels(maskImage)).subarray(0, 6)], [255, 255, 255, 0, 0, 0]);
  assert.deepEqual([(await pixels(initImage))[0], strength, steps], [77, undefined, 2]);
  await client.images.edit({ image: [image], prompt: "another", ...{ steps: 1 } });
  assert.deepEqual([asked.at(-1)?.maskImage, asked.at(-1)?.strength], [undefined, 0.75]);
  const varied = await client.images.createVariation({ image, n: 2, response_format: "url", ...{ steps: 1 } });
  assert.deepEqual([varied.data?.length, asked.at(-1)?.prompt], [2, ""]);
  const refused = await client.images
    .edit({ image, mask: image, prompt: "x" })
    .catch((error: { code: string }) => error);
  assert.equal((refused as { code: string }).code, "E_REQUEST");
});

test("H11: a client that goes away takes its jobs with it; a full queue says so (E_QUEUE_FULL)", async () => {
  const gone = new AbortController();
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const waiting = client.images.generate({ prompt: "wait for it", n: 2 }, { signal: gone.signal });
  await runs("wait for it");
  const { json } = await call<{ jobs: JobJson[] }>(`${server.url}/api/jobs?limit=2`);
  gone.abort();
  await assert.rejects(waiting);
  for (const { id } of json.jobs) assert.equal((await finished(server.url, id)).state, "cancelled");
  const stopped = client.images.generate({ prompt: "wait" }).then(
    () => undefined,
    (error: unknown) => error,
  );
  await call(`${server.url}/api/jobs/${await runs("wait")}/cancel`, {});
  assert.equal(((await stopped) as { code?: string }).code, "E_CANCELLED");

  const [blocking] = await ask(server.url, { prompt: "wait" });
  const waitingIds = (await ask(server.url, { prompt: "one", steps: 1 }, { count: 10 })).map(({ id }) => id);
  const full = await fetch(`${server.url}/v1/images/generations`, {
    ...{ method: "POST", headers: { "content-type": "application/json" } },
    body: JSON.stringify({ prompt: "x", n: 10 }),
  });
  assert.deepEqual([full.status, full.headers.get("retry-after")], [503, "10"]);
  assert.match(await full.text(), /E_QUEUE_FULL: the queue is full \(found 11 jobs and 10 more, allowed 20\)/);
  for (const id of [...waitingIds, blocking!.id]) await call(`${server.url}/api/jobs/${id}/cancel`, {});
});

test("health, readiness, metrics and the document of all routes; what fails here is not told outside", async () => {
  assert.deepEqual(early, [503, 503, "E_NOT_READY"]);
  assert.deepEqual((await call(`${server.url}/readyz`)).json, { ready: true });
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(metrics, /solvay_jobs\{state="done"\} [1-9]/);
  assert.match(metrics, /solvay_database_bytes 2\d{8}/);
  const { json } = await call<{ openapi: string; paths: Record<string, object> }>(`${server.url}/openapi.json`);
  assert.equal(json.openapi, "3.1.0");
  for (const route of ["/api/jobs/{id}", "/v1/images/generations", "/api/events"]) assert.ok(json.paths[route], route);
  // What is refused is told as the document says, in each dialect.
  for (const path of ["/api/jobs", "/v1/images/generations", "/sdapi/v1/txt2img", "/mcp"]) {
    const told = (json.paths[path] as DocumentedRefusal).post.responses.default.content["application/json"]!.schema;
    const refusal = await fetch(`${server.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "no JSON",
    });
    assert.ok(refusal.status >= 400);
    const error = (await refusal.json()) as Record<string, unknown>;
    assert.deepEqual(Object.keys(error).sort(), [...told.required].sort(), path);
    const { properties } = told;
    for (const [name, { type }] of Object.entries(properties)) {
      if (typeof type === "string") assert.equal(typeof error[name], type, `${path} ${name}`);
    }
  }
  assert.doesNotMatch(JSON.stringify((await call(`${server.url}/api/jobs?limit=500`)).json), /secret words/);
  assert.match(server.logs(), /secret words/);
  // Whoever waits when it stops loses the connection, not the job.
  const body = JSON.stringify({ prompt: "wait for the end", steps: 4 });
  const headers = { "content-type": "application/json" };
  const cutOff = assert.rejects(fetch(`${server.url}/v1/images/generations`, { method: "POST", headers, body }));
  left = await runs("wait for the end");
  while ((await call<JobJson>(`${server.url}/api/jobs/${left}`)).json.step < 1) await delay(20);
  await server[Symbol.asyncDispose]();
  await cutOff;
});

test("H01: keys for any other address (E_NO_KEY), asked for on every route but health (E_API_KEY), kept out of logs, a share each (E_QUEUE_SHARE)", async () => {
  await assert.rejects(pretendingServer({ folder: state, host: "0.0.0.0" }), { code: "E_NO_KEY" });
  assert.throws(() => Keys.fromText("# none\n", "keys"), { code: "E_API_KEYS" });
  assert.throws(() => Keys.fromText("ann:short", "keys"), { code: "E_API_KEYS" });
  const keys = Keys.fromText(`ann:${KEY}\n# another\nben: ${OTHER_KEY}\n`, "keys");
  await using guarded = await pretendingServer({ folder: state, host: "0.0.0.0", keys, allowedHosts: ["box.lan"] });
  const base = guarded.url.replace("0.0.0.0", "127.0.0.1");
  const status = async (authorization?: string) =>
    (await fetch(`${base}/api/jobs`, { headers: authorization === undefined ? {} : { authorization } })).status;
  assert.deepEqual([await status(), await status("Bearer wrong"), await status(`Bearer ${KEY}`)], [401, 401, 200]);
  assert.equal(await status(`Basic ${Buffer.from(`user:${OTHER_KEY}`).toString("base64")}`), 200);
  assert.equal((await fetch(`${base}/healthz`)).status, 200);
  const headers = { authorization: `Bearer ${KEY}` };
  for (let state = ""; state !== "done"; await delay(20)) {
    ({ state } = (await call<JobJson>(`${base}/api/jobs/${left}`, undefined, headers)).json);
    assert.notEqual(state, "cancelled");
  }
  const ids = (await ask(base, { prompt: "wait" }, { count: 10 }, headers)).map(({ id }) => id);
  const more = await call<{ error: { code: string } }>(`${base}/api/jobs`, { job: { prompt: "x" }, count: 7 }, headers);
  assert.deepEqual([more.status, more.json.error.code], [429, "E_QUEUE_SHARE"]);
  for (const id of ids) await call(`${base}/api/jobs/${id}/cancel`, {}, headers);
  assert.doesNotMatch(guarded.logs(), new RegExp(`${KEY}|${OTHER_KEY}`));
  const { port } = new URL(guarded.url);
  await assert.rejects(pretendingServer({ folder: path.join(folder, "other"), port: Number(port) }), {
    code: "E_LISTEN",
  });
  // One process a folder.
  await assert.rejects(pretendingServer({ folder: state }), { code: "E_SERVE_RUNS" });
});

test("kill -9 in the middle of a job loses nothing; a stopped server goes on from its last step, to the same picture", async () => {
  const job = { prompt: "a lake at dawn", steps: 40, width: 64, height: 64, seed: 11 };
  const first = new ServerProcess(folder, SMALL);
  let base = await first.url;
  const jobs = await ask(base, job, { count: 2 });
  await events(base, (type, data) => type === "step" && data.job === jobs[0]!.id, 0);
  assert.equal(await first.end("SIGKILL"), "SIGKILL");

  const second = new ServerProcess(folder, SMALL);
  base = await second.url;
  for (const { id } of jobs) assert.equal((await finished(base, id)).state, "done");
  const { json } = await call<{ pictures: { job: string }[] }>(`${base}/api/gallery?limit=200`);
  for (const { id } of jobs) assert.equal(json.pictures.filter((picture) => picture.job === id).length, 1);
  // The same job again, stopped on its way.
  const [again] = await ask(base, { ...job, seed: 12 });
  const before = await events(
    base,
    (type, data) => type === "step" && data.job === again!.id && Number(data.step) < 30,
    0,
  );
  assert.equal(await second.end("SIGTERM"), 0);

  const third = new ServerProcess(folder, SMALL);
  base = await third.url;
  const done = await finished(base, again!.id);
  assert.equal(done.state, "done");
  const reference = await call<JobJson>(`${base}/api/jobs/${jobs[1]!.id}`);
  assert.equal(done.asset, reference.json.asset);
  const steps = (await events(base, over(again!.id), before.at(-1)!.id)).filter(({ type }) => type === "step");
  assert.ok(Number(steps[0]!.data.step) > Number(before.at(-1)!.data.step), "it began anew");
  assert.equal((await fetch(`${base}/api/jobs/not-a-job`)).status, 404);
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
  const small = {
    prompt: "a lake",
    steps: 1,
    size: "64x64" as "auto",
    output_format: "jpeg" as const,
    output_compression: 80,
  };
  const made = await client.images.generate(small);
  assert.equal(made.output_format, "jpeg");
  assert.equal(readPictureHeader(Buffer.from(made.data![0]!.b64_json!, "base64"), "made").format, "JPEG");
  const { json: found } = await call<{ pictures: { infotext: string }[] }>(`${base}/api/gallery?limit=1`);
  assert.match(found.pictures[0]!.infotext, /^a lake\nSteps: 1, /);
  assert.equal(await third.end("SIGTERM"), 0);
});
