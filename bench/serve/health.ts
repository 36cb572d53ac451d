/**
 * @file How long `/healthz` of `solvay serve` takes: at rest, while pictures are drawn, and in a burst of 10,000 requests beside the drawing. Server, probe and burst are processes of
 * their own; the server has a folder of its own that is removed. Prints one line of JSON a phase, with the server's CPU seconds and its memory.
 *
 *   node bench/serve/health.ts [--requests 10000] [--seconds 10] [-- OPTIONS OF serve]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const SELF = fileURLToPath(import.meta.url);
const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
/** As the command starts its process (bin/launch.mjs). */
const MEMORY_SETTINGS = new URL("../../bin/memory-settings.json", import.meta.url);

interface MemorySettings {
  readonly malloc: Readonly<Record<string, string>>;
  readonly nodeOptions: readonly string[];
}

/** Between two probes. */
const PROBE_EVERY_MS = 20;
/** As many as a server takes, but for those of probe and metrics. */
const CONNECTIONS = 90;
/** A picture of the demo model takes seconds. */
const JOB = { prompt: "a lake", steps: 20 };
const TICKS_A_SECOND = 100;

const { values, positionals } = parseArgs({
  options: {
    requests: { type: "string", default: "10000" },
    seconds: { type: "string", default: "10" },
    role: { type: "string", default: "all" },
    port: { type: "string", default: "0" },
  },
  allowPositionals: true,
});
const port = Number(values.port);

if (values.role === "probe") await probe();
else if (values.role === "burst") await burst(Number(values.requests));
else await measure();

function ask(
  method: string,
  route: string,
  { body, agent }: { readonly body?: string; readonly agent?: http.Agent } = {},
) {
  const headers = body === undefined ? {} : { "content-type": "application/json", "content-length": body.length };
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const options = { port, host: "127.0.0.1", method, path: route, headers, ...(agent && { agent }) };
  const request = http.request(options, (response) => {
    response.resume();
    response.on("end", () => resolve(response.statusCode!));
  });
  request.on("error", reject);
  request.end(body);
  return promise;
}

/** Asks until its input ends, then tells how long answers took. */
async function probe(): Promise<void> {
  const agent = new http.Agent({ keepAlive: true });
  let over = false;
  process.stdin.on("end", () => {
    over = true;
  });
  process.stdin.resume();
  const ms: number[] = [];
  while (!over) {
    const beganMs = performance.now();
    await ask("GET", "/healthz", { agent });
    ms.push(performance.now() - beganMs);
    await delay(PROBE_EVERY_MS);
  }
  ms.sort((a, b) => a - b);
  const at = (share: number) => Number(ms[Math.min(ms.length - 1, Math.floor(ms.length * share))]!.toFixed(1));
  process.stdout.write(JSON.stringify({ probes: ms.length, median: at(0.5), p99: at(0.99), max: at(1) }));
  process.exit();
}

/** So many requests for pictures; those that are taken are left when all others are answered. */
async function burst(requests: number): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const statuses: Record<string, number> = {};
  let left = requests;
  let waiting = 0;
  const beganMs = performance.now();
  const { promise, resolve } = Promise.withResolvers<void>();
  const one = async () => {
    while (left-- > 0) {
      waiting++;
      const status = await ask("POST", "/v1/images/generations", { body: JSON.stringify(JOB), agent }).catch(() => 0);
      waiting--;
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
    // The others wait for pictures.
    if (left <= 0 && waiting < CONNECTIONS) resolve();
  };
  for (let i = 0; i < CONNECTIONS; i++) void one();
  await promise;
  const seconds = (performance.now() - beganMs) / 1000;
  process.stdout.write(
    JSON.stringify({ requests, seconds: Number(seconds.toFixed(1)), statuses, stillWaiting: waiting }),
  );
  process.exit();
}

async function measure(): Promise<void> {
  const state = mkdtempSync(path.join(tmpdir(), "solvay-health-"));
  const { malloc, nodeOptions } = JSON.parse(readFileSync(MEMORY_SETTINGS, "utf8")) as MemorySettings;
  const line = [...nodeOptions, ...process.execArgv, MAIN, "serve", "--backend", "cpu", "--port", "0", ...positionals];
  const server = spawn(process.execPath, line, {
    env: { ...malloc, ...process.env, SOLVAY_STATE: state },
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const at = await listening(server);
    await phase("at rest", server, at, () => delay(Number(values.seconds) * 1000));
    const drawing = child("burst", at, ["--requests", "4"]);
    await phase("drawing", server, at, () => delay(Number(values.seconds) * 1000));
    const told = await phase("burst beside drawing", server, at, () => output(child("burst", at)));
    process.stdout.write(`${told}\n`);
    drawing.kill();
  } finally {
    const exit = once(server, "exit");
    server.kill("SIGTERM");
    await exit;
    rmSync(state, { recursive: true, force: true });
  }
}

/** Its port, when it draws. */
async function listening(server: ChildProcess): Promise<number> {
  let at = 0;
  for await (const text of createInterface({ input: server.stdout! })) {
    at ||= Number(/Listening on .*:(\d+)/.exec(text)?.[1] ?? 0);
    if (text.startsWith("Ready")) break;
  }
  return at;
}

function child(role: string, at: number, more: readonly string[] = ["--requests", values.requests]): ChildProcess {
  const line = [SELF, "--role", role, "--port", String(at), ...more];
  return spawn(process.execPath, line, { stdio: ["pipe", "pipe", "inherit"] });
}

async function output(process: ChildProcess): Promise<string> {
  let text = "";
  for await (const piece of process.stdout!) text += String(piece);
  return text;
}

async function phase<T>(name: string, server: ChildProcess, at: number, work: () => Promise<T>): Promise<T> {
  const probing = child("probe", at);
  const answered = output(probing);
  const before = cpuSeconds(server);
  const beganMs = performance.now();
  const done = await work();
  const seconds = (performance.now() - beganMs) / 1000;
  const cpu = cpuSeconds(server) - before;
  probing.stdin!.end();
  const facts = { phase: name, ...JSON.parse(await answered), seconds, cpu, rssMB: rssMB(server) };
  process.stdout.write(
    `${JSON.stringify(facts, (_, value) => (typeof value === "number" ? Number(value.toFixed(1)) : value))}\n`,
  );
  return done;
}

/** Linux alone tells it. */
function cpuSeconds({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

function rssMB({ pid }: ChildProcess): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
}
