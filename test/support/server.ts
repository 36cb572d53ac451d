/** @file Servers for tests: in this process over an engine that only pretends, and as processes of their own. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Engine, OpenEngineOptions } from "../../src/job/types.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { EMBEDDED } from "../../src/server/backing.ts";
import type { Keys } from "../../src/server/http/keys.ts";
import { HEARTBEAT, openBoss } from "../../src/server/queue/boss.ts";
import { openEmbedded } from "../../src/server/queue/database.ts";
import { prepareTables } from "../../src/server/queue/tables.ts";
import { type ServeOptions, serve } from "../../src/server/serve.ts";
import { StudioFiles } from "../../src/server/studio/studio-files.ts";
import { type PretendedEngine, pretendingEngine, SAME_CONTENT } from "./pretending-engine.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/**
 * A database of PGlite's with a queue's empty tables, made once for all test files: that takes 5 s of a processor, and the tables half a second.
 * Whatever makes them changes its name.
 */
function madeDatabase(): string {
  const root = new URL("../../", import.meta.url);
  const queue = new URL("src/server/queue/", root);
  const sources = readdirSync(queue)
    .filter((name) => name.endsWith(".ts"))
    .toSorted()
    .map((name) => new URL(name, queue));
  const hash = createHash("sha256");
  for (const file of [...sources, new URL("package.json", root)]) hash.update(readFileSync(file));
  return fileURLToPath(new URL(`node_modules/.cache/solvay-database-${hash.digest("hex").slice(0, 16)}`, root));
}

/** A folder for a server, with an empty database in it, as if a server had been there once. */
export async function serverFolder(): Promise<string> {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-serve-"));
  const ready = madeDatabase();
  if (!existsSync(ready)) {
    const made = path.join(folder, "made");
    await using owned = new AsyncDisposableStack();
    const database = owned.use(await openEmbedded(made));
    await prepareTables(database);
    const boss = await openBoss(database, HEARTBEAT, () => {});
    await boss.stop({ graceful: false });
    await owned.disposeAsync();
    const kept = path.dirname(ready);
    mkdirSync(kept, { recursive: true });
    // Those of other versions are 40 MB each.
    for (const name of readdirSync(kept)) {
      const isOther = /^solvay-(database|pglite)-/.test(name) && !name.startsWith(path.basename(ready));
      if (isOther) rmSync(path.join(kept, name), { recursive: true, force: true });
    }
    // Another test file may have been faster.
    cpSync(made, `${ready}.${process.pid}`, { recursive: true });
    try {
      renameSync(`${ready}.${process.pid}`, ready);
    } catch {
      rmSync(`${ready}.${process.pid}`, { recursive: true });
    }
  }
  cpSync(ready, path.join(folder, "database"), { recursive: true });
  return folder;
}

export interface RunningServer extends AsyncDisposable {
  readonly url: string;
  /** What it wrote to stderr. */
  readonly logs: () => string;
}

export interface Pretending extends PretendedEngine {
  /** A server of its own folder. */
  readonly folder: string;
  readonly keys?: Keys;
  readonly queueLimit?: number;
  readonly host?: string;
  readonly allowedHosts?: readonly string[];
  readonly port?: number;
  /** Called before the engine is there. */
  readonly opening?: (url: string) => Promise<void>;
  /** With the studio's pages. */
  readonly studio?: boolean;
  /** Where the user's caches are. Default: the server's folder. */
  readonly home?: string;
  /** One that does not pretend. */
  readonly engine?: (options: OpenEngineOptions) => Promise<Engine>;
  /** URL of a PostgreSQL server. Default: embedded. */
  readonly database?: string;
  readonly images?: string;
  readonly env?: ServeOptions["env"];
  readonly heartbeat?: ServeOptions["heartbeat"];
  readonly worker?: boolean;
  readonly models?: ServeOptions["models"];
}

/** A server in this process. */
export async function pretendingServer({
  folder,
  keys,
  queueLimit = 64,
  host = "127.0.0.1",
  allowedHosts = [],
  port = 0,
  opening,
  asked,
  lanes = 1,
  onSeries,
  studio = false,
  moments = [],
  plan,
  engine = async () => pretendingEngine({ asked, lanes, onSeries, moments, plan }),
  database = EMBEDDED,
  images = `${folder}/images`,
  env = {},
  home = folder,
  heartbeat = HEARTBEAT,
  worker = true,
  models = new Map([["pretence", {}]]),
}: Pretending): Promise<RunningServer> {
  let logs = "";
  const stop = new AbortController();
  const listening = Promise.withResolvers<string>();
  const ready = Promise.withResolvers<void>();
  const options: ServeOptions = {
    ...{
      host,
      port,
      models,
      stateFolder: folder,
      database,
      images,
      env,
      heartbeat,
      worker,
      keys,
      allowedHosts,
      queueLimit,
    },
    openEngine: async (options) => {
      // Clients name no files of this machine.
      assert.equal(options.onlyNames, true);
      await opening?.(await listening.promise);
      return await engine(options);
    },
    modelContent: async () => SAME_CONTENT,
    library: nodeLibraryHost((name) => path.resolve(folder, name), { HOME: home }),
    hashes: { of: async () => undefined, fileWith: async () => undefined },
    openStudio: (signal) => (studio ? StudioFiles.open(signal) : new Promise(() => {})),
    logs: {
      write(line) {
        logs += line;
      },
    },
    onListening: listening.resolve,
    onReady: () => ready.resolve(),
  };
  const over = serve(options, stop.signal);
  ready.promise.catch(() => {});
  over.catch((error: unknown) => {
    listening.reject(error);
    ready.reject(error);
  });
  const url = await listening.promise;
  await ready.promise;
  return {
    url,
    logs: () => logs,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await over;
    },
  };
}

/** `solvay serve` as a process of its own. `args`: the demo model on the CPU, if nothing else is asked for. */
export class ServerProcess {
  static readonly #all: ServerProcess[] = [];
  readonly child: ChildProcess;
  readonly #out = Promise.withResolvers<string>();
  #logs = "";

  constructor(stateFolder: string, args: readonly string[] = ["--backend", "cpu"]) {
    const line = [MAIN, "serve", "--port", "0", ...args];
    const env = { ...process.env, SOLVAY_STATE: stateFolder };
    ServerProcess.#all.push(this);
    this.child = spawn(process.execPath, line, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.child.stdout!.on("data", (text: Buffer) => {
      const [, url] = /Listening on (\S+)/.exec(String(text)) ?? [];
      if (url !== undefined) this.#out.resolve(url);
    });
    this.child.stderr!.on("data", (text: Buffer) => {
      this.#logs += String(text);
    });
    this.child.once("exit", () => this.#out.reject(new Error(`it ended: ${this.#logs}`)));
  }

  /** Whatever a test left behind. */
  static killAll(): void {
    for (const { child } of ServerProcess.#all) child.kill("SIGKILL");
  }

  get url(): Promise<string> {
    return this.#out.promise;
  }

  /** Resolves to its exit code, or to the signal that ended it. */
  async end(signal: NodeJS.Signals): Promise<number | string> {
    const exit = once(this.child, "exit");
    this.child.kill(signal);
    const [code, by] = (await exit) as [number | null, string | null];
    return code ?? by!;
  }
}
