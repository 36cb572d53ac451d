/** @file `solvay serve`: neighbours in the queue share passes over the weights, and nothing else: not their order, not their ends, not their guilt. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { sameBytes } from "../support/same.ts";
import { pretendingServer, serverFolder } from "../support/server.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

interface JobJson {
  readonly id: string;
  readonly state: string;
  readonly url?: string;
  readonly error?: { readonly code: string };
}

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

async function folderOf(): Promise<string> {
  folders.push(await serverFolder());
  return folders.at(-1)!;
}

async function post<T>(url: string, body: object = {}): Promise<T> {
  const headers = { "content-type": "application/json" };
  return (await (await fetch(url, { method: "POST", headers, body: JSON.stringify(body) })).json()) as T;
}

async function ask(base: string, job: object): Promise<string> {
  const { jobs } = await post<{ jobs: readonly JobJson[] }>(`${base}/api/jobs`, { job });
  return jobs[0]!.id;
}

/** The job once it is in one of these states. */
async function reaches(base: string, id: string, ...states: readonly string[]): Promise<JobJson> {
  for (;;) {
    const job = (await (await fetch(`${base}/api/jobs/${id}`)).json()) as JobJson;
    if (states.includes(job.state)) return job;
    await delay(20);
  }
}

const over = (base: string, id: string) => reaches(base, id, "done", "failed", "cancelled");

test("neighbours of one shape are drawn at once, in the queue's order; one is cancelled, one breaks all, and the others are done", async () => {
  const series: (readonly string[])[] = [];
  await using server = await pretendingServer({
    ...{ folder: await folderOf(), lanes: 3, onSeries: (prompts) => series.push(prompts) },
  });
  const { url } = server;
  /** Queued one by one behind a job of another shape, which then makes way. Resolves to what became of them. */
  const queued = async (...jobs: readonly object[]) => {
    series.length = 0;
    const blocking = await ask(url, { prompt: "wait", steps: 9 });
    // A job runs as soon as it is claimed: the engine hears of it later.
    while (series.length === 0) await delay(5);
    const ids: string[] = [];
    for (const job of jobs) ids.push(await ask(url, { steps: 3, ...job }));
    series.length = 0;
    await post(`${url}/api/jobs/${blocking}/cancel`);
    return ids;
  };
  const states = async (ids: readonly string[]) => {
    const found: JobJson[] = [];
    for (const id of ids) found.push(await over(url, id));
    return found.map(({ state }) => state);
  };

  const prompts = ["a1", "a2", "wide", "a3", "a4", "a5", "a6"];
  const wide = (prompt: string) => (prompt === "wide" ? { width: 128 } : {});
  const ordered = await queued(...prompts.map((prompt) => ({ prompt, guidance: 2, ...wide(prompt) })));
  assert.deepEqual(new Set(await states(ordered)), new Set(["done"]));
  assert.deepEqual(series, [["a1", "a2"], ["wide"], ["a3", "a4", "a5"], ["a6"]]);

  const [waits, other] = await queued({ prompt: "one that must wait" }, { prompt: "beside it" });
  await reaches(url, other!, "running");
  await post(`${url}/api/jobs/${waits}/cancel`);
  assert.deepEqual(await states([waits!, other!]), ["cancelled", "done"]);
  assert.deepEqual(series, [["one that must wait", "beside it"]]);

  // Each alone after that: who did it fails, and nobody else is suspected for long.
  const ends = await queued({ prompt: "x" }, { prompt: "collapse" }, { prompt: "y" }, { prompt: "z" });
  assert.deepEqual(await states(ends), ["done", "failed", "done", "done"]);
  assert.deepEqual(series, [["x", "collapse", "y"], ["x"], ["collapse"], ["y"], ["z"]]);

  // Pictures of one request are such neighbours, in every dialect.
  series.length = 0;
  const size = { width: 64, height: 64, steps: 3 };
  const webUi = await post<{ images: readonly string[] }>(`${url}/sdapi/v1/txt2img`, {
    prompt: "w",
    n_iter: 3,
    ...size,
  });
  const openAi = await post<{ data: readonly object[] }>(`${url}/v1/images/generations`, {
    prompt: "o",
    n: 2,
    ...size,
  });
  assert.deepEqual([webUi.images.length, openAi.data.length], [3, 2]);
  assert.deepEqual(series, [
    ["w", "w", "w"],
    ["o", "o"],
  ]);

  const metrics = await (await fetch(`${url}/metrics`)).text();
  // 2 + 2, 1, 3 times 3, 1; 2 of the second; 4 alone; 3 times 3; 2 + 2.
  const [, sum] = /^solvay_pictures_a_pass_sum (\d+)$/m.exec(metrics) ?? [];
  assert.equal(Number(sum), 4 + 1 + 9 + 1 + 2 + 3 + 9 + 4);
});

test("a real engine draws two jobs of the queue beside each other, to the bytes that each has alone, and moves less for each", async () => {
  const budgets = { vram: "1G", ram: "1G" };
  const job = { prompt: "a lake", steps: 2, width: 64, height: 64 };
  const alone = await openThreadlessEngine({ backend: "reference", model: MODEL, budgets });
  const vram = `${(await alone.plan(job)).peak.deviceBytes - 1}`;
  await alone.setBudgets({ vram });
  await using _ = alone;
  await using server = await pretendingServer({
    folder: await folderOf(),
    engine: () => openThreadlessEngine({ backend: "reference", model: MODEL, budgets: { ...budgets, vram } }),
  });
  const { url } = server;
  const blocking = await ask(url, { ...job, steps: 150 });
  await reaches(url, blocking, "running");
  const ids = [await ask(url, { ...job, seed: 1 }), await ask(url, { ...job, seed: 2 })];
  await post(`${url}/api/jobs/${blocking}/cancel`);
  let movedAlone = 0;
  for (const [at, id] of ids.entries()) {
    const { state, url: path } = await over(url, id);
    assert.equal(state, "done");
    const bytes = new Uint8Array(await (await fetch(new URL(path!, url))).arrayBuffer());
    for await (const event of alone.generate({ ...job, seed: at + 1 })) {
      if (event.type !== "image") continue;
      sameBytes(bytes, event.bytes, `seed ${at + 1}`);
      movedAlone += event.passes.reduce((sum, { loadedBytes }) => sum + loadedBytes, 0);
    }
  }
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const figure = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1]);
  assert.equal(figure("solvay_pictures_a_pass_sum"), 4);
  assert.ok(figure("solvay_picture_weights_moved_bytes_sum") < movedAlone, `${movedAlone} alone`);
});
