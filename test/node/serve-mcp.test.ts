/**
 * @file The Model Context Protocol at /mcp, through the SDK's own client: tools and pictures of a real engine with a small model; waiting, jobs,
 * progress and refusals over one that pretends.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { readPictureHeader } from "../../src/image/picture-header.ts";
import { Keys } from "../../src/server/http/keys.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

interface Content {
  readonly type: string;
  readonly text?: string;
  readonly data?: string;
  readonly mimeType?: string;
  readonly uri?: string;
}
interface JobFacts {
  readonly id: string;
  readonly state: string;
  readonly seed?: number;
  readonly url?: string;
  readonly error?: string;
}

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const KEY = "0123456789abcdef0123";
const folders: string[] = [];
const clients: Client[] = [];
let pretending: RunningServer;

before(async () => {
  pretending = await pretendingServer({ folder: await folderOf(), keys: Keys.fromText(`ann:${KEY}`, "keys") });
});
after(async () => {
  for (const client of clients) await client.close();
  await pretending?.[Symbol.asyncDispose]();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

async function folderOf(): Promise<string> {
  folders.push(await serverFolder());
  return folders.at(-1)!;
}

async function connected(url: string, key?: string): Promise<Client> {
  const client = new Client({ name: "a test", version: "1" });
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const transport = new StreamableHTTPClientTransport(new URL("/mcp", url), { requestInit: { headers } });
  await client.connect(transport);
  clients.push(client);
  return client;
}

async function call(client: Client, name: string, given: Record<string, unknown> = {}, options = {}) {
  const answer = await client.callTool({ name, arguments: given }, undefined, options);
  const content = answer.content as readonly Content[];
  const { jobs = [] } = (answer.structuredContent ?? {}) as { readonly jobs?: readonly JobFacts[] };
  return { content, jobs, failed: answer.isError === true, text: content[0]?.text ?? "" };
}

test("a real engine: what is served, a plan, a picture that is looked at and fetched as a resource and by its address", async () => {
  await using server = await pretendingServer({
    ...{ folder: await folderOf(), models: new Map([["flat", {}]]) },
    engine: () => openThreadlessEngine({ backend: "reference", model: MODEL, budgets: { vram: "1G", ram: "1G" } }),
  });
  const client = await connected(server.url);
  assert.deepEqual(client.getServerVersion()?.name, "solvay");
  const { tools } = await client.listTools();
  assert.deepEqual(
    tools.map(({ name }) => name),
    ["list_models", "generate", "get_job", "cancel_job", "plan"],
  );
  const { inputSchema } = tools.find(({ name }) => name === "generate")!;
  assert.deepEqual(inputSchema.required, ["prompt"]);
  // A server's limit, not the job's own.
  const { steps } = inputSchema.properties as Readonly<Record<string, { readonly maximum?: number }>>;
  assert.equal(steps?.maximum, 150);
  assert.match(
    (await call(client, "list_models")).text,
    /"model":"flat","standing":true,.*"defaultWidth":128,.*"open":true/,
  );
  const planned = await call(client, "plan", { width: 64, height: 64, steps: 2 });
  assert.match(planned.text, /^Plan for [\s\S]*VRAM [\s\S]*denoise/);

  const { content, jobs } = await call(client, "generate", {
    ...{ prompt: "a lake", negative_prompt: "fog", steps: 2, seed: 5, count: 2, width: 64, height: 64, wait_s: 60 },
  });
  assert.deepEqual(
    jobs.map(({ state, seed }) => [state, seed]),
    [
      ["done", 5],
      ["done", 6],
    ],
  );
  assert.deepEqual(
    content.map(({ type }) => type),
    ["text", "image", "resource_link", "image", "resource_link"],
  );
  const shown = Buffer.from(content[1]!.data!, "base64");
  assert.deepEqual([readPictureHeader(shown, "shown").width, content[1]!.mimeType], [64, "image/png"]);
  const { contents } = await client.readResource({ uri: content[2]!.uri! });
  const [read] = contents as { readonly blob?: string; readonly mimeType?: string }[];
  assert.deepEqual([read?.blob, read?.mimeType], [content[1]!.data, "image/png"]);
  const fetched = Buffer.from(await (await fetch(jobs[0]!.url!)).arrayBuffer());
  assert.ok(fetched.equals(shown));
  const { resources } = await client.listResources();
  assert.deepEqual(
    resources.map(({ uri, name }) => [uri, name]),
    [
      [content[4]!.uri, "a lake"],
      [content[2]!.uri, "a lake"],
    ],
  );
  assert.equal((await client.listResourceTemplates()).resourceTemplates[0]?.uriTemplate, "solvay://pictures/{sha256}");
});

test("what takes longer than the wait is a job that is asked for, with progress, and can be cancelled; a large picture is shown small", async () => {
  const client = await connected(pretending.url, KEY);
  const began = await call(client, "generate", { prompt: "wait", steps: 4, wait_s: 0 });
  const { id, state } = began.jobs[0]!;
  assert.ok(["queued", "running"].includes(state), state);
  assert.equal(began.content.length, 1);
  assert.equal((await call(client, "cancel_job", { id })).jobs[0]?.state, "cancelled");
  const failed = await call(client, "generate", { prompt: "refuse", steps: 3 });
  assert.deepEqual([failed.failed, failed.jobs[0]?.state], [true, "failed"]);
  assert.match(failed.jobs[0]!.error!, /^E_PRETENDED/);

  const told: number[] = [];
  const onprogress = ({ progress }: { readonly progress: number }) => told.push(progress);
  const wide = await call(client, "generate", { prompt: "wide", steps: 60, width: 2048, height: 1024 }, { onprogress });
  assert.equal(wide.jobs[0]?.state, "done");
  const { width, height } = readPictureHeader(Buffer.from(wide.content[1]!.data!, "base64"), "shown");
  assert.deepEqual([width, height], [512, 256]);
  assert.ok(told.length > 0 && told.every((share) => share > 0 && share <= 1), told.join());
  const again = await call(client, "get_job", { id: wide.jobs[0]!.id });
  assert.deepEqual([again.jobs[0]?.state, again.content.length], ["done", 3]);
});

test("refusals are told to the agent, which can mend them; a client that goes away takes its job with it", async () => {
  const client = await connected(pretending.url, KEY);
  const refusals: [string, Record<string, unknown>, RegExp][] = [
    ["generate", { prompt: "x", steps: 151 }, /^E_JOB steps: /],
    ["generate", { prompt: "x", colour: "red" }, /^E_JOB colour: there is no such field/],
    ["generate", { prompt: "x", initImage: "/etc/passwd" }, /^E_PICTURE initImage: a server reads no files/],
    ["generate", { prompt: "x", count: 5 }, /^E_JOB count: /],
    ["get_job", { id: "../../etc" }, /^E_NOT_FOUND/],
    ["cancel_job", {}, /^E_NOT_FOUND/],
  ];
  for (const [name, given, message] of refusals) {
    const { failed, text } = await call(client, name, given);
    assert.ok(failed, name);
    assert.match(text, message);
  }
  await assert.rejects(call(client, "rm"), /no such tool/);
  for (const uri of [
    "solvay://pictures/../../etc/passwd",
    `solvay://pictures/${"0".repeat(64)}`,
    "file:///etc/passwd",
  ]) {
    await assert.rejects(client.readResource({ uri }), /no such picture/);
  }
  const going = await connected(pretending.url, KEY);
  const waiting = call(going, "generate", { prompt: "wait for ever" }).catch(() => {});
  const jobs = async () => {
    const headers = { authorization: `Bearer ${KEY}` };
    const answer = await fetch(`${pretending.url}/api/jobs?limit=1`, { headers });
    return ((await answer.json()) as { jobs: { state: string; job: { prompt: string } }[] }).jobs[0]!;
  };
  while ((await jobs()).job.prompt !== "wait for ever") await delay(20);
  await going.close();
  await waiting;
  while ((await jobs()).state !== "cancelled") await delay(20);
});

test("the guards of every route stand before it: keys, hosts, origins, JSON (E_API_KEY, E_ORIGIN, E_BODY, E_JSON)", async () => {
  await assert.rejects(connected(pretending.url), /E_API_KEY|Unauthorized/i);
  const post = async (body: string, headers: Record<string, string> = {}) => {
    const all = { "content-type": "application/json", authorization: `Bearer ${KEY}`, ...headers };
    const answer = await fetch(`${pretending.url}/mcp`, { method: "POST", body, headers: all });
    const text = await answer.text();
    return [
      answer.status,
      text === "" ? undefined : (JSON.parse(text) as { error: { data?: { code: string } } }).error.data?.code,
    ];
  };
  const ping = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" });
  assert.deepEqual(await post(ping, { origin: "http://evil.com" }), [403, "E_ORIGIN"]);
  assert.deepEqual(await post(ping, { "content-type": "text/plain" }), [415, "E_BODY"]);
  assert.deepEqual(await post("[]"), [400, "E_JSON"]);
  // Of the SDK: it answers in two ways, and the client must take both.
  assert.deepEqual(await post(ping), [406, undefined]);
  assert.deepEqual(await post('{"jsonrpc":"1.0"}', { accept: "application/json, text/event-stream" }), [
    400,
    undefined,
  ]);
  const headers = { authorization: `Bearer ${KEY}` };
  for (const method of ["GET", "DELETE"]) {
    const { status } = await fetch(`${pretending.url}/mcp`, { method, headers });
    assert.equal(status, 405, method);
  }
});
