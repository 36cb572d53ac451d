/** @file The loop's own life: leaving it, stopping and closing what it opened, settings that outlast a model, words for its errors. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import { BudgetError, DeviceError, UsageError } from "../../src/errors.ts";
import type { Engine, OpenEngineOptions } from "../../src/job/types.ts";
import type { CliContext } from "../../src/terminal/context.ts";
import { type FakeContext, type FakeOptions, fakeContext } from "./fake-context.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-loop-"));

async function talk(
  input: string,
  options: Partial<FakeOptions> = {},
  argv: string[] = [],
  more: Partial<CliContext> = {},
) {
  const fake = fakeContext({ cwd: folder(), input, ...options });
  const exitCode = await runCli(argv, { ...fake.context, ...more });
  return { ...fake, exitCode, files: readdirSync(fake.context.cwd) };
}

/** The fake's engines, with what happens to them in their order; `change` makes them behave otherwise. */
function watched(fake: FakeContext, log: string[], change: Partial<Engine> = {}) {
  return async (options: OpenEngineOptions): Promise<Engine> => {
    log.push(`open ${options.model}`);
    const engine = await fake.context.openEngine(options);
    return {
      ...engine,
      ...change,
      async [Symbol.asyncDispose]() {
        await new Promise((resolve) => setImmediate(resolve));
        log.push(`close ${options.model}`);
      },
    };
  };
}

for (const word of ["/quit", "/exit", "/q", ":quit", ":Exit", ":Q", " QUIT "]) {
  test(`${word} leaves, as people type it elsewhere`, async () => {
    const { exitCode, jobs, out } = await talk(`${word}\nnever\n`);
    assert.deepEqual([exitCode, jobs.length], [0, 0]);
    assert.match(out(), /\nGoodbye\.\n$/);
  });
}

test("what only begins like a word for leaving is a prompt", async () => {
  const { jobs } = await talk("quit smoking\n/quite a lake\nq.\n");
  assert.deepEqual(
    jobs.map(({ prompt }) => prompt),
    ["quit smoking", "/quite a lake", "q."],
  );
});

test("Ctrl-C at the prompt leaves, with the engine closed before the loop ends", async () => {
  const stdin = new PassThrough();
  const fake = fakeContext({ cwd: folder() });
  const log: string[] = [];
  const loop = runCli(["--model", "m"], { ...fake.context, stdin, openEngine: watched(fake, log) }).then((exitCode) => {
    log.push("ended");
    return exitCode;
  });
  while (!fake.out().includes("[1] Prompt > ")) await new Promise((resolve) => setImmediate(resolve));
  fake.interrupt();
  assert.equal(await loop, 0);
  assert.deepEqual(log, ["open m", "close m", "ended"]);
  assert.match(fake.out(), /Goodbye\.\n$/);
  // Nobody listens any more.
  for (let i = 0; i < 3; i++) fake.interrupt();
});

test("Ctrl-C stops the image, once more leaves, and a third time ends the process at once", async () => {
  const log: string[] = [];
  const { exitCode, jobs } = await talk("one\ntwo\n", {
    atStep: ({ interrupt, beside }) => {
      interrupt();
      log.push(`${beside.at(-1)?.signal?.aborted}`);
      interrupt();
      try {
        interrupt();
      } catch (error) {
        log.push(String(error));
      }
    },
  });
  assert.equal(exitCode, 0);
  assert.deepEqual(log, ["true", "Error: exitNow(130)"]);
  assert.equal(jobs.length, 1);
});

test("after a stopped image Ctrl-C at the next prompt leaves", async () => {
  const stdin = new PassThrough();
  const fake = fakeContext({ cwd: folder(), atStep: ({ interrupt }) => interrupt() });
  const loop = runCli([], { ...fake.context, stdin });
  stdin.write("one\n");
  while (!fake.out().includes("Stopped.\n[1] Prompt > ")) await new Promise((resolve) => setImmediate(resolve));
  fake.interrupt();
  assert.equal(await loop, 0);
});

test("a stopped image is a stopped one, whatever error its work ends with", async () => {
  const { out, err } = await talk("one\n", {
    atStep: ({ interrupt }) => {
      interrupt();
      throw new Error("the device went away meanwhile");
    },
  });
  assert.match(out(), /one\nStopped\.\n/);
  assert.ok(!err().includes("E_INTERNAL"), err());
});

test("Ctrl-C while the model opens stops that", async () => {
  let aborted: boolean | undefined;
  const fake: FakeContext = fakeContext({
    cwd: folder(),
    input: "a lake\n",
    fail: ({ open }) => {
      if (!open) return;
      fake.interrupt();
      aborted = open.signal?.aborted;
      open.signal?.throwIfAborted();
    },
  });
  assert.equal(await runCli([], fake.context), 130);
  assert.equal(aborted, true);
  assert.equal(fake.jobs.length, 0);
});

test("someone at a terminal is greeted; a pipe is not", async () => {
  const { out } = await talk("quit\n");
  assert.ok(!out().includes("Solvay"));
  const stdin = Object.assign(new PassThrough(), { isTTY: true as const });
  stdin.end("quit\n");
  const fake = fakeContext({ cwd: folder() });
  await runCli([], { ...fake.context, stdin });
  assert.match(fake.out(), /^Solvay \S+: type a prompt, :help for commands, quit to leave\.\n/);
});

test("one model at a time: the old one is closed before another opens; the demo leaves the artifact behind", async () => {
  const log: string[] = [];
  const fake = fakeContext({ cwd: folder(), input: "a\n:model b\n:model\n:model demo\nc\n" });
  await runCli(["--model", "m", "--artifact", "x.lzr2"], { ...fake.context, openEngine: watched(fake, log) });
  assert.deepEqual(log, ["open m", "close m", "open b", "close b", "open undefined", "close undefined"]);
  assert.deepEqual(
    fake.opened.map(({ artifact }) => artifact),
    ["x.lzr2", "x.lzr2", undefined],
  );
  assert.match(fake.out(), /Model: b\n.*:model\nModel: b\n.*:model demo\nModel: demo\n/);
});

test("budgets go to the open engine and to the next one, each beside the other; refused ones are forgotten", async () => {
  const { budgets, opened, out } = await talk(":vram 1G\n:ram 2G\n:model b\n");
  const [vram, ram] = [{ bytes: 2 ** 30 }, { bytes: 2 ** 31 }];
  assert.deepEqual(budgets, [{ vram }, { ram }]);
  assert.deepEqual(opened[1]?.budgets, { vram, ram });
  assert.match(out(), /\nVRAM: 1\.0* ?GiB|\nVRAM: 1G/);
  const fake = fakeContext({ cwd: folder(), input: ":vram 1G\n:vram\n:model b\n" });
  const setBudgets = () =>
    Promise.reject(new UsageError({ code: "E_BUDGET", problem: "too little", next: "give more" }));
  await runCli([], { ...fake.context, openEngine: watched(fake, [], { setBudgets }) });
  assert.match(fake.err(), /^E_BUDGET: too little/m);
  assert.match(fake.out(), /:vram\nVRAM: chosen by what is free\n/);
  assert.deepEqual(fake.opened.at(-1)?.budgets, {});
});

test(":plan plans what the next image would be", async () => {
  const planned: object[] = [];
  const fake = fakeContext({ cwd: folder(), input: ":steps 7\n:size 64x128\n:guidance 1\n:seed 3\n:plan\n" });
  const plan = (job: object) => {
    planned.push(job);
    return Promise.reject(new DeviceError({ code: "E_X", problem: "that is enough", next: "-" }));
  };
  await runCli([], { ...fake.context, openEngine: watched(fake, [], { plan }) });
  const [{ steps, width, height, guidance }] = planned as [Record<string, unknown>];
  assert.deepEqual({ steps, width, height, guidance }, { steps: 7, width: 64, height: 128, guidance: 1 });
});

test("settings add up, are shown with their defaults, and are taken away one by one", async () => {
  const { out, jobs, err } = await talk(
    ":steps\n:seed 7\n:steps 4\n:size 64x128\n:size 64\n:seed random\na\n:seed\n:size\n",
  );
  const shown = out()
    .split("\n")
    .filter((line) => /^(Steps|Seed|Size)/.test(line));
  assert.deepEqual(shown, [
    "Steps: 30",
    "Seed: 7",
    "Steps: 4",
    "Size: 64x128",
    "Seed: random",
    "Seed: random",
    "Size: 64x128",
  ]);
  assert.deepEqual([jobs[0]?.steps, jobs[0]?.seed, jobs[0]?.width], [4, undefined, 64]);
  assert.match(err(), /:size must be 2 values with an x between them \(found "64"\)/);
});

test(":again needs a prompt before it, and repeats the last, also one that failed", async () => {
  let failed = false;
  const { err, jobs } = await talk(":again\nbad\n:again\n", {
    fail: ({ job }) => {
      if (!job || failed) return;
      failed = true;
      throw new Error("surprise");
    },
  });
  assert.match(err(), /^E_USAGE: there is no prompt to repeat yet\. Next: type a prompt\.$/m);
  assert.deepEqual(
    jobs.map(({ prompt }) => prompt),
    ["bad", "bad"],
  );
});

test("a word that every object has is no command", async () => {
  const { err, exitCode } = await talk(":constructor\n:toString\n");
  assert.equal(exitCode, 0);
  assert.equal(err().match(/^E_USAGE: unknown command :\w+\. Next: type :help\.$/gm)?.length, 2);
});

test("errors of every kind name the loop's words, not the options", async () => {
  const fields = {
    code: "E_X",
    subject: "--ram",
    problem: "--vram 1G is too little",
    next: "give --vram 2G or --ram 1G",
  };
  for (const Kind of [BudgetError, UsageError, DeviceError]) {
    const { err } = await talk("a\n", {
      fail: ({ job }) => {
        if (job) throw new Kind(fields);
      },
    });
    assert.match(err(), /^E_X :ram: :vram 1G is too little\. Next: give :vram 2G or :ram 1G\.$/m);
  }
});

test("what keeps a picture from being saved is said before it is made", async (t) => {
  const cwd = folder();
  const full = await talk("a\n:model b\nc\n", {
    cwd,
    fail: ({ check }) => {
      if (check) writeFileSync(path.join(cwd, "output_999999.png"), "");
    },
  });
  assert.equal(full.jobs.length, 1);
  assert.match(full.err(), /^E_OUTPUT .*the last number there is/m);
  const disk = await fs.statfs(cwd);
  t.mock.method(fs, "statfs", async () => Object.assign(disk, { bsize: 1, blocks: 1e9, bfree: 9000, bavail: 9000 }));
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  // 16 x 16 pixels have room, the model's 128 x 128 have not.
  const small = await talk("a\n:size 16x16\nb\n");
  assert.deepEqual(
    small.jobs.map(({ prompt }) => prompt),
    ["b"],
  );
  assert.match(small.err(), /^E_DISK_FULL /m);
});

test("an engine that ends without a picture is an error; the published artifact is left alone where one is named", async () => {
  const fake = fakeContext({ cwd: folder(), input: "a\n" });
  const generate = async function* () {};
  await runCli([], { ...fake.context, openEngine: watched(fake, [], { generate }) });
  assert.match(fake.err(), /^E_INTERNAL: unexpected: the engine ended without an image/m);
  const cwd = folder();
  writeFileSync(path.join(cwd, "Marius_V18_SDXL.lzr2"), "LZR2");
  const { opened, err } = await talk("quit\n", { cwd }, ["--artifact", "mine.lzr2"]);
  assert.equal(opened[0]?.artifact, "mine.lzr2");
  assert.ok(!err().includes("Found") && existsSync(cwd));
});
