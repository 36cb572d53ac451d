/** @file The commands' manners: what is on the disk when, refusals before the work, Ctrl-C everywhere, JSON, words for failures. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { UsageError } from "../../src/errors.ts";
import type { Engine } from "../../src/job/types.ts";
import { createFile, renamePatiently, replaceFile, syncFolder } from "../../src/node/disk/atomic-file.ts";
import { interruptible } from "../../src/terminal/context.ts";
import { describeFailure, reportFailure, systemProblem } from "../../src/terminal/failure.ts";
import { savePicture } from "../../src/terminal/output-file.ts";
import { type FakeContext, type FakeOptions, fakeContext, runFake } from "./fake-context.ts";
import { namedAt, traceFiles, unsyncedBefore } from "./file-trace.ts";

const MODEL = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-faces-"));

const run = (line: readonly string[], options: Partial<FakeOptions> = {}) =>
  runFake(line, { cwd: folder(), ...options });

/** Puts `change` in place of functions of node:fs/promises until the test ends. */
function mockFs(
  t: TestContext,
  change: Partial<Record<"open" | "statfs" | "link" | "rename" | "stat", unknown>>,
): void {
  for (const [name, value] of Object.entries(change)) t.mock.method(fs, name as "open", value as typeof fs.open);
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
}

const systemError = (code: string, at = "") =>
  Object.assign(new Error(`${code}: injected, '${at}'`), { code, path: at });

test("a picture is on the disk before it has its name, and its name before it is told", async (t) => {
  const events = await traceFiles(t);
  for (const [more, name] of [
    [[], "output_001.png"],
    [["--output", "a.png"], "a.png"],
  ] as const) {
    const { exitCode, cwd, files } = await run(["generate", "x", ...more]);
    assert.deepEqual([exitCode, files], [0, [name]]);
    const at = namedAt(events, path.join(cwd, name));
    assert.ok(at > 0, name);
    const loose = (end: number) => unsyncedBefore(events, end).filter((file) => file.startsWith(cwd));
    assert.deepEqual(loose(at), []);
    assert.deepEqual(loose(events.length), []);
  }
});

test("the last line of --json is the file as it lies there: place, bytes, checksum of all of them", async () => {
  const { out, cwd, jobs } = await run([
    "generate",
    "lake",
    "--json",
    "--count",
    "2",
    "--output",
    "a.png",
    "--seed",
    "8",
  ]);
  const images = out()
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))
    .filter(({ type }) => type === "image");
  for (const [i, image] of images.entries()) {
    const bytes = readFileSync(path.join(cwd, `a_00${i + 1}.png`));
    assert.equal(image.file, path.join(cwd, `a_00${i + 1}.png`));
    assert.deepEqual([image.bytes, image.sha256], [2, createHash("sha256").update(bytes).digest("hex")]);
    assert.deepEqual([image.seed, bytes[0], image.precision], [8 + i, 8 + i, "fp32"]);
  }
  assert.deepEqual([images.length, jobs.length], [2, 2]);
});

test("a picture that fails is told once the others under way are saved; those after it don't begin, and wait for resume", async () => {
  const cwd = folder();
  const fail = (what: { readonly job?: { readonly seed?: unknown } }) => {
    if (what.job?.seed === 9) throw new UsageError({ code: "E_TEST", problem: "no", next: "-" });
  };
  const line = ["generate", "x", "--count", "4", "--seed", "8", "--output", "a.png"];
  const { exitCode, last, jobs } = await run(line, { cwd, fail: fail as never });
  assert.deepEqual([exitCode, readdirSync(cwd)], [2, ["a_001.png", "a_001.series"]]);
  assert.match(last, /^E_TEST/);
  assert.equal(jobs.length, 2);
});

test("names of several pictures stay in their folder", async () => {
  const cwd = folder();
  mkdirSync(path.join(cwd, "out"));
  assert.equal((await run(["generate", "x", "--count", "2", "--output", "out/a.png"], { cwd })).exitCode, 0);
  assert.deepEqual(readdirSync(path.join(cwd, "out")).sort(), ["a_001.png", "a_002.png"]);
});

test("the place of every picture is looked at before the model opens", async () => {
  const cwd = folder();
  mkdirSync(path.join(cwd, "a_002.png"));
  const second = await run(["generate", "x", "--count", "2", "--output", "a.png"], { cwd });
  assert.deepEqual([second.exitCode, second.opened.length], [2, 0]);
  assert.match(second.last, /^E_OUTPUT a_002\.png: is there and is no file/);
  for (const [name, png] of [
    ["a.TIFF", "a.png"],
    ["b.apng", "b.png"],
    ["c.tar.avif", "c.tar.png"],
  ] as const) {
    const { exitCode, last } = await run(["generate", "x", "--output", name]);
    assert.equal(exitCode, 2);
    assert.ok(last.endsWith(`Next: name it ${JSON.stringify(png)}.`), last);
  }
  writeFileSync(path.join(cwd, "output_999999.png"), "");
  const full = await run(["generate", "x"], { cwd });
  assert.deepEqual([full.exitCode, full.opened.length], [2, 0]);
});

test("room on the disk: for as much as is known, before the model opens and after it; for all pictures, and their text", async (t) => {
  const disk = await fs.statfs(tmpdir());
  let free = 0;
  let blocks = 1e9;
  mockFs(t, { statfs: async () => Object.assign(disk, { bsize: 1, blocks, bfree: free, bavail: free }) });
  const seen = async (line: readonly string[]) => {
    const { exitCode, opened, jobs } = await run(line);
    return [exitCode, opened.length, jobs.length];
  };
  free = 100;
  assert.deepEqual(await seen(["generate", "x"]), [4, 0, 0]);
  // The fake's own size is 128 x 128, 49 kB.
  free = 20_000;
  assert.deepEqual(await seen(["generate", "x"]), [4, 1, 0]);
  assert.deepEqual(await seen(["generate", "x", "--width", "64", "--height", "64"]), [0, 1, 1]);
  assert.deepEqual(await seen(["generate", "x", "--width", "64", "--height", "64", "--count", "2"]), [4, 0, 0]);
  assert.deepEqual(await seen(["generate", "x".repeat(3000), "--width", "16", "--height", "16"]), [4, 0, 0]);
  const negative = ["--negative", "x".repeat(3000)];
  assert.deepEqual(await seen(["generate", "x", ...negative, "--width", "16", "--height", "16"]), [4, 0, 0]);
  // Two colours of three are not enough.
  free = 40_000;
  assert.deepEqual(await seen(["generate", "x", "--width", "128", "--height", "128"]), [4, 0, 0]);
  free = 60_000;
  assert.deepEqual(await seen(["generate", "x"]), [0, 1, 1]);
  // A disk that doesn't say.
  [free, blocks] = [0, 0];
  assert.deepEqual(await seen(["generate", "x"]), [0, 1, 1]);
});

test("a full disk is one: before the work, and after it, with the picture kept", async (t) => {
  let full = true;
  const { open } = fs;
  const cwd = folder();
  mockFs(t, {
    open: async (...args: Parameters<typeof open>) => {
      if (full && String(args[0]).startsWith(path.join(cwd, ".solvay-"))) throw systemError("ENOSPC", String(args[0]));
      return await open(...args);
    },
  });
  const before = await run(["generate", "x"], { cwd });
  assert.deepEqual([before.exitCode, before.opened.length], [4, 0]);
  assert.match(before.last, /^E_DISK_FULL .*no file can be written to .* \(the disk is full\)/);
  full = false;
  const after = await run(["generate", "x"], {
    cwd,
    atStep: () => {
      full = true;
    },
  });
  assert.equal(after.exitCode, 4);
  const [, kept = ""] = /^E_DISK_FULL .* was saved as (.*\.png)\. Next/.exec(after.last) ?? [];
  assert.equal(path.dirname(kept), tmpdir());
  await fs.unlink(kept);
  assert.deepEqual(after.files, []);
});

test("where no folder takes a picture, its error points to what may be kept of it", async (t) => {
  let full = false;
  const { open } = fs;
  mockFs(t, {
    open: async (...args: Parameters<typeof open>) => {
      if (full && path.basename(String(args[0])).startsWith(".solvay-")) throw systemError("EFBIG", String(args[0]));
      return await open(...args);
    },
  });
  const { exitCode, last } = await run(["generate", "x", "--output", "a.png"], {
    atStep: () => {
      full = true;
    },
  });
  assert.equal(exitCode, 3);
  assert.match(
    last,
    /^E_OUTPUT a\.png: .*\(the file is too large for the file system\), nor anywhere else\. Next: make room, then resume/,
  );
});

test("files get names that are free, without hard links, too; a name that can't be given leaves nothing behind", async (t) => {
  const cwd = folder();
  writeFileSync(path.join(cwd, "a"), "old");
  const create = () => createFile(cwd, ["a", "b", "c"], (file) => file.writeFile("new"));
  assert.equal(await create(), "b");
  const { rename } = fs;
  let renames = 0;
  mockFs(t, {
    link: async () => Promise.reject(systemError("EPERM")),
    rename: async (from: string, to: string) => {
      renames++;
      if (to.endsWith("busy")) throw systemError("EBUSY");
      if (to.endsWith("later") && renames < 3) throw systemError("EACCES");
      if (to.endsWith("never")) throw systemError("EIO", from);
      await rename(from, to);
    },
  });
  assert.equal(await create(), "c");
  assert.equal(readFileSync(path.join(cwd, "a"), "utf8"), "old");
  renames = 0;
  const failing = replaceFile(path.join(cwd, "never"), (file) => file.writeFile("x"));
  await assert.rejects(failing, (error: NodeJS.ErrnoException) => {
    // Nobody knows the hidden name.
    return error.code === "EIO" && error.path === path.join(cwd, "never") && !error.message.includes(".solvay-");
  });
  assert.equal(renames, 1);
  await assert.rejects(renamePatiently("x", "busy"), { code: "EBUSY" });
  assert.ok(renames > 4 && renames < 10, `${renames} times`);
  renames = 0;
  await replaceFile(path.join(cwd, "later"), (file) => file.writeFile("x"));
  assert.equal(renames, 3);
  assert.deepEqual(readdirSync(cwd).sort(), ["a", "b", "c", "later"]);
  await syncFolder(path.join(cwd, "gone"));
  if (process.platform !== "win32") await assert.rejects(syncFolder(path.join(cwd, "gone"), { required: true }));
});

test("what the system says, in words and by exit code", () => {
  const found = (code: string) => {
    const { code: ours, exitCode } = describeFailure(systemError(code, "/a"));
    return `${ours} ${exitCode}`;
  };
  for (const code of ["ENOSPC", "EDQUOT"]) assert.equal(found(code), "E_DISK_FULL 4");
  for (const code of ["EACCES", "EPERM", "EROFS"]) assert.equal(found(code), "E_ACCESS 3");
  for (const code of ["ELOOP", "ENOTDIR", "EISDIR", "EBUSY", "EMFILE", "EIO", "EINVAL"])
    assert.equal(found(code), "E_FILE 3");
  assert.equal(found("ENOENT"), "E_MISSING 3");
  assert.equal(found("EODD"), "E_INTERNAL 1");
  assert.equal(describeFailure(new UsageError({ code: "E_X", problem: "p", next: "n" })).exitCode, 2);
  assert.equal(systemProblem(new UsageError({ code: "E_X", problem: "p", next: "n" })), "p");
  assert.equal(systemProblem(systemError("EROFS")), "the disk is read-only");
  assert.equal(
    describeFailure("odd").message,
    "E_INTERNAL: unexpected: odd. Next: report it with the output of SOLVAY_DEBUG=1.",
  );
});

test("an error is one line without control characters; the stack comes when it is asked for", async () => {
  const hostile = new Error("a\u001b[31mb\nc");
  for (const [env, lines] of [
    [{}, 1],
    [{ SOLVAY_DEBUG: "1" }, 3],
  ] as const) {
    const { context, err, out } = fakeContext({ cwd: folder() });
    assert.equal(reportFailure({ ...context, env }, hostile, false), 1);
    const text = err().trimEnd().split("\n");
    assert.ok(lines === 1 ? text.length === 1 : text.length >= lines, err());
    assert.ok(!text[0]!.includes("\u001b") && text[0]!.includes("c"), text[0]);
    assert.equal(out(), "");
  }
  const { last, out } = await run(["generate", "x", "--frobnicate", "--json"]);
  assert.match(last, /^E_USAGE: unknown option '--frobnicate'\. Next: run solvay generate --help\.$/);
  const deep = await run(["store", "verify", "--wrong"]);
  assert.match(deep.last, /Next: run solvay store verify --help\.$/);
  assert.equal(JSON.parse(out()).code, "E_USAGE");
});

test("Ctrl-C twice ends at once; once it is over nobody listens", async () => {
  const { context, interrupt } = fakeContext({ cwd: folder() });
  await interruptible(context, async (signal) => {
    interrupt();
    assert.ok(signal.aborted);
    assert.throws(interrupt, /exitNow\(130\)/);
  });
  await assert.rejects(
    interruptible(context, async () => {
      interrupt();
      throw new Error("whatever the work makes of it");
    }),
    { name: "Interrupted" },
  );
  for (let i = 0; i < 3; i++) interrupt();
});

test("Ctrl-C while a model opens stops that", async () => {
  const fake: FakeContext = fakeContext({
    cwd: folder(),
    fail: ({ open }) => {
      if (!open) return;
      fake.interrupt();
      open.signal!.throwIfAborted();
    },
  });
  assert.equal(await runCli(["generate", "x"], fake.context), 130);
  assert.equal(fake.jobs.length, 0);
});

test("every command hears Ctrl-C: a signal that is there already lets nothing begin", async () => {
  const cwd = folder();
  const store = ["--store", "s"];
  const made = await run(["import", MODEL, ...store, "--json"], { cwd });
  assert.equal(made.exitCode, 0, made.err());
  const { id } = JSON.parse(made.out().trimEnd().split("\n").at(-1)!);
  const before = readdirSync(cwd, { recursive: true }).sort();
  for (const line of [
    ["import", MODEL, "--store", "t"],
    ["pack", MODEL, "-o", "a.lzr2"],
    ["inspect", path.join(MODEL, "unet/diffusion_pytorch_model.safetensors")],
    ["verify", MODEL],
    ["store", "verify", id, ...store],
    ["store", "repair", id, ...store],
    ["store", "remove", id, ...store],
    ["store", "clean", ...store],
    ["pull", "org/name"],
  ]) {
    const fake = fakeContext({ cwd });
    const onInterrupt = (handler: () => void) => {
      handler();
      return () => {};
    };
    const env = { HF_ENDPOINT: "http://127.0.0.1:9", HF_HOME: path.join(cwd, "hf") };
    assert.equal(await runCli(line, { ...fake.context, env, onInterrupt }), 130, `${line.join(" ")}: ${fake.err()}`);
  }
  const after = readdirSync(cwd, { recursive: true }).filter((name) => !/^(hf|t)\b/.test(String(name)));
  assert.deepEqual(after.sort(), before);
});

test("plan asks for the job, the machine and the budgets that were given", async () => {
  const asked: unknown[] = [];
  const plan: Engine["plan"] = async (job, options) => {
    asked.push(job, options);
    return {} as Awaited<ReturnType<Engine["plan"]>>;
  };
  const fake = fakeContext({ cwd: folder() });
  const openEngine: typeof fake.context.openEngine = async (options) => ({
    ...(await fake.context.openEngine(options)),
    plan,
  });
  const line = ["plan", "--steps", "7", "--width", "64", "--vram", "4G", "--json"];
  assert.equal(await runCli([...line, "--as", "gtx1060-6g"], { ...fake.context, openEngine }), 0, fake.err());
  const [job, options] = asked as [Record<string, unknown>, { as?: string; budgets?: object }];
  assert.deepEqual([job.steps, job.width, job.prompt], [7, 64, undefined]);
  assert.deepEqual(options, { as: "gtx1060-6g", budgets: { vram: { bytes: 2 ** 32 } } });
  // It is planned for there, not here.
  assert.deepEqual([fake.opened[0]?.backend, fake.opened[0]?.budgets], ["reference", undefined]);
  assert.equal(await runCli(line, { ...fake.context, openEngine }), 0);
  assert.deepEqual(fake.opened[1]?.budgets, { vram: { bytes: 2 ** 32 } });
});

test("a picture that can't be saved as it was named is kept in the working folder, under a number that is free", async () => {
  const cwd = folder();
  writeFileSync(path.join(cwd, "output_004.png"), "there");
  const target = { shown: "gone/a.png", file: path.join(cwd, "gone", "a.png") };
  const kept = path.join(cwd, "output_005.jpg");
  const picture = { bytes: Uint8Array.of(1, 2, 3), format: "jpeg" } as const;
  await assert.rejects(savePicture(cwd, target, picture), (error: UsageError) => {
    assert.equal(error.code, "E_OUTPUT");
    assert.ok(error.problem.endsWith(`saved as ${kept}`), error.problem);
    return true;
  });
  assert.deepEqual([...readFileSync(kept)], [1, 2, 3]);
  assert.deepEqual(readdirSync(cwd).toSorted(), ["output_004.png", "output_005.jpg"]);
});
