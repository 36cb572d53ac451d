/**
 * @file bench/card: what is packed runs by itself, in an empty home, and gives every figure of a dry run on software Vulkan; and
 * `solvay bench --report` is what it runs. The pack's promised size is looked at in thorough runs: it takes minutes of compressing.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { pictureFigures } from "../../src/bench/report/pictures.ts";
import { chromiumPackageProblem } from "../support/chromium-package.ts";
import { searched } from "../support/thorough.ts";
import { chooseVulkan } from "../support/vulkan.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const other = process.platform === "linux" && process.arch === "x64" ? undefined : "skipped: it packs for x64 Linux";
const skip = other ?? chromiumPackageProblem();
const scratch = mkdtempSync(path.join(os.tmpdir(), "solvay-card-"));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** Of a dry run, in their order. */
const STEPS = [
  "environment",
  "doctor",
  "demo, fp32, 4G",
  "demo: the least budget",
  "demo, fp32, the least",
  "demo: one picture",
  "shape: group norm, 128x128",
  "model, fp16 without matrices, 1M",
  "torch",
];

interface Line {
  readonly command?: string;
  readonly step?: string;
  readonly ok?: boolean;
  readonly error?: string;
  readonly figures?: unknown;
}

test("packed, carried away and run: every figure of a dry run", skip === undefined ? {} : { skip }, async () => {
  const packed = path.join(scratch, "card");
  const size = searched(["--level", "0", "--limit-mib", "64"], []);
  const pack = spawnSync("bash", [path.join(ROOT, "bench/card/pack.sh"), ...size, packed], { encoding: "utf8" });
  assert.equal(pack.status, 0, pack.stderr);
  const out = path.join(scratch, "out");
  // A small model has few kernels to compile, which is what takes the time on a CPU.
  const model = searched(["--model", path.join(ROOT, "fixtures/golden/flat")], []);
  const words = [path.join(packed, "run.sh"), "--quick", ...model, "--seconds", "500", "--out", out];
  // Its kernels are compiled in a tenth of the time that lavapipe takes, which has those of fp16, too.
  const { env } = await chooseVulkan({ SOLVAY_TEST_VULKAN: "swiftshader" });
  const settings = { cwd: scratch, encoding: "utf8", env: { ...process.env, ...env } } as const;
  const run = spawnSync("bash", [...words, "--adapter", "swiftshader"], settings);
  assert.equal(run.status, 0, `${run.stdout}\n${run.stderr}`);
  const text = readFileSync(path.join(out, "results.jsonl"), "utf8");
  const [head, ...lines] = text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Line]));
  assert.match(head!.command!, /^solvay bench --report results\.jsonl --adapter .+ --quick$/);
  const failed = lines.filter(({ ok }) => !ok).map(({ step, error }) => `${step}: ${error}`);
  assert.deepEqual(failed, []);
  assert.deepEqual(
    lines.map(({ step }) => step),
    STEPS,
  );
  const figures = (name: string) => lines.find(({ step }) => step === name)!.figures;
  assert.equal((figures("demo: one picture") as { same: boolean }).same, true);
  // Without matrices the command runs, as far as to its refusal.
  assert.equal(figures("model, fp16 without matrices, 1M"), "too small");
  // It goes on issues: nobody's folders are in it.
  for (const folder of [scratch, os.homedir(), ROOT]) assert.ok(!text.includes(folder), folder);
});

test("a picture's figures are those of the last attempt, the fastest step but the first", () => {
  const step = (stepMs: number) => ({ type: "step", stepMs, waitMs: 100, readBytes: 7 });
  const events = [
    { type: "plan" },
    step(9000),
    { type: "note", text: "once more" },
    { type: "plan" },
    step(8000),
    step(2000),
    step(1500),
    { type: "image", elapsedMs: 30_000, precision: "fp32", sha256: "ab", peakDeviceBytes: 5, peakRssBytes: 6 },
  ];
  const figures = pictureFigures("4G", 64, events);
  assert.equal(figures.stepSeconds, 1.5);
  assert.equal(figures.imageSeconds, 30);
  assert.deepEqual(figures.steps[0], { seconds: 8, waitSeconds: 0.1, readBytes: 7 });
  assert.deepEqual([figures.steps.length, figures.notes], [3, ["once more"]]);
  assert.equal(pictureFigures("4G", 64, events.slice(0, 2)).stepSeconds, undefined);
});
