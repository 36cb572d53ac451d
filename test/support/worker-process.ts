/** @file A worker as a process of its own, whose engine only pretends: WORKER is JSON of what it stands on. Ends by SIGTERM. */
import "../../src/node/disposal.ts";
import { runWorker, type WorkerOptions } from "../../src/server/worker-process.ts";
import { pretendingEngine, SAME_CONTENT } from "./pretending-engine.ts";

type Told = Pick<WorkerOptions, "database" | "images" | "stateFolder" | "heartbeat">;

const stop = new AbortController();
process.on("SIGTERM", () => stop.abort());
await runWorker(
  {
    ...(JSON.parse(process.env.WORKER!) as Told),
    env: {},
    models: new Map([["pretence", {}]]),
    openEngine: async () => pretendingEngine(),
    modelContent: async () => SAME_CONTENT,
    logs: { write: (line) => void process.stderr.write(line) },
    onReady: () => process.stdout.write("ready\n"),
    onDrawn: () => {},
  },
  stop.signal,
);
