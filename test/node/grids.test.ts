/** @file The server's grids: a cell for each pair of values, one seed, and neighbours in the queue where one plan fits them. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

interface CellJob {
  readonly number: number;
  readonly job: { readonly seed: number; readonly steps: number; readonly guidance: number; readonly prompt: string };
}

interface Answer {
  readonly axes: readonly { readonly name: string; readonly texts: readonly string[] }[];
  readonly jobs: readonly CellJob[];
  readonly error?: { readonly code: string };
}

let folder: string;
let server: RunningServer;

before(async () => {
  folder = await serverFolder();
  server = await pretendingServer({ folder });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

async function grid(body: object): Promise<{ readonly status: number; readonly json: Answer }> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${server.url}/api/grids`, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: answer.status, json: (await answer.json()) as Answer };
}

test("cells are the first axis by the second, and wait by what their plans depend on", async () => {
  const { status, json } = await grid({ job: { prompt: "a cat" }, x: "steps=2-4", y: "prompt-sr=cat,dog" });
  assert.equal(status, 201);
  assert.deepEqual(json.axes, [
    { name: "steps", texts: ["2", "3", "4"] },
    { name: "prompt-sr", texts: ["cat", "dog"] },
  ]);
  const cells = json.jobs.map(({ job: { steps, prompt } }) => `${steps} ${prompt}`);
  assert.deepEqual(cells, ["2 a cat", "3 a cat", "4 a cat", "2 a dog", "3 a dog", "4 a dog"]);
  assert.equal(new Set(json.jobs.map(({ job }) => job.seed)).size, 1);
  // Steps shape a plan, words of one length don't: those of the same steps are neighbours.
  const waiting = json.jobs.toSorted((a, b) => a.number - b.number).map(({ job }) => `${job.steps} ${job.prompt}`);
  assert.deepEqual(waiting, ["2 a cat", "2 a dog", "3 a cat", "3 a dog", "4 a cat", "4 a dog"]);
});

test("what is no grid is refused", async () => {
  for (const [body, code] of [
    [{ job: { prompt: "a" } }, "E_GRID"],
    [{ job: { prompt: "a" }, x: "nothing=1" }, "E_GRID"],
    [{ job: { prompt: "a" }, x: "steps=1-30", y: "guidance=1-30" }, "E_GRID"],
    [{ job: { prompt: "a" }, x: "model=a,b" }, "E_GRID"],
    [{ job: { prompt: "a" }, w: "steps=1,2" }, "E_GRID"],
    [{ job: { prompt: "a" }, x: "steps=1,2", from: -1 }, "E_GRID"],
    [{ job: { prompt: "a" }, x: "steps=1,1000" }, "E_JOB"],
  ] as const) {
    const { status, json } = await grid(body);
    assert.deepEqual([status, json.error?.code], [400, code], JSON.stringify(body));
  }
});
