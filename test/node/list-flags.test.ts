/** @file Flags that are given again: each adds one, in their order; those behind one of a list tell of the last before them; what a plan takes of all. */
import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import { planJobOf } from "../../src/terminal/options.ts";
import { fakeContext } from "./fake-context.ts";

/** The job that `generate x` with these flags is, or what is said. */
async function job(...flags: string[]): Promise<Readonly<Record<string, unknown>> | string> {
  const fake = fakeContext({ cwd: mkdtempSync(path.join(tmpdir(), "solvay-flags-")) });
  await runCli(["generate", "x", ...flags], fake.context);
  return fake.jobs[0] ? { ...fake.jobs[0] } : fake.err();
}
const field = async (name: string, ...flags: string[]) => {
  const made = await job(...flags);
  return typeof made === "string" ? made : made[name];
};

test("files with commas, quotes and blanks are one each", async () => {
  const files = ["a, b", 'c"d"', " e", "f"];
  assert.deepEqual(await field("embeddings", ...files.flatMap((file) => ["--embedding", file])), files);
  assert.deepEqual(await field("loras", "--lora", 'a, "b":0.5', "--lora", "c"), [
    { file: 'a, "b"', weight: 0.5 },
    { file: "c" },
  ]);
});

test("each part is of the last before it; pictures add up, all else is said once", async () => {
  const two = [
    "--control",
    "a",
    "--control-weight",
    "0.5",
    "--control-guess",
    "--control",
    "b",
    "--control-image",
    "p,q.png",
  ];
  assert.deepEqual(await field("controls", ...two), [
    { file: "a", weight: 0.5, guess: true },
    { file: "b", image: "p,q.png" },
  ]);
  const adapters = ["--ip-adapter", "a", "--ip-image", "1", "--ip-image", "2", "--ip-mask", "m", "--ip-adapter", "b"];
  assert.deepEqual(await field("ipAdapters", ...adapters, "--ip-weight", "2"), [
    { file: "a", images: ["1", "2"], masks: ["m"] },
    { file: "b", weight: 2 },
  ]);
  const images = (count: number) => Array.from({ length: count }, (_, i) => ["--ip-image", `${i}`]).flat();
  const most = (await field("ipAdapters", "--ip-adapter", "a", ...images(16))) as { readonly images: string[] }[];
  assert.equal(most[0]!.images.length, 16);
  for (const [flags, said] of [
    [
      ["--ip-adapter", "a", ...images(17)],
      /^E_USAGE --ip-image: it is said more than 16 times of a\. Next: write it behind the --ip-adapter/,
    ],
    [["--ip-image", "1"], /^E_USAGE --ip-image: there is no --ip-adapter before it\./],
    [
      ["--control", "a", "--control-weight", "1", "--control-weight", "1"],
      /^E_USAGE --control-weight: it is said twice of a\./,
    ],
    [["--control", "a", "--control-guess", "--control-guess"], /^E_USAGE --control-guess: it is said twice of a\./],
  ] as const) {
    assert.match(String(await job(...flags)), said);
  }
});

test("a plan has what it depends on, and neither seed nor quality", () => {
  const all = { seed: 7, subseed: 8, quality: 9, steps: 3, width: 64, height: 32, guidance: 5, sampler: "euler" };
  const told = Object.entries(planJobOf(all)).filter(([, value]) => value !== undefined);
  const { seed: _, subseed: __, quality: ___, ...expected } = all;
  assert.deepEqual(Object.fromEntries(told), expected);
});
