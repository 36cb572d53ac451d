/** @file The engine's thread on Node. */
import "./disposal.ts";
import { resolve } from "node:path";
import { parentPort } from "node:worker_threads";
import { composeEngine } from "../engine/engine.ts";
import { serveEngine } from "../engine/serve-port.ts";
import { openNodeParts } from "./engine-parts.ts";
import { createGarbageCollector } from "./garbage.ts";
import { giveWay } from "./give-way.ts";

const port = parentPort;
if (!port) throw new Error("engine-worker runs as a worker thread");

serveEngine(
  {
    post: (message) => port.postMessage(message),
    onMessage: (handle) => port.on("message", handle),
    close: () => port.close(),
  },
  {
    async open(request, options) {
      // Before what computes starts threads of its own.
      if (request.givesWay) giveWay();
      return composeEngine(await openNodeParts(request, resolve), options);
    },
    afterImage: createGarbageCollector(),
  },
);
