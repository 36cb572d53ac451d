/** @file An engine that is closed while it works: its jobs end, then it does, and whoever waits for that is told. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const LIBRARY = new URL("../../src/node.ts", import.meta.url).href;
const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));

/** Of its own process: an engine that nobody waits for must not hold it, and one that is waited for must. */
const PROGRAM = `
import { openEngine } from ${JSON.stringify(LIBRARY)};
const engine = await openEngine({ model: ${JSON.stringify(MODEL)}, backend: "reference" });
const begun = Promise.withResolvers();
const paint = async (seed) => {
  for await (const event of engine.generate({ prompt: "a hill", seed, steps: 1000, width: 16, height: 16 }))
    if (event.type === "step") begun.resolve();
};
const jobs = [paint(1), paint(2)].map((job) => job.catch((error) => error.name));
await begun.promise;
const closed = engine[Symbol.asyncDispose]();
jobs.push(paint(3).catch((error) => error.name));
await closed;
console.log(JSON.stringify(["closed", ...(await Promise.all(jobs))]));
`;

test("closing stops the image at work and the one that waits, takes no other, and resolves", () => {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "--eval", PROGRAM], {
    encoding: "utf8",
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  assert.equal(stdout.trim(), '["closed","AbortError","AbortError","AbortError"]', stderr);
  assert.equal(status, 0, stderr);
});
