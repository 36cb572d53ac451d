/** @file Where a picture goes: refusals before the work, room as the system counts it, and where it is kept when its place fails. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { PassThrough } from "node:stream";
import { type TestContext, test } from "node:test";
import { readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { decodePng } from "../../src/image/png.ts";
import { readPicture } from "../../src/job/read-picture.ts";
import type { GenerateEvent } from "../../src/job/types.ts";
import { memorySource } from "../../src/source/memory.ts";
import { keepPreview } from "../../src/terminal/kept-preview.ts";
import {
  checkNextOutput,
  checkOutput,
  followingNames,
  inFormatOf,
  largestPngBytes,
  requireFreeDisk,
  savePicture,
} from "../../src/terminal/output-file.ts";
import { Progress } from "../../src/terminal/progress.ts";

const folder = () => mkdtempSync(path.join(tmpdir(), "solvay-output-"));
const PICTURE = { bytes: Uint8Array.of(1, 2, 3), format: "png" } as const;
const targetIn = (cwd: string, shown: string) => ({ shown, file: path.join(cwd, shown) });

function mockFs(t: TestContext, name: "open" | "statfs", value: unknown): void {
  t.mock.method(fs, name, value as typeof fs.open);
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
}

test("what a target can't be is said before the work", async () => {
  const cwd = folder();
  mkdirSync(path.join(cwd, "taken.png"));
  writeFileSync(path.join(cwd, "there.png"), "");
  for (const [shown, problem] of [
    ["", "this names no file"],
    ["a/", "this names no file"],
    ["-", "no file is written to standard output"],
    ["taken.png", "is there and is no file"],
    ["gone/a.png", "its folder does not exist"],
    [`${"x".repeat(252)}.png`, "the name is too long for the file system"],
  ] as const) {
    await assert.rejects(checkOutput(targetIn(cwd, shown)), { code: "E_OUTPUT", problem }, shown);
  }
  for (const shown of ["there.png", "new.png", `${"x".repeat(251)}.png`]) await checkOutput(targetIn(cwd, shown));
});

test("on Windows a name that it keeps for itself is refused before the work", async (t) => {
  const cwd = folder();
  const { platform } = process;
  t.after(() => Object.defineProperty(process, "platform", { value: platform }));
  Object.defineProperty(process, "platform", { value: "win32" });
  const problem = "Windows keeps the name nul for a device";
  await assert.rejects(checkOutput(targetIn(cwd, "nul.png")), { code: "E_OUTPUT", problem });
  await checkOutput(targetIn(cwd, "null.png"));
});

test("the next number is past every picture's, whole or unfinished, of any format; other names don't count", async () => {
  const cwd = folder();
  const next = async (format?: "jpeg") => (await followingNames(cwd, format))[Symbol.iterator]().next().value;
  assert.equal(await next(), "output_001.png");
  for (const [name, expected] of [
    ["output_001.png", "output_002.png"],
    ["output_002.resume", "output_003.png"],
    ["OUTPUT_004.JPG", "output_005.png"],
    ["output_009.webp", "output_010.png"],
    ["output_0000011.png", "output_010.png"],
    ["output_12.png", "output_010.png"],
    ["output_013.txt", "output_010.png"],
    ["my_output_014.png", "output_010.png"],
    ["output_999.png", "output_1000.png"],
    ["output_999998.png", "output_999999.png"],
  ] as const) {
    writeFileSync(path.join(cwd, name), "");
    assert.equal(await next(), expected, name);
  }
  assert.equal(await next("jpeg"), "output_999999.jpg");
  await checkNextOutput(cwd, 1);
  await assert.rejects(checkNextOutput(cwd, 2), { code: "E_OUTPUT" });
});

test("a target's ending chooses the format of a job that names none, and refuses another than the job's", () => {
  const told = (shown: string, format?: string) => inFormatOf(targetIn("/", shown), format ? { format } : {}).format;
  for (const [shown, job, expected] of [
    ["a.png", undefined, undefined],
    ["a.jpg", undefined, "jpeg"],
    ["a.JPEG", undefined, "jpeg"],
    ["a.webp. ", undefined, "webp"],
    ["a", "webp", "webp"],
    ["a.b", "jpeg", "jpeg"],
    ["a.webp", "webp", "webp"],
  ] as const) {
    assert.equal(told(shown, job), expected, shown);
  }
  for (const [shown, job] of [
    ["a.png", "jpeg"],
    ["a.jpg", "webp"],
    ["a.jpg", "png"],
    ["a.gif", undefined],
    ["a.safetensors", undefined],
    [".resume", undefined],
  ] as const) {
    assert.throws(() => told(shown, job), { code: "E_OUTPUT" }, shown);
  }
  assert.deepEqual(inFormatOf(undefined, { format: "webp" }), { format: "webp" });
});

test("room: what the system keeps for itself is free for root alone; a disk that doesn't say has room", async (t) => {
  const disk = { bsize: 4096, blocks: 100, bfree: 10, bavail: 4 };
  let told = disk;
  mockFs(t, "statfs", async () => told);
  let uid: number | undefined = 1000;
  t.mock.method(process as { getuid: () => number | undefined }, "getuid", () => uid);
  const refuses = async (bytes: number) => {
    const refused = await requireFreeDisk("/", "a.png", bytes).then(
      () => "",
      ({ code }: { readonly code: string }) => code,
    );
    return refused === "E_DISK_FULL";
  };
  assert.deepEqual([await refuses(4 * 4096), await refuses(4 * 4096 + 1)], [false, true]);
  uid = 0;
  assert.deepEqual([await refuses(10 * 4096), await refuses(10 * 4096 + 1)], [false, true]);
  uid = undefined;
  assert.deepEqual([await refuses(4 * 4096), await refuses(4 * 4096 + 1)], [false, true]);
  told = { ...disk, blocks: 0 };
  assert.equal(await refuses(1e15), false);
  // Three colours and a filter a row, 0.1 % of what can't be packed, text twice in UTF-8.
  assert.equal(largestPngBytes({ width: 100, height: 10 }, 1000), Math.ceil(1.001 * 10 * 301) + 8000 + 4096);
});

test("a picture whose place fails is kept in the working folder, then among the temporary files, and the error says where", async (t) => {
  const cwd = folder();
  const { open } = fs;
  const closed = new Map([[path.join(cwd, "sub"), "EIO"]]);
  mockFs(t, "open", async (...args: Parameters<typeof open>) => {
    const code = closed.get(path.dirname(String(args[0])));
    if (code !== undefined) throw Object.assign(new Error(code), { code });
    return await open(...args);
  });
  mkdirSync(path.join(cwd, "sub"));
  const target = targetIn(cwd, "sub/a.png");
  const what = "the picture could not be written there (the disk can't be read or written)";
  const kept = path.join(cwd, "output_001.png");
  await assert.rejects(savePicture(cwd, target, PICTURE), {
    ...{ name: "ArtifactError", code: "E_OUTPUT", subject: "sub/a.png", problem: `${what}, and was saved as ${kept}` },
  });
  assert.deepEqual([...readFileSync(kept)], [1, 2, 3]);
  for (const code of ["ENOSPC", "EDQUOT"]) {
    closed.set(path.join(cwd, "sub"), code);
    await assert.rejects(savePicture(cwd, target, PICTURE), { name: "BudgetError", code: "E_DISK_FULL" });
  }
  closed.set(cwd, "EIO");
  const elsewhere = await savePicture(cwd, undefined, PICTURE).catch((error: Error) => error.message);
  const [, temporary = ""] = /was saved as (.*\.png)\. Next/.exec(String(elsewhere)) ?? [];
  assert.equal(path.dirname(temporary), tmpdir(), String(elsewhere));
  rmSync(temporary);
  closed.set(tmpdir(), "EIO");
  await assert.rejects(savePicture(cwd, target, PICTURE), (error: Error & { problem: string }) => {
    assert.match(error.problem, /, nor anywhere else$/);
    return true;
  });
});

test("a picture has its target's name, else the one that was chosen for it, else the next; only a target is replaced", async () => {
  const cwd = folder();
  assert.deepEqual(await savePicture(cwd, undefined, PICTURE, "output_007.png"), targetIn(cwd, "output_007.png"));
  assert.deepEqual(await savePicture(cwd, undefined, PICTURE, "output_007.png"), targetIn(cwd, "output_008.png"));
  const webp = { ...PICTURE, format: "webp" } as const;
  assert.deepEqual(await savePicture(cwd, undefined, webp), targetIn(cwd, "output_009.webp"));
  const target = targetIn(cwd, "a.png");
  for (const bytes of [Uint8Array.of(1), Uint8Array.of(2)]) {
    assert.equal(await savePicture(cwd, target, { ...PICTURE, bytes }, "output_007.png"), target);
    assert.deepEqual([...readFileSync(target.file)], [...bytes]);
  }
});

test("a picture that was stopped leaves its last preview beside where it would be, under a name that no picture has, and no settings", async () => {
  const cwd = folder();
  const chunks: string[] = [];
  const stderr = new PassThrough().on("data", (chunk: Buffer) => chunks.push(String(chunk)));
  const progress = new Progress({ stderr, env: {} });
  const shown = (step: number, image: number) => {
    const rgb = new Uint8Array(12).fill(10 * step + image);
    progress.generate({ type: "preview", step, steps: 9, width: 2, height: 2, rgb } as GenerateEvent, image);
  };
  for (const [step, image] of [
    [1, 0],
    [1, 1],
    [2, 0],
  ] as const)
    shown(step, image);
  writeFileSync(path.join(cwd, "a.png"), "a picture");
  await keepPreview({ cwd }, progress, 0, { target: targetIn(cwd, "a.png"), first: "output_001.png" });
  await keepPreview({ cwd }, progress, 1, { first: "output_005.png" });
  await keepPreview({ cwd }, progress, 2, {});
  await keepPreview({ cwd }, progress, 0, {});
  assert.deepEqual(readdirSync(cwd).sort(), [
    ...["a.png", "a.preview.png", "output_001.preview.png", "output_005.preview.png"],
  ]);
  assert.equal(readFileSync(path.join(cwd, "a.png"), "utf8"), "a picture");
  const bytes = new Uint8Array(readFileSync(path.join(cwd, "a.preview.png")));
  assert.equal((await decodePng(bytes)).pixels[0], 20);
  const texts = await readPictureTexts(memorySource("a", bytes));
  assert.deepEqual(
    texts.texts.map(({ text }) => text),
    ["Preview after step 2 of 9: the picture was stopped there."],
  );
  assert.equal(readPicture(texts), undefined);
  assert.match(chunks[0]!, /^Kept its preview after step 2 of 9: a\.preview\.png\n$/);
});
