/**
 * @file Engines in the test's own thread, for tests that open many of them: what is asked, told and refused goes the same way, as
 * structured clones. Only the thread is left out, whose start takes longer than what small models draw.
 */
import { resolve } from "node:path";
import { EngineClient } from "../../src/engine/client.ts";
import { composeEngine } from "../../src/engine/engine.ts";
import type { FromEngine, ToEngine } from "../../src/engine/messages.ts";
import { serveEngine } from "../../src/engine/serve-port.ts";
import type { EngineThread } from "../../src/engine/thread.ts";
import type { OpenEngineOptions } from "../../src/job/types.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import type { Engine } from "../../src/node.ts";
import { keepSessions } from "./kept-sessions.ts";

/** As openEngine (src/node.ts) does. */
export async function openThreadlessEngine(options: OpenEngineOptions = {}): Promise<Engine> {
  if (options.backend === "cpu") await keepSessions();
  return await EngineClient.open(startThreadless(), options);
}

/** Each message in a turn of its own. */
function startThreadless(): EngineThread {
  let toClient: (message: FromEngine) => void = () => {};
  let toEngine: (message: ToEngine) => void = () => {};
  let over = () => {};
  const port = {
    post: (message: FromEngine) => void setImmediate(toClient, structuredClone(message)),
    onMessage: (handle: (message: ToEngine) => void) => {
      toEngine = handle;
    },
    close: () => void setImmediate(() => over()),
  };
  serveEngine(port, { open: async (request, asked) => composeEngine(await openNodeParts(request, resolve), asked) });
  return {
    post: (message) => void setImmediate(toEngine, structuredClone(message)),
    listen: (onMessage, onEnd) => {
      toClient = onMessage;
      const fields = { code: "E_ENGINE_ENDED", problem: "the engine is closed", next: "open it again" };
      over = () => onEnd({ kind: "solvay", name: "DeviceError", fields });
    },
    keepAlive: () => {},
    terminate: async () => {},
  };
}
