/** @file A server, put together: database, queue, worker with its engine, routes, and the way out. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { getRequestListener } from "@hono/node-server";
import pino, { type DestinationStream } from "pino";
import { DeviceError, UsageError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import type { Engine, OpenEngineOptions } from "../job/types.ts";
import type { LibraryHost } from "../library/host.ts";
import { SYSTEM_CLOCK } from "../node/clock.ts";
import { acquireLock } from "../node/disk/lock.ts";
import type { ModelHashes } from "../terminal/remake-parts.ts";
import { failed, serverApp } from "./http/app.ts";
import { notReady } from "./http/failures.ts";
import { guard, setAnswerHeaders } from "./http/guard.ts";
import type { Keys } from "./http/keys.ts";
import { Metrics } from "./http/metrics.ts";
import { Assets } from "./pictures/assets.ts";
import { purgeDeleted } from "./pictures/gallery.ts";
import { folderStore } from "./pictures/picture-store.ts";
import { Thumbnails } from "./pictures/thumbnails.ts";
import { openBoss } from "./queue/boss.ts";
import { Claims } from "./queue/claims.ts";
import { openEmbedded } from "./queue/database.ts";
import { EventLog } from "./queue/event-log.ts";
import { JobQueue } from "./queue/job-queue.ts";
import { prepareTables } from "./queue/tables.ts";
import type { Services } from "./services.ts";
import { Studio, waitingPage } from "./studio/studio.ts";
import type { StudioFiles } from "./studio/studio-files.ts";
import { LiveView } from "./work/live-view.ts";
import { Previews } from "./work/previews.ts";
import { SavedStates } from "./work/saved-states.ts";
import { work } from "./work/worker.ts";

export interface ServeOptions {
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
  /** What the engine opens; the budget of RAM is the whole process's, database included. */
  readonly request: OpenRequest;
  /** Folder of the database and of what is unfinished. */
  readonly stateFolder: string;
  /** Folder of the pictures. */
  readonly imagesFolder: string;
  readonly keys: Keys | undefined;
  readonly allowedHosts: readonly string[];
  /** Jobs that may wait or run. */
  readonly queueLimit: number;
  readonly openEngine: (options: OpenEngineOptions) => Promise<Engine>;
  /** The models of this machine, and hashes of their files where they are known. */
  readonly library: LibraryHost;
  readonly hashes: ModelHashes;
  /** Differs where another model would be opened. */
  readonly modelContent: () => Promise<string | undefined>;
  /** The pages that people use it by. */
  readonly openStudio: (signal: AbortSignal) => Promise<StudioFiles>;
  readonly logs: DestinationStream;
  readonly onListening: (url: string) => void;
  readonly onReady: (engine: Engine) => void;
}

const KEY_SHARE = 16;
const EVENT_DAYS = 7;
const PRUNE_MS = 3_600_000;
const LIMITS = { headersTimeout: 15_000, requestTimeout: 60_000, maxHeaderSize: 16 * 1024, keepAliveTimeout: 10_000 };
const MAX_CONNECTIONS = 128;
/** Whoever answers is alive. */
const HEALTHY = JSON.stringify({ ok: true });

/** Serves until the signal. Rejects where it can't listen, or where no engine can be opened. */
export async function serve(options: ServeOptions, signal: AbortSignal): Promise<void> {
  const { host, stateFolder, imagesFolder, keys, allowedHosts, queueLimit, logs, library, hashes } = options;
  requireKey(host, keys);
  await using owned = new AsyncDisposableStack();
  const logger = pino({ redact: ["*.authorization", "authorization", "*.cookie"], base: null }, logs);
  owned.use(await lockOf(path.join(stateFolder, "serve.lock"), signal));
  // First, so that a port that is taken is said at once.
  await using http = await listen(options, allowedHosts);
  const database = owned.use(await openEmbedded(path.join(stateFolder, "database")));
  await prepareTables(database);
  const boss = await openBoss(database, (error) => logger.warn({ err: error }, "queue"));
  owned.defer(() => boss.stop({ graceful: false }));
  const queue = new JobQueue(database, boss, { open: queueLimit, openOfOne: KEY_SHARE });
  const claims = new Claims(database, boss);
  const log = await EventLog.open(database);
  const recovered = await claims.recover();
  if (recovered > 0) logger.info({ jobs: recovered }, "jobs of a process that ended are back in the queue");
  const store = folderStore(imagesFolder);
  const states = folderStore(stateFolder);
  const assets = new Assets(database, store);
  const thumbnails = new Thumbnails(assets, store);
  const prune = async () => {
    await log.prune(EVENT_DAYS);
    for (const sha256 of await purgeDeleted(database)) {
      await assets.remove(sha256);
      await thumbnails.remove(sha256);
    }
  };
  await prune();
  const pruning = setInterval(
    () => prune().catch((error: unknown) => logger.warn({ err: error }, "pruning")),
    PRUNE_MS,
  );
  owned.defer(() => clearInterval(pruning));
  const previews = new Previews();
  const metrics = new Metrics(queue, database.ownBytes);
  let engine: Engine | undefined;
  const live = new LiveView(() => engine);
  const request = withoutDatabase(options.request, database.ownBytes);
  const failure = new AbortController();
  const stop = AbortSignal.any([signal, failure.signal]);
  const studio = new Studio(options.openStudio(stop), (error) => logger.error({ err: error }, "studio"));
  const services: Services = {
    ...{ database, queue, log, assets, thumbnails, previews, live, metrics, library, hashes, model: request },
    ...{ engine: () => engine, closing: stop },
    onFailure: (error) => logger.error({ err: error }, "failed"),
  };
  http.serve(serverApp({ services, keys, logger, studio }).fetch);
  options.onListening(http.url);

  const open = async () => {
    engine = undefined;
    const opened = await options.openEngine({ ...request, onlyNames: true, signal: stop });
    const modelContent = await options.modelContent();
    return { engine: opened, states: new SavedStates({ store: states, request, info: opened.info, modelContent }) };
  };
  const working = work(
    {
      ...{ claims, log, assets, store, previews, live, open },
      onOpened: (opened) => {
        engine = opened;
        options.onReady(opened);
      },
      onImage: (image, sideBySide) => metrics.image(image, sideBySide),
      onTrouble: (what, error) => logger.error({ err: error }, what),
    },
    stop,
  ).catch((error: unknown) => failure.abort(error));
  await aborted(stop);
  await http[Symbol.asyncDispose]();
  await working;
  if (!signal.aborted) throw failure.signal.reason;
}

type Fetch = (request: Request) => Response | Promise<Response>;

interface Listening extends AsyncDisposable {
  readonly url: string;
  /** Whom to ask from now on; who asks before is told to come again. */
  readonly serve: (fetch: Fetch) => void;
}

async function listen({ host, port }: ServeOptions, allowedHosts: readonly string[]): Promise<Listening> {
  let bound = port;
  let listener: ReturnType<typeof getRequestListener> | undefined;
  const server = createServer({ ...LIMITS, requireHostHeader: false }, async (request, response) => {
    setAnswerHeaders(response);
    try {
      guard(request, { allowedHosts, port: () => bound });
      const page = !listener && request.method === "GET" ? waitingPage(request.url ?? "") : undefined;
      if (page) {
        response.writeHead(page.status, Object.fromEntries(page.headers));
        response.end(await page.text());
        return;
      }
      if (!listener && request.url === "/healthz") {
        response.setHeader("content-type", "application/json");
        response.end(HEALTHY);
        return;
      }
      if (!listener) throw notReady("the database is being opened");
    } catch (error) {
      const answer = failed(request.url ?? "/", error);
      response.writeHead(answer.status, { "content-type": "application/json", connection: "close" });
      response.end(await answer.text());
      return;
    }
    await listener(request, response);
  });
  server.maxConnections = MAX_CONNECTIONS;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (cause: NodeJS.ErrnoException) => {
    const problem = cause.code === "EADDRINUSE" ? "another program listens there" : cause.message;
    reject(
      new DeviceError({ code: "E_LISTEN", subject: `${host}:${port}`, problem, next: "choose another --port", cause }),
    );
  });
  server.listen(port, host, resolve);
  await promise;
  bound = (server.address() as AddressInfo).port;
  const closed = Promise.withResolvers<void>();
  let closing = false;
  return {
    serve(fetch) {
      listener = getRequestListener(fetch);
    },
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    async [Symbol.asyncDispose]() {
      if (!closing) {
        closing = true;
        server.close(() => closed.resolve());
        server.closeAllConnections();
      }
      await closed.promise;
    },
  };
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

/** Throws UsageError `E_NO_KEY`. */
function requireKey(host: string, keys: Keys | undefined): void {
  if (LOOPBACK.test(host) || keys) return;
  const problem = "whoever reaches this address could draw: it needs keys";
  throw new UsageError({
    code: "E_NO_KEY",
    subject: host,
    problem,
    next: "give --api-key-file, or listen on 127.0.0.1",
  });
}

/** One process a folder. Rejects with UsageError `E_SERVE_RUNS`. */
async function lockOf(file: string, signal: AbortSignal): Promise<AsyncDisposable> {
  const refused = new AbortController();
  const onWait = (owner: string) => {
    const problem = `${owner} serves from this folder`;
    refused.abort(
      new UsageError({
        code: "E_SERVE_RUNS",
        subject: path.dirname(file),
        problem,
        next: "stop it, or set SOLVAY_STATE",
      }),
    );
  };
  return await acquireLock(file, { clock: SYSTEM_CLOCK, signal: AbortSignal.any([signal, refused.signal]), onWait });
}

/** The database lives in the process that --ram bounds. */
function withoutDatabase(request: OpenRequest, databaseBytes: number): OpenRequest {
  const { ram } = request.budgets ?? {};
  if (!ram) return request;
  const left =
    "bytes" in ram ? { bytes: Math.max(1, ram.bytes - databaseBytes) } : { allBut: ram.allBut + databaseBytes };
  return { ...request, budgets: { ...request.budgets, ram: left } };
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
