/** @file The command as a process: whatever its streams and its folder are, one line on stderr and an exit code. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { printable } from "../../src/errors.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const noShell = process.platform === "win32" && "needs a POSIX shell";
const noFull = noShell || (!existsSync("/dev/full") && "needs /dev/full");

/** `script` with the command as "$@" and a folder of its own as $FOLDER. */
function shell(script: string) {
  const env = { ...process.env, FOLDER: mkdtempSync(path.join(tmpdir(), "solvay-line-")), npm_lifecycle_event: "" };
  const args = ["-c", script, "sh", process.execPath, MAIN];
  const { status, stdout, stderr } = spawnSync("sh", args, { env, encoding: "utf8" });
  return { status, stdout, stderr };
}

test("standard output on a full disk: said, and exit code 4", { skip: noFull }, () => {
  for (const command of ["--help", "plan --backend reference --json"]) {
    const { status, stderr } = shell(`"$@" ${command} > /dev/full`);
    assert.equal(stderr, "E_DISK_FULL standard output: the disk is full. Next: free some space.\n");
    assert.equal(status, 4);
  }
});

test("messages on a full disk or nowhere keep nothing from its work", { skip: noFull }, () => {
  for (const nowhere of ["2>/dev/full", "2>&-"]) {
    assert.equal(shell(`"$@" --version ${nowhere}`).status, 0);
    assert.equal(shell(`"$@" --wrong ${nowhere}`).status, 2);
  }
});

test("standard output that is closed is no fault", { skip: noShell }, () => {
  assert.deepEqual(shell('"$@" --version >&-'), { status: 0, stdout: "", stderr: "" });
});

test("a working folder that is gone", { skip: noShell }, () => {
  const { status, stderr } = shell('cd "$FOLDER" && rmdir "$FOLDER" && "$@" generate x');
  assert.equal(
    stderr,
    "E_NO_FOLDER: the working folder does not exist any more. Next: change to a folder that exists.\n",
  );
  assert.equal(status, 2);
});

test("names that would turn a line around, or break it, are told in one straight line", () => {
  assert.equal(printable("a\u202egnp.exe b\u2066c\u2069 d\u2028e\nf"), "a gnp.exe b c  d e f");
  // What Hebrew and Arabic are written with stays.
  assert.equal(printable("שלום\u200f!"), "שלום\u200f!");
});
