/** @file A server, put together: what it stands on, a worker with its engine, routes, and the way out. */
import type { DestinationStream } from "pino";
import { UsageError } from "../errors.ts";
import type { Engine } from "../job/types.ts";
import type { LibraryHost } from "../library/host.ts";
import { AdapterFiles } from "../node/adapter-files.ts";
import { collectEarly, collectWhenIdle } from "../node/garbage.ts";
import type { ModelHashes } from "../terminal/remake-parts.ts";
import { type BackingOptions, openBacking } from "./backing.ts";
import { FullQueue } from "./full-queue.ts";
import { serverApp } from "./http/app.ts";
import type { Keys } from "./http/keys.ts";
import { Metrics } from "./http/metrics.ts";
import { listen } from "./listener.ts";
import { openLogger } from "./logger.ts";
import { OfferedModels } from "./models.ts";
import { purgeDeleted } from "./pictures/gallery.ts";
import { Thumbnails } from "./pictures/thumbnails.ts";
import { JobQueue } from "./queue/job-queue.ts";
import { keepPruned } from "./queue/prune.ts";
import type { Services } from "./services.ts";
import { Studio } from "./studio/studio.ts";
import type { StudioFiles } from "./studio/studio-files.ts";
import { Imports } from "./work/imports.ts";
import { LiveView } from "./work/live-view.ts";
import { type EngineOptions, modelOpener } from "./work/open-model.ts";
import { Previews } from "./work/previews.ts";
import { SharedPreviews } from "./work/shared-previews.ts";
import { work } from "./work/worker.ts";

export interface ServeOptions extends BackingOptions, EngineOptions {
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
  readonly keys: Keys | undefined;
  readonly allowedHosts: readonly string[];
  /** Jobs that may wait or run. */
  readonly queueLimit: number;
  /** Jobs are drawn by this process too, not by workers alone. */
  readonly worker: boolean;
  /** The models of this machine, and hashes of their files where they are known. */
  readonly library: LibraryHost;
  readonly hashes: ModelHashes;
  /** The pages that people use it by. */
  readonly openStudio: (signal: AbortSignal) => Promise<StudioFiles>;
  readonly logs: DestinationStream;
  readonly onListening: (url: string) => void;
  /** `engine`: undefined where this process has none. `databaseBytes`: what `--ram` counts for the database; 0 where it is another program. */
  readonly onReady: (engine: Engine | undefined, databaseBytes: number) => void;
}

const KEY_SHARE = 16;
/** V8 waits for tens of megabytes of what requests left behind, which no budget has. */
const COLLECT_MS = 2_000;

/** Serves until the signal. Rejects where it can't listen, or where no engine can be opened. */
export async function serve(options: ServeOptions, signal: AbortSignal): Promise<void> {
  const { host, keys, queueLimit, heartbeat, library, hashes } = options;
  requireKey(host, keys);
  await using owned = new AsyncDisposableStack();
  const logger = openLogger(options.logs);
  // First, so that a port that is taken is said at once.
  await using http = await listen(options);
  const backing = owned.use(await openBacking(options, logger, signal));
  const { database, boss, claims, log, store, stateStore, assets, entries } = backing;
  const queue = new JobQueue(database, boss, { open: queueLimit, openOfOne: KEY_SHARE });
  const onTrouble = (what: string, error: unknown) => logger.error({ err: error }, what);
  collectEarly();
  owned.use(collectWhenIdle(COLLECT_MS));
  const thumbnails = new Thumbnails(assets, store);
  const purge = async () => {
    for (const sha256 of await purgeDeleted(database)) {
      await assets.remove(sha256);
      await thumbnails.remove(sha256);
    }
  };
  owned.use(keepPruned({ database, store, stateStore, purge, onTrouble }));
  const now = () => performance.now();
  const previews = new Previews(database.shared ? new SharedPreviews({ database, now, onTrouble }) : undefined);
  const metrics = new Metrics(queue, database.ownBytes);
  let engine: Engine | undefined;
  const live = new LiveView(() => engine);
  const failure = new AbortController();
  const stop = AbortSignal.any([signal, failure.signal]);
  // A database inside this process has no other one that could mean another model by its name.
  const contentOf = database.shared ? options.modelContent : async () => undefined;
  const models = new OfferedModels({ own: options.models, entries, contentOf, draws: options.worker });
  const studio = new Studio(options.openStudio(stop), (error) => onTrouble("studio", error));
  const { loraDir, embeddingsDir, store: storeFolder } = models.standingRequest;
  const folders = {
    lora: loraDir && library.absolute(loraDir),
    embedding: embeddingsDir && library.absolute(embeddingsDir),
  };
  const services: Services = {
    found: { adapters: new AdapterFiles(folders), env: options.env },
    imports: new Imports(library, storeFolder, stop),
    ...{ database, queue, log, assets, thumbnails, previews, live, metrics, library, hashes, models, entries },
    ...{ model: models.standingRequest, worker: options.worker, engine: () => engine, closing: stop },
    fullQueue: new FullQueue(now),
    onFailure: (error) => onTrouble("failed", error),
  };
  http.serve(serverApp({ services, keys, logger, studio }).fetch);
  options.onListening(http.url);
  if (!options.worker) options.onReady(undefined, database.ownBytes);

  const open = modelOpener({ ...options, stateStore, givesWay: true, ownBytes: database.ownBytes }, stop);
  const working = options.worker
    ? work(
        {
          ...{ claims, log, assets, store, stateStore, previews, live, entries, touchMs: heartbeat.touchMs, onTrouble },
          models: [...options.models.keys()],
          contents: () => models.ownContents(),
          async open(model) {
            engine = undefined;
            return await open(model);
          },
          onOpened: (opened) => {
            engine = opened;
            options.onReady(opened, database.ownBytes);
          },
          onImage: (image, sideBySide) => metrics.image(image, sideBySide),
        },
        stop,
      ).catch((error: unknown) => failure.abort(error))
    : undefined;
  await aborted(stop);
  await http[Symbol.asyncDispose]();
  await working;
  if (!signal.aborted) throw failure.signal.reason;
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

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
