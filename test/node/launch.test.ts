/** @file How the command is started on a terminal: Dawn's known lines go, all else that native code says comes through at once. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

const LAUNCH = new URL("../../bin/launch.mjs", import.meta.url);
const { withoutKnownLines } = (await import(LAUNCH.href)) as {
  withoutKnownLines: (write: (text: Uint8Array) => void) => (chunk: Uint8Array) => void;
};
const known = (kind: string) =>
  `Warning: maxDynamic${kind}BuffersPerPipelineLayout artificially reduced from 1000000 to 16 to fit dynamic offset allocation limit.\n`;
const KNOWN = known("Uniform") + known("Storage");

function shown(chunks: readonly string[]): string[] {
  const lines: string[] = [];
  const take = withoutKnownLines((text) => lines.push(Buffer.from(text).toString()));
  for (const chunk of chunks) take(Buffer.from(chunk));
  return lines;
}

test("the known lines go, wherever chunks end; other lines stay, in their order", () => {
  const text = `${KNOWN}Segmentation fault\n${known("Storage")}Error: höhe 山\n`;
  const rest = "Segmentation fault\nError: höhe 山\n";
  assert.equal(shown([text]).join(""), rest);
  const bytes = Buffer.from(text);
  for (let size = 1; size < 40; size++) {
    const lines: Uint8Array[] = [];
    const take = withoutKnownLines((part) => lines.push(part));
    for (let at = 0; at < bytes.length; at += size) take(bytes.subarray(at, at + size));
    assert.equal(Buffer.concat(lines).toString(), rest, `chunks of ${size}`);
  }
});

test("what only resembles them stays, and what has no end of line yet is shown at once", () => {
  for (const line of [
    "Warning: maxDynamicSamplersPerPipelineLayout artificially reduced from 9 to 8 to fit dynamic offset allocation limit.\n",
    known("Uniform").replace(".\n", ". And more.\n"),
    `x ${known("Uniform")}`,
  ]) {
    assert.equal(shown([line]).join(""), line);
  }
  assert.deepEqual(shown(["progress 5 %"]), ["progress 5 %"]);
  // The end of a line that began otherwise is none of them.
  assert.equal(shown(["x ", known("Uniform")]).join(""), `x ${known("Uniform")}`);
  assert.deepEqual(shown(["Warning: maxDyn"]), []);
  assert.equal(shown(["Warning: maxDyn", "amic nothing\n"]).join(""), "Warning: maxDynamic nothing\n");
});

test("on a terminal the command has it as descriptor 3, and its exit code comes through", {
  skip: process.platform === "win32" && "Windows has no such descriptors",
}, () => {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-launch-"));
  const main = path.join(folder, "main.mjs");
  writeFileSync(
    main,
    `import { writeSync } from "node:fs";
    writeSync(2, ${JSON.stringify(KNOWN)});
    writeSync(2, "native words\\n");
    const fd = process.env.SOLVAY_STDERR_FD;
    writeSync(Number(fd ?? 2), \`own words by \${fd}\\n\`);
    process.exit(7);`,
  );
  const start = (isTerminal: boolean) => {
    const script = `const { launch } = await import(${JSON.stringify(LAUNCH.href)});
      process.exitCode = await launch(process.execPath, ${JSON.stringify(main)}, [], undefined, ${isTerminal});`;
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    return {
      status,
      lines: stderr
        .split("\n")
        .filter((line) => line !== "")
        .sort(),
    };
  };
  assert.deepEqual(start(true), { status: 7, lines: ["native words", "own words by 3"] });
  const plain = start(false);
  assert.equal(plain.status, 7);
  assert.deepEqual(plain.lines, [...KNOWN.trim().split("\n"), "native words", "own words by undefined"].sort());
});

/** Starts `launch` on a program of this text; tells what its stdout says first, and ends with it. */
function launched(text: string, env: Readonly<Record<string, string>>) {
  const main = path.join(mkdtempSync(path.join(tmpdir(), "solvay-launch-")), "main.mjs");
  writeFileSync(main, text);
  const script = `const { launch } = await import(${JSON.stringify(LAUNCH.href)});
    process.exitCode = await launch(process.execPath, ${JSON.stringify(main)}, ["--a", "b c"], undefined, false);`;
  return spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
}

test("the command's memory settings are there, the user's own before them; reporting is off whatever is said", async () => {
  const text =
    "console.log(JSON.stringify({ env: process.env, args: process.argv.slice(2), flags: process.execArgv }))";
  const child = launched(text, { MALLOC_ARENA_MAX: "7", ORT_DISABLE_TELEMETRY: "0" });
  const { env, args, flags } = JSON.parse((await child.stdout.toArray()).join(""));
  const { malloc, nodeOptions } = JSON.parse(readFileSync(new URL("memory-settings.json", LAUNCH), "utf8"));
  const expected = { ...malloc, MALLOC_ARENA_MAX: "7", ORT_DISABLE_TELEMETRY: "1" };
  assert.deepEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, env[name]])), expected);
  assert.deepEqual([args, flags], [["--a", "b c"], nodeOptions]);
});

test("signals reach the command, and how it ended is told", {
  skip: process.platform === "win32" && "no signals",
}, async () => {
  const text = "setTimeout(() => {}, 5000); console.log('ready');";
  const codes = (["SIGTERM", "SIGHUP", "SIGINT"] as const).map(async (signal) => {
    const child = launched(text, {});
    const ended = once(child, "exit");
    await once(child.stdout, "data");
    child.kill(signal);
    return (await ended)[0];
  });
  // As shells tell it: 128 and the signal's number.
  assert.deepEqual(await Promise.all(codes), [128 + 15, 128 + 1, 128 + 2]);
});
