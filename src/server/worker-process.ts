/** @file A worker of its own: what it stands on, and its engine. Any number of them share one database. */
import type { DestinationStream } from "pino";
import type { Engine } from "../job/types.ts";
import { type BackingOptions, openBacking } from "./backing.ts";
import { openLogger } from "./logger.ts";
import { OfferedModels } from "./models.ts";
import { LiveView } from "./work/live-view.ts";
import { type EngineOptions, modelOpener } from "./work/open-model.ts";
import { Previews } from "./work/previews.ts";
import { SharedPreviews } from "./work/shared-previews.ts";
import { work } from "./work/worker.ts";

export interface WorkerOptions extends BackingOptions, EngineOptions {
  readonly logs: DestinationStream;
  readonly onReady: (engine: Engine, model: string) => void;
  readonly onDrawn: (elapsedMs: number) => void;
}

/** Works until the signal, and gives back what it has then. Rejects where no engine can be opened. */
export async function runWorker(options: WorkerOptions, signal: AbortSignal): Promise<void> {
  const logger = openLogger(options.logs);
  await using backing = await openBacking(options, logger, signal);
  const { database, claims, log, store, stateStore, assets, entries } = backing;
  const { modelContent: contentOf } = options;
  const onTrouble = (what: string, error: unknown) => logger.error({ err: error }, what);
  const previews = new Previews(new SharedPreviews({ database, now: () => performance.now(), onTrouble }));
  const models = new OfferedModels({ own: options.models, entries, contentOf, draws: true });
  await work(
    {
      ...{ claims, log, assets, store, stateStore, entries, previews },
      // Nobody watches here.
      live: new LiveView(() => undefined),
      touchMs: options.heartbeat.touchMs,
      models: [...options.models.keys()],
      contents: () => models.ownContents(),
      open: modelOpener({ ...options, stateStore, givesWay: false, ownBytes: database.ownBytes }, signal),
      onOpened: options.onReady,
      onImage: ({ elapsedMs }) => options.onDrawn(elapsedMs),
      onTrouble,
    },
    signal,
  );
}
