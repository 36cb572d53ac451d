/** @file The tools of the Model Context Protocol: what is asked for in whose name, how far it is told to be, what the answer says, and what becomes of jobs nobody waits for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { pictureContent, readPictureResource } from "../../src/server/http/mcp/pictures.ts";
import { mcpRoutes } from "../../src/server/http/mcp/routes.ts";
import { TOOLS } from "../../src/server/http/mcp/tools.ts";
import { type Happening, type PretendedServices, pretendingServices, routed } from "../support/pretending-services.ts";

type Told = readonly [progress: number, total: number, text: string];

async function call(
  { services }: PretendedServices,
  name: string,
  given: object,
  { signal = new AbortController().signal, told = [] as Told[] } = {},
) {
  const { content, structuredContent, isError } = await TOOLS[name]!.call(given as Record<string, unknown>, {
    ...{ services, owner: "ann", origin: "https://a.example", signal },
    tell: async (...each) => void told.push(each),
  });
  const { jobs } = structuredContent as { jobs: readonly unknown[] };
  // Whoever reads texts alone reads the same.
  const [text] = content;
  assert.deepEqual(text?.type === "text" && JSON.parse(text.text), JSON.parse(JSON.stringify(structuredContent)));
  return { jobs: JSON.parse(JSON.stringify(jobs)) as unknown[], types: content.map(({ type }) => type), isError };
}

const url = (letter: string) => `https://a.example/api/assets/${letter.repeat(64)}`;

test("generate asks in the key's name for so many of the model's, tells how far all of them are, and gives each by its address", async () => {
  const pretended = pretendingServices([
    ...[[0, "step", 1, 4] as const, [1, "step", 1, 2] as const, [0, "step", 4, 4] as const],
    ...[[0, "done"] as const, [1, "failed"] as const],
  ]);
  const told: Told[] = [];
  const given = { prompt: "a lake", negative_prompt: "fog", cfg_scale: 3, seed: 5, count: 2, model: "lake" };
  const { jobs, types, isError } = await call(pretended, "generate", given, { told });
  assert.deepEqual(
    pretended.asked.map(({ jobs, asking }) => [jobs.map(({ job, model }) => [job, model]), asking.owner]),
    [[[5, 6].map((seed) => [{ prompt: "a lake", negativePrompt: "fog", guidance: 3, seed }, "lake"]), "ann"]],
  );
  // A quarter of one; and half of the other; all of the first and half of the other.
  assert.deepEqual(told, [
    [0.25, 2, "step 1 of 4"],
    [0.75, 2, "step 1 of 2"],
    [1.5, 2, "step 4 of 4"],
  ]);
  assert.deepEqual(jobs, [
    { id: "job0", state: "done", seed: 5, url: url("0") },
    { id: "job1", state: "failed", seed: 6, error: "E_TEST: the test says so." },
  ]);
  // One of them is there: the answer is none of errors.
  assert.deepEqual([types, isError], [["text", "image", "resource_link"], undefined]);
  assert.deepEqual(pretended.cancelled, []);
  const none = await call(pretendingServices([[0, "failed"]]), "generate", { prompt: "x", model: "" });
  assert.deepEqual([none.isError, none.types], [true, ["text"]]);
});

test("what isn't waited for is a job that is asked for again, with how far it is; a picture of a job is looked at as often as one likes", async () => {
  const happenings: Happening[] = [[0, "step", 1, 4]];
  const pretended = pretendingServices(happenings);
  const begun = await call(pretended, "generate", { prompt: "x", seed: 1, wait_s: 0 });
  assert.deepEqual(begun.jobs, [{ id: "job0", state: "queued", seed: 1 }]);
  happenings.push([0, "done"]);
  const waited = await call(pretended, "get_job", { id: "job0", wait_s: 30 });
  assert.deepEqual([waited.jobs, waited.types.length], [[{ id: "job0", state: "done", seed: 1, url: url("0") }], 3]);
  const running = pretendingServices([[0, "step", 1, 4]]);
  await call(running, "generate", { prompt: "x", seed: 1, wait_s: 0 });
  for await (const { type } of running.services.log.since(0, AbortSignal.timeout(5000))) if (type === "step") break;
  const now = await call(running, "get_job", { id: "job0" });
  assert.deepEqual(now.jobs, [{ id: "job0", state: "running", seed: 1, step: 1, steps: 4 }]);
  const cancelled = await call(running, "cancel_job", { id: "job0" });
  assert.deepEqual([cancelled.jobs, running.cancelled], [[{ id: "job0", state: "cancelled", seed: 1 }], ["job0"]]);
});

test("a client that goes takes its jobs along; where the server closes they stay", async () => {
  const gone = pretendingServices();
  await call(gone, "generate", { prompt: "x", count: 2 }, { signal: AbortSignal.abort() });
  assert.deepEqual(gone.cancelled, ["job0", "job1"]);
  const closed = pretendingServices();
  closed.close();
  await call(closed, "generate", { prompt: "x", count: 2 }, { signal: AbortSignal.abort() });
  assert.deepEqual(closed.cancelled, []);
});

test("numbers are bounded, and unknown jobs and files of this machine refused before anything is asked for (E_JOB, E_PICTURE, E_NOT_FOUND)", async () => {
  const refused: readonly (readonly [string, object, object])[] = [
    ...[{ count: 0 }, { count: 5 }, { count: "2" }, { wait_s: -1 }, { wait_s: 601 }, { wait_s: null }].map(
      (each) => ["generate", each, { code: "E_JOB", subject: Object.keys(each)[0] }] as const,
    ),
    ["generate", { init_image: "/etc/passwd" }, { code: "E_PICTURE", subject: "initImage" }],
    ["generate", { loras: [{ file: "../a.safetensors" }] }, { code: "E_JOB", subject: "loras" }],
    ["generate", { colour: "red" }, { code: "E_JOB", subject: "colour" }],
    ["get_job", { id: "job9" }, { code: "E_NOT_FOUND" }],
    ["get_job", {}, { code: "E_NOT_FOUND" }],
    ["get_job", { id: "job0", wait_s: 601 }, { code: "E_NOT_FOUND" }],
    ["cancel_job", { id: 7 }, { code: "E_NOT_FOUND" }],
  ];
  for (const [name, given, error] of refused) {
    const pretended = pretendingServices();
    await assert.rejects(call(pretended, name, { prompt: "x", ...given }), error, JSON.stringify(given));
    assert.deepEqual([pretended.asked, pretended.cancelled], [[], []]);
  }
});

test("a picture is a resource by its hash alone, in its own bytes; what is shown beside it is at most 512 pixels a side", async () => {
  const { services } = pretendingServices();
  const sha256 = "3".repeat(64);
  const { asset, bytes } = (await services.assets.read(sha256))!;
  const uri = `solvay://pictures/${sha256}`;
  const blob = Buffer.from(bytes).toString("base64");
  assert.deepEqual(await readPictureResource(services, uri), { uri, mimeType: "image/png", blob });
  for (const wrong of [sha256, `${uri}0`, uri.slice(0, -1), `https://x/${sha256}`, `${uri}\n`, uri.toUpperCase()]) {
    assert.equal(await readPictureResource(services, wrong), undefined, wrong);
  }
  const link = { type: "resource_link", uri, name: "3".repeat(16), mimeType: "image/png" };
  assert.deepEqual(await pictureContent({ asset, bytes }), [
    { type: "image", data: blob, mimeType: "image/png" },
    { ...link, description: "the picture itself, 16x8", size: bytes.length },
  ]);
  for (const [width, height, wide, high] of [
    [512, 8, 512, 8],
    [640, 8, 512, 6],
    [8, 1024, 4, 512],
    [4096, 1, 512, 1],
  ] as const) {
    const large = await encodePng({ width, height, rgb: new Uint8Array(3 * width * height).fill(9) });
    const [shown] = await pictureContent({ asset: { ...asset, width, height }, bytes: large });
    const copy = await decodePng(new Uint8Array(Buffer.from((shown as { data: string }).data, "base64")));
    assert.deepEqual([copy.width, copy.height, copy.pixels[0]], [wide, high, 9]);
  }
});

test("as a message: which tools change nothing, whose fault a failure is, and a client that goes ends what it asked for", async () => {
  const pretended = pretendingServices();
  const app = routed(mcpRoutes(pretended.services));
  const gone = new AbortController();
  const send = async (method: string, params: object) => {
    const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    return await app.request("/mcp", { method: "POST", headers, body, signal: gone.signal });
  };
  const told = async (method: string, params: object) => {
    const [, data] = /^data: (.*)$/m.exec(await (await send(method, params)).text()) ?? [];
    return (JSON.parse(data!) as { result: { [name: string]: unknown; content: { text: string }[] } }).result;
  };
  const { tools } = (await told("tools/list", {})) as unknown as {
    tools: readonly { name: string; annotations: { readOnlyHint: boolean } }[];
  };
  const readOnly = tools.filter(({ annotations }) => annotations.readOnlyHint).map(({ name }) => name);
  assert.deepEqual(readOnly, ["list_models", "get_job", "plan"]);
  const refused = await told("tools/call", { name: "generate", arguments: { prompt: "x", steps: 999 } });
  assert.deepEqual([refused.isError, pretended.failures], [true, []]);
  assert.match(refused.content[0]!.text, /^E_JOB steps: /);
  const { get } = pretended.services.queue;
  pretended.services.queue.get = () => Promise.reject(new Error("secret"));
  const failed = await told("tools/call", { name: "get_job", arguments: { id: "job0" } });
  assert.match(failed.content[0]!.text, /^E_INTERNAL/);
  assert.deepEqual([failed.isError, pretended.failures.map(String)], [true, ["Error: secret"]]);
  pretended.services.queue.get = get;
  const answer = await send("tools/call", { name: "generate", arguments: { prompt: "x" } });
  for (let turns = 0; turns < 500 && pretended.asked.length === 0; turns++) await turn();
  gone.abort();
  for (let turns = 0; turns < 500 && pretended.cancelled.length === 0; turns++) await turn();
  assert.deepEqual(pretended.cancelled, ["job0"]);
  await answer.body?.cancel();
});
