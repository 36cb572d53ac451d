/** @file What the loop leaves of pictures: nothing beside one that is saved; of one that failed its file, its preview, and a word; and what it finds. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import { UsageError } from "../../src/errors.ts";
import type { GenerateEvent } from "../../src/job/types.ts";
import { completeLine } from "../../src/repl/commands.ts";
import { fakeContext } from "./fake-context.ts";

const PACE = { elapsedMs: 1, stepMs: 1, etaMs: 1, readBytes: 0, bytesPerSecond: 0, waitMs: 0 };
const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-left-"));

/** A loop whose pictures fail after their first step where the prompt says so. `during`: files while the step is told. */
async function talk(input: string, flags: readonly string[] = [], cwd = folder()) {
  const fake = fakeContext({ cwd, input });
  const during: string[][] = [];
  const files = () => readdirSync(cwd).filter((name) => name !== "state");
  await runCli(flags, {
    ...fake.context,
    env: { SOLVAY_STATE: path.join(cwd, "state") },
    openEngine: async (options) => ({
      ...(await fake.context.openEngine(options)),
      async *generate(job) {
        const shape = { seed: 1, steps: 2, guidance: 5, width: 16, height: 16 };
        yield { type: "start", negativePrompt: "", ...shape, ...job } as unknown as GenerateEvent;
        const state = { step: 1, x: new Float32Array(4), history: [] };
        yield { type: "step", step: 1, steps: 2, ...PACE, state };
        during.push(files().toSorted());
        yield { type: "preview", step: 1, steps: 2, width: 1, height: 1, rgb: new Uint8Array(3) };
        if (job.prompt === "fail") throw new UsageError({ code: "E_X", problem: "it failed", next: "-" });
        const peaks = { elapsedMs: 1, peakRssBytes: 1, peakDeviceBytes: 1, peakRamBytes: 1, passes: [] };
        const image = { type: "image", bytes: Uint8Array.of(1), format: "png", precision: "fp32" } as const;
        yield { ...image, ...shape, ...peaks };
      },
    }),
  });
  return { files: files().toSorted(), during, out: fake.out(), err: fake.err(), cwd };
}

test("one that failed keeps its number, its state and its preview; the next takes another number", async () => {
  const { files, err, out, during } = await talk("fail\na lake\n");
  assert.deepEqual(files, ["output_001.preview.png", "output_001.resume", "output_002.png"]);
  assert.match(
    err,
    /\nThe unfinished picture is kept, drawn up to step 1 of 2; to go on: solvay resume output_001\.resume\n/,
  );
  assert.match(err, /\nKept its preview after step 1 of 2: output_001\.preview\.png\nE_X: it failed/);
  assert.match(out, /Saved: output_002\.png\n/);
  assert.deepEqual(during[0], []);
});

test("--save-every is heeded, and nothing of it is left beside the picture", async () => {
  const { files, during } = await talk("a lake\n", ["--save-every", "1"]);
  assert.deepEqual([during, files], [[["output_001.resume"]], ["output_001.png"]]);
});

test("unfinished pictures that lie here are told of, one by its name", async () => {
  const cwd = folder();
  writeFileSync(path.join(cwd, "b.resume"), "");
  assert.match(
    (await talk("", [], cwd)).err,
    /^Unfinished picture b\.resume lies here: solvay resume goes on with it\.\n/,
  );
  writeFileSync(path.join(cwd, "a.resume"), "");
  const { err } = await talk("", [], cwd);
  assert.match(err, /^Unfinished pictures \(2\) lie here: solvay resume goes on with one of them\.\n/);
});

test("completion: what a command may go on to, lists' last items, hidden files where they are asked for", () => {
  const cwd = folder();
  mkdirSync(path.join(cwd, "loras"));
  for (const name of ["loras/fur.safetensors", "fog.safetensors", ".hidden"]) writeFileSync(path.join(cwd, name), "");
  const complete = (line: string) => completeLine(line, cwd);
  assert.deepEqual(complete(":lora fo"), [["fog.safetensors"], "fo"]);
  assert.deepEqual(complete(":lora a:0.5, loras/f"), [["loras/fur.safetensors"], "loras/f"]);
  assert.deepEqual(complete(":lora "), [["fog.safetensors", "loras/", "none"], ""]);
  assert.deepEqual(complete(":lora a, "), [["fog.safetensors", "loras/"], ""]);
  assert.deepEqual(complete(":load .h"), [[".hidden"], ".h"]);
  assert.deepEqual(complete(":load nowhere/"), [[], "nowhere/"]);
  assert.deepEqual(complete(":format W"), [["webp"], "W"]);
  assert.deepEqual(complete(":seed r"), [["random"], "r"]);
});
