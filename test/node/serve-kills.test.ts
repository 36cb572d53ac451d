/** @file One process over PGlite, killed with -9 at 20 random moments: every job is done once in effect. By SOLVAY_TEST_THOROUGH=1; serve.test.ts kills once in every run. */
import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { seededRandom } from "../support/seed.ts";
import { ServerProcess, serverFolder } from "../support/server.ts";
import { searched } from "../support/thorough.ts";
import { ask, call, type JobJson, over } from "../support/workers.ts";

const KILLS = 20;
const skip = searched<string | false>("takes minutes: SOLVAY_TEST_THOROUGH=1", false);

test("killed at 20 random moments, jobs asked for between: each is done once, none is lost or invented", {
  skip,
}, async (t) => {
  const random = seededRandom();
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-kills-"));
  t.after(() => {
    ServerProcess.killAll();
    rmSync(folder, { recursive: true, force: true });
  });
  renameSync(await serverFolder(), path.join(folder, "serve"));
  const asked: string[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const server = new ServerProcess(folder);
    const url = await server.url;
    // At times while it answers, at times while it still opens its model.
    const jobs = ask(url, { prompt: `a lake ${kill}`, steps: 12, width: 64, height: 64, seed: kill }, { count: 2 });
    const known = random() < 0.8;
    if (known) asked.push(...(await jobs).map(({ id }) => id));
    else jobs.then((some) => asked.push(...some.map(({ id }) => id))).catch(() => {});
    await delay(random() * 6000);
    await server.end("SIGKILL");
  }
  const server = new ServerProcess(folder);
  const url = await server.url;
  for (const id of asked) assert.equal((await over(url, id)).state, "done");
  const { jobs } = await call<{ jobs: readonly JobJson[] }>(`${url}/api/jobs?limit=500`);
  // An answer that a kill cut off may have been a job.
  for (const { id } of jobs) assert.equal((await over(url, id)).state, "done");
  assert.ok(jobs.length >= asked.length && jobs.length <= 2 * KILLS, `${jobs.length} of ${asked.length}`);
  const { pictures } = await call<{ pictures: readonly { job: string; asset: string }[] }>(
    `${url}/api/gallery?limit=200`,
  );
  assert.deepEqual(pictures.map(({ job }) => job).toSorted(), jobs.map(({ id }) => id).toSorted());
  for (const { asset } of pictures) assert.equal((await fetch(`${url}/api/assets/${asset}`)).status, 200);
  assert.equal(await server.end("SIGTERM"), 0);
});
