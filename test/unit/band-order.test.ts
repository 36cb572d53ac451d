/** @file What bands tell whoever computes them: which pass, which come next, whose order values lie in, and who stops it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bandProgram } from "../../src/bands/bands.ts";
import { bandStorage, type RunBand, runBands } from "../../src/bands/run.ts";
import { GraphBuilder } from "../../src/ir/builder.ts";

/** Two convolutions of 12 rows: what lies between them is spilled. */
function program() {
  const g = new GraphBuilder("net");
  let x = g.input("latent", [1, 2, 12, 4]);
  for (const name of ["first", "second"]) {
    x = g.segment(name, () => {
      const attrs = { stride: 1, pad: [1, 1, 1, 1] } as const;
      return g.node("conv2d", [x, g.weight(`${name}.w`, [2, 2, 3, 3]), g.weight(`${name}.b`, [2])], attrs);
    });
  }
  g.output("rgb", x);
  return bandProgram(g.build(), { bandBytes: 1, id: "decode" });
}

/** Runs it with nothing computed, and gives what was asked. */
async function asked(signal?: AbortSignal, latent = new Float32Array(2 * 12 * 4)) {
  const made = program();
  const storage = bandStorage(made);
  const calls: { readonly id: string; readonly inputs: readonly string[]; readonly options: Parameters<RunBand>[2] }[] =
    [];
  const run: RunBand = async (id, inputs, options) => void calls.push({ id, inputs: [...inputs.keys()], options });
  const memory = {
    spilled: new Float32Array(storage.spilledBytes / 4),
    gathered: new Float32Array(storage.gatherBytes / 4),
  };
  await runBands(made, new Map([["latent", latent]]), { run, rowsFirst: true, storage, memory, signal });
  return { calls, made };
}

test("each band says which four come after it, over the ends of layers, so that their weights are read ahead", async () => {
  const { calls, made } = await asked();
  const ids = calls.map(({ id }) => id);
  assert.ok(made.layers.length > 1 && ids.length > 6);
  assert.equal(ids.length, made.bandRuns);
  for (const [i, { options }] of calls.entries()) assert.deepEqual(options.upcoming, ids.slice(i + 1, i + 5));
  // As often as the plan counts each.
  for (const { id, repeats } of made.passes) assert.equal(ids.filter((other) => other === id).length, repeats, id);
});

test("what is spilled between layers lies as the device has it; what comes from the caller, and goes to it, doesn't", async () => {
  const { calls, made } = await asked();
  const firstLayer = made.layers[0]!.bands.length;
  for (const [i, { inputs, options }] of calls.entries()) {
    const reads = inputs.filter((name) => options.inDeviceOrder.has(name));
    const results = [...options.into.keys()].filter((name) => options.inDeviceOrder.has(name));
    if (i < firstLayer) assert.deepEqual(reads, [], "the latent");
    else assert.equal(reads.length, inputs.length);
    if (i >= calls.length - made.layers.at(-1)!.bands.length) assert.deepEqual(results, [], "the picture");
    else assert.equal(results.length, options.into.size);
  }
});

test("each band hears the signal; inputs of another size are refused before anything runs", async () => {
  const { signal } = new AbortController();
  const { calls } = await asked(signal);
  assert.ok(calls.every(({ options }) => options.signal === signal));
  await assert.rejects(asked(undefined, new Float32Array(95)), /net input latent: 95 of 96 elements/);
});
