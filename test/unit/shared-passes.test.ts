/** @file Which jobs of the queue a worker claims beside the first. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SharedPasses } from "../../src/server/work/shared-passes.ts";

/** How many of such jobs are claimed beside the first, of three lanes. */
async function claimed(first: object, next: object): Promise<number> {
  const shared = new SharedPasses({ plan: async () => ({ lanes: 3 }) } as never, {} as never);
  const record = (job: object) => ({ model: "m", upscale: undefined, job: { prompt: "x", seed: 1, ...job } });
  const claims = {
    next: async () => record(next),
    claim: async (_: unknown, fits: (next: object) => boolean) =>
      fits({ record: record(next), suspect: false }) ? { record: record(next) } : undefined,
  };
  const found = shared.neighbours(claims as never, { record: record(first), suspect: false } as never, {} as never);
  return (await Array.fromAsync(found)).length;
}

test("jobs of other prompts, seeds and strengths of guidance share passes; other sizes, and guided beside unguided ones, don't", async () => {
  assert.equal(await claimed({ guidance: 5 }, { guidance: 1.5, seed: 2, prompt: "y", format: "jpeg" }), 2);
  // The default is guided.
  assert.equal(await claimed({}, { guidance: 2 }), 2);
  for (const [first, next] of [
    [{ guidance: 1 }, { guidance: 1.5 }],
    [{}, { guidance: 1 }],
    [{ width: 512 }, { width: 768 }],
    [{ steps: 4 }, { steps: 5 }],
  ] as const) {
    assert.equal(await claimed(first, next), 0, JSON.stringify([first, next]));
  }
});
