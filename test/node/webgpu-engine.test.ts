/** @file A small model (in thorough runs the demo model) through the engine on a graphics adapter: near the CPU's picture, and the same bytes for every budget. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import os from "node:os";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type AdapterFacts, NEEDED_LIMITS } from "../../src/backend/webgpu/adapter/adapter.ts";
import { runCli } from "../../src/cli/program.ts";
import { adapterFindings } from "../../src/node/doctor.ts";
import { listAdapters } from "../../src/node/gpu/dawn.ts";
import { BudgetError, DeviceError, type Engine, type LoadEvent, openEngine, UsageError } from "../../src/node.ts";
import { findTestAdapter } from "../backend/software-vulkan.ts";
import { sameBytes } from "../support/same.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const adapter = await findTestAdapter();
const options = adapter.skip === undefined ? {} : { skip: `skipped: ${adapter.skip}` };
// SwiftShader takes minutes to compile the demo model's kernels, and 25 s of CPU for a step and the decode of its own 256.
const MODEL = searched({ model: fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)) }, {});
const SIDE = searched(16, 256);
const JOB = { prompt: "a lake at dawn, mountains", seed: 7, steps: 2, width: SIDE, height: SIDE };

let cpu: Engine;
let gpu: Engine;
/** What the CPU's engine notes, of which fp16 was asked. */
const cpuNotes: string[] = [];
before(async () => {
  if (adapter.skip !== undefined) return;
  cpu = await openThreadlessEngine({ ...MODEL, backend: "cpu", precision: "fp16", onEvent: noteInto(cpuNotes) });
  const budgets = { vram: "4G", ram: "1G" };
  gpu = await openEngine({ ...MODEL, backend: "webgpu", adapter: adapter.name, budgets });
});
after(async () => {
  for (const engine of [cpu, gpu]) await engine?.[Symbol.asyncDispose]();
});

function noteInto(notes: string[]): (event: LoadEvent) => void {
  return (event) => {
    if (event.type === "note") notes.push(event.text);
  };
}

async function picture(engine: Engine, onStep = (_: number, __: number) => {}): Promise<Uint8Array<ArrayBuffer>> {
  for await (const event of engine.generate(JOB)) {
    if (event.type === "step") onStep(event.step, event.readBytes);
    if (event.type === "image") return new Uint8Array(event.bytes);
  }
  throw new Error("no image");
}

/** `812` of "give --vram 812M or more", which a picture under too small a budget is refused with. */
async function leastMiB(budgets: { readonly vram: string; readonly ram?: string }): Promise<number> {
  await gpu.setBudgets(budgets);
  const refusal = await picture(gpu).then(
    () => assert.fail("1 MiB should not do"),
    (error: unknown) => error,
  );
  const option = budgets.ram === undefined ? "vram" : "ram";
  assert.ok(refusal instanceof BudgetError && refusal.code === `E_${option.toUpperCase()}`, String(refusal));
  return Number(new RegExp(`--${option} (\\d+)M`).exec(refusal.message)![1]);
}

test("webgpu: within 2/255 and 50 dB of the CPU, one PNG for all budgets", options, async () => {
  assert.equal(gpu.info.backend, "webgpu");
  const resident = await picture(gpu);
  const byCpu = await picture(cpu);
  await requireSamePicture(resident, byCpu);
  assert.match(Buffer.from(byCpu).toString("latin1"), /"backend":"cpu","precision":"fp32"/);

  const leastVram = `${await leastMiB({ vram: "1M" })}M`;
  const reads: number[] = [];
  const tight = [leastVram, "1G", (_: number, readBytes: number) => reads.push(readBytes)] as const;
  // On the CPU budgets.test.ts has many more.
  const others = searched([], [[leastVram, `${await leastMiB({ vram: leastVram, ram: "1M" })}M`, undefined] as const]);
  for (const [vram, ram, onStep] of [tight, ...others]) {
    await gpu.setBudgets({ vram, ram });
    assert.ok(
      (await gpu.plan(JOB)).phases.some(({ streamedBytes }) => streamedBytes > 0),
      "all stays",
    );
    sameBytes(await picture(gpu, onStep), resident, `--vram ${vram} --ram ${ram}`);
  }
  // With room in RAM the weights that stream are read from disk in the first step alone.
  assert.ok(reads[0]! > 0, "nothing streamed");
  assert.deepEqual(reads.slice(1), [0]);
});

test("an adapter that isn't there is an error, never the CPU in silence", options, async () => {
  await assert.rejects(
    openThreadlessEngine({ adapter: "no such card" }),
    (error) => error instanceof DeviceError && error.code === "E_NO_ADAPTER",
  );
});

test("an adapter that is named for a backend without any is refused", async () => {
  for (const backend of ["cpu", "reference"] as const)
    await assert.rejects(openThreadlessEngine({ backend, adapter: "gtx" }), (error) => {
      assert.ok(error instanceof UsageError && error.code === "E_USAGE", String(error));
      return true;
    });
});

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
// Elsewhere nothing hides a card that is there.
const noDrivers = process.platform === "linux" ? {} : { skip: "skipped: Vulkan's drivers are hidden on Linux alone" };

test("without an adapter, or without the named one, the command ends at once and says what to do", noDrivers, (t) => {
  // Where the package itself can't be loaded, that is what is said.
  if (!/^no graphics adapter/.test(adapter.skip ?? "no graphics adapter")) return t.skip(`skipped: ${adapter.skip}`);
  const nowhere = "/nonexistent/driver.json";
  const env = { ...process.env, VK_ICD_FILENAMES: nowhere, VK_DRIVER_FILES: nowhere, VK_ADD_DRIVER_FILES: "" };
  for (const [args, message] of [
    [
      ["--backend", "webgpu"],
      /^E_NO_ADAPTER: no graphics card was found \(found: none.*\)\. Next: .*--backend cpu\.$/m,
    ],
    [["--adapter", "nonexistent"], /^E_NO_ADAPTER nonexistent: .*\(found: none.*\)\. Next: .*--backend cpu\.$/m],
  ] as const) {
    const result = spawnSync(process.execPath, [MAIN, "generate", "x", ...args], {
      env,
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.equal(result.status, 5, result.stderr);
    assert.match(result.stderr, message);
    assert.equal(result.stdout, "");
  }
});

test("precision: what was asked for is what the engine says, on the CPU with a note", options, async () => {
  assert.equal(gpu.info.precision, "fp32");
  const notes: string[] = [];
  const card = { ...MODEL, backend: "webgpu", adapter: adapter.name, precision: "fp16" } as const;
  await using halves = await openThreadlessEngine({ ...card, onEvent: noteInto(notes) });
  const features = (await listAdapters()).find(({ device }) => device === adapter.name)!.features;
  const found = [halves.info.precision, ...notes].join();
  // A card with matrices uses them.
  if (features.includes("shader-f16")) assert.match(found, /^fp16 \((shader-f16|subgroup matrices)\)$/);
  else assert.match(found, /^fp32,.*no shader-f16/);
  assert.equal(cpu.info.precision, "fp32");
  assert.match(cpuNotes.join(), /for graphics cards/);
});

test("doctor says which of several cards auto takes, what they lack, and what to do where there is none", () => {
  const card: AdapterFacts = {
    backend: "vulkan",
    vendor: "nvidia",
    architecture: "pascal",
    device: "nvidia-geforce-gtx-1060-6gb",
    description: "550.54",
    software: false,
    features: ["subgroups"],
    limits: NEEDED_LIMITS,
  };
  const software = { ...card, device: "llvmpipe-llvm-15", software: true, features: [] };
  const small = { ...card, device: "old-card", limits: { ...NEEDED_LIMITS, maxBufferSize: 1000 } };
  const second = { ...card, device: "intel-uhd", features: ["shader-f16"] };
  const found = adapterFindings([software, small, card, second]);
  assert.deepEqual(
    found.map(({ state }) => state),
    ["note", "note", "ok", "ok"],
  );
  const uses = found.map(({ text }) => /used by --backend auto|only when named|too small/.exec(text)?.[0]);
  assert.deepEqual(uses, ["only when named", "too small", "used by --backend auto", "only when named"]);
  assert.match(found[1]!.text, /maxBufferSize \(found 1000, needed 268435456\); update the driver/);
  assert.match(found[2]!.text, /550\.54.*; offers subgroups, lacks shader-f16, chromium-experimental-subgroup-matrix$/);
  assert.deepEqual(found[2]!.adapter, card);
  const none = adapterFindings([software, small]);
  assert.equal(none.length, 3);
  assert.match(none[2]!.text, /computing on the CPU; .*install its driver$/);
});

test("doctor tries the kernels of a named adapter", options, async () => {
  const fake = fakeContext({ cwd: os.tmpdir() });
  await runCli(["doctor", "--adapter", adapter.name, "--json"], fake.context);
  const findings = JSON.parse(fake.out()) as { topic: string; state: string; text: string }[];
  const kernels = findings.find(({ topic }) => topic === "graphics kernels")!;
  assert.match(kernels.text, /passes the self-test: .*--precision fp16 computes in fp/);
});
