/** @file The socket of a server: taken first, so that a port in use is said at once, with its guard before every request. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { DeviceError } from "../errors.ts";
import { Admission } from "./admission.ts";
import { failed } from "./http/app.ts";
import { answerClientError } from "./http/client-errors.ts";
import { notReady } from "./http/failures.ts";
import { guard, setAnswerHeaders } from "./http/guard.ts";
import { waitingPage } from "./studio/studio.ts";

const LIMITS = {
  ...{ headersTimeout: 15_000, requestTimeout: 60_000, maxHeaderSize: 16 * 1024, keepAliveTimeout: 10_000 },
  // How often Node looks who is too slow: by itself every 30 s.
  connectionsCheckingInterval: 2_000,
};
const MAX_CONNECTIONS = 128;
const HEALTH = "/healthz";
/** Whoever answers is alive: at once, before what waits to be begun, and told in no log. */
const HEALTHY = JSON.stringify({ ok: true });

type Fetch = (request: Request) => Response | Promise<Response>;

export interface Listening extends AsyncDisposable {
  readonly url: string;
  /** Whom to ask from now on; who asks before is told to come again. */
  readonly serve: (fetch: Fetch) => void;
}

export interface ListenOptions {
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
  readonly allowedHosts: readonly string[];
}

/** Rejects with DeviceError `E_LISTEN`. */
export async function listen({ host, port, allowedHosts }: ListenOptions): Promise<Listening> {
  let bound = port;
  let listener: ReturnType<typeof getRequestListener> | undefined;
  const admission = new Admission(setImmediate);
  const server = createServer({ ...LIMITS, requireHostHeader: false }, (request, response) => {
    if (request.url === HEALTH) void answer(request, response);
    else admission.begin(() => void answer(request, response));
  });
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    setAnswerHeaders(response);
    try {
      guard(request, { allowedHosts, port: () => bound });
      const looks = request.method === "GET" || request.method === "HEAD";
      if (looks && request.url === HEALTH) {
        response.setHeader("content-type", "application/json");
        response.end(HEALTHY);
        return;
      }
      const page = !listener && request.method === "GET" ? waitingPage(request.url ?? "") : undefined;
      if (page) {
        response.writeHead(page.status, Object.fromEntries(page.headers));
        response.end(await page.text());
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
  };
  server.maxConnections = MAX_CONNECTIONS;
  server.on("clientError", (error, socket) => void answerClientError(error, socket));
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
