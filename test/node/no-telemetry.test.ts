/**
 * @file Nothing phones home: a picture is drawn with an empty home, without the variable CI, which would quiet ONNX Runtime, and
 * where strace is, each system call that makes a socket or a file is looked at.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

const SRC = new URL("../../src/", import.meta.url);
const MAIN = fileURLToPath(new URL("cli/main.ts", SRC));
const DRAW = ["generate", "a lake", "--steps", "1", "--width", "64", "--height", "64", "--backend", "cpu"];
const PROGRAM = `
import { writeFile } from "node:fs/promises";
import { openEngine } from ${JSON.stringify(new URL("node.ts", SRC).href)};
await using engine = await openEngine({ backend: "cpu" });
for await (const event of engine.generate({ prompt: "a lake", steps: 1, width: 64, height: 64 }))
  if (event.type === "image") await writeFile("lake.png", event.bytes);
`;

/** Sockets, and what can make a file or a folder. */
const CALLS = "socket,connect,sendto,open,openat,creat,mkdir,mkdirat,link,linkat,symlink,symlinkat,mknod,mknodat";
const MAKES_FILE = /^\d+ +(?:creat|mkdir|link|symlink|mknod)|O_CREAT/;
const FAILED = / = -1 E/;

/** With what it starts; other calls than those that are asked for run at their full speed. */
const FOLLOWED = ["-f", "--seccomp-bpf"];

/** Why strace can't be used. */
function straceProblem(): string | undefined {
  const { error, status, stderr } = spawnSync("strace", [...FOLLOWED, "-o", "/dev/null", "true"], { encoding: "utf8" });
  if (error) return "strace is not installed";
  return status === 0 ? undefined : `strace can't trace here: ${stderr.split("\n")[0]}`;
}

/** Runs Node with `args` in an empty folder, traced if that is asked. Resolves to what it left and did. */
function drawAlone(args: readonly string[], { traced = false, homeless = false } = {}) {
  const scratch = mkdtempSync(path.join(tmpdir(), "solvay-quiet-"));
  try {
    const folder = (name: string) => {
      const made = path.join(scratch, name);
      mkdirSync(made);
      return made;
    };
    const [cwd, home, temporary] = [folder("work"), folder("home"), folder("tmp")];
    writeFileSync(path.join(cwd, "draw.mjs"), PROGRAM);
    const env: NodeJS.ProcessEnv = { ...process.env, TMPDIR: temporary, SOLVAY_STATE: path.join(home, "state") };
    for (const name of ["CI", "ORT_DISABLE_TELEMETRY", "HOME", "USERPROFILE"]) delete env[name];
    if (!homeless) Object.assign(env, { HOME: home, USERPROFILE: home });
    const trace = path.join(scratch, "trace");
    const strace = ["strace", ...FOLLOWED, "-qq", "-o", trace, "-e", `trace=${CALLS}`];
    const [command, ...line] = [...(traced ? strace : []), process.execPath, ...args];
    const done = spawnSync(command!, line, { cwd, env, encoding: "utf8", timeout: 180_000, killSignal: "SIGKILL" });
    assert.equal(done.status, 0, done.stderr);
    const left = readdirSync(scratch, { recursive: true, encoding: "utf8" })
      .map((name) => name.replaceAll("\\", "/"))
      .filter((name) => /^(?:work|home|tmp)\/./.test(name) && !/^work\/draw\.mjs$|^home\/state/.test(name));
    const calls = traced ? readFileSync(trace, "utf8").split("\n") : [];
    return { left, calls, scratch };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const untraced = straceProblem();

for (const [who, args] of [
  ["the command", [MAIN, ...DRAW, "--output", "lake.png"]],
  ["the library", ["draw.mjs"]],
] as const) {
  test(`${who} leaves nothing but the picture`, () => {
    // Where it is traced, that run shows this, too.
    if (untraced) assert.deepEqual(drawAlone(args).left, ["work/lake.png"]);
    assert.deepEqual(drawAlone(args, { homeless: true }).left, ["work/lake.png"]);
  });

  test(`${who} opens no socket and makes no file elsewhere`, { skip: untraced ?? false }, () => {
    const { left, calls, scratch } = drawAlone(args, { traced: true });
    assert.deepEqual(left, ["work/lake.png"]);
    assert.ok(calls.length > 100, "nothing was traced");
    assert.deepEqual(
      calls.filter((call) => /^\d+ +(?:socket|connect|sendto)\(/.test(call)),
      [],
    );
    // Relative names are in the working folder, whose content is seen above.
    const made = calls.filter((call) => MAKES_FILE.test(call) && !FAILED.test(call) && call.includes('"/'));
    // Node keeps compiled files where it is told to.
    const told = [scratch, ...(process.env.NODE_COMPILE_CACHE ? [path.resolve(process.env.NODE_COMPILE_CACHE)] : [])];
    const elsewhere = made.filter((call) => !told.some((folder) => call.includes(folder)));
    assert.deepEqual(elsewhere, []);
  });
}

test("a thread whose process isn't silenced refuses to load ONNX Runtime", async () => {
  const program = `
    import { parentPort } from "node:worker_threads";
    import { loadOnnxRuntime } from ${JSON.stringify(new URL("node/onnx.ts", SRC).href)};
    parentPort.postMessage(await loadOnnxRuntime().then(() => "loaded", (error) => error.message));`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(program)}`);
  const worker = new Worker(url, { env: {} });
  const answer = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  assert.match(
    String(answer),
    /^E_TELEMETRY: .* Next: set process\.env\.ORT_DISABLE_TELEMETRY = "1" in the main thread/,
  );
});
