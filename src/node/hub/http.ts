/** @file Requests to the hub: redirects by hand (the token stays with the hub), a stall clock, and retries. */

import { ArtifactError, DeviceError } from "../../errors.ts";
import type { Clock } from "../clock.ts";
import { brokenConnection, refusedBy, Transient } from "./hub-failure.ts";
import { type HubSettings, isPrivateWay, PUBLIC_ENDPOINT } from "./settings.ts";

/** What the hub itself, not the storage it redirects to, says about a file. */
export interface HubHeaders {
  /** sha256 of a file in large-file storage; the git id of others. Without quotes. */
  readonly etag?: string;
  readonly sizeBytes?: number;
  readonly commit?: string;
}

export interface HubReply extends Disposable {
  readonly status: number;
  readonly headers: Headers;
  readonly hub: HubHeaders;
  /** Throws Transient when the connection breaks or stalls. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface HubRequest {
  readonly method?: "GET" | "HEAD";
  /** Named in errors. */
  readonly what: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses besides 200 that the caller reads itself. */
  readonly accept?: readonly number[];
  readonly signal?: AbortSignal | undefined;
}

const MAX_REDIRECTS = 5;
const MAX_RETRIES = 4;
/** Longer waits are the user's to decide. */
const MAX_WAIT_MS = 120_000;
/** An attempt that brought so much was worth it, and starts the count anew. */
const PROGRESS_BYTES = 1024 ** 2;

export class HubHttp {
  readonly #settings: HubSettings;
  #reached = false;

  constructor(settings: HubSettings) {
    this.#settings = settings;
  }

  /** Sends one request and follows its redirects. Throws Transient, DeviceError, ArtifactError or the signal's reason. */
  async send(path: string, request: HubRequest): Promise<HubReply> {
    const { method = "GET", signal } = request;
    const clock = new StallClock(this.#settings.stallMs);
    const either = signal ? AbortSignal.any([signal, clock.signal]) : clock.signal;
    const failed = (error: unknown, url: URL) => {
      clock.stop();
      signal?.throwIfAborted();
      return clock.signal.aborted ? clock.signal.reason : brokenConnection(error, url.host, this.#reached);
    };
    let url = new URL(this.#settings.endpoint + path);
    let hub: HubHeaders = {};
    for (let redirects = 0; ; redirects++) {
      const ours = url.origin === new URL(this.#settings.endpoint).origin;
      const headers = {
        // Sizes and ranges mean the file's own bytes only without compression.
        "accept-encoding": "identity",
        ...request.headers,
        ...(ours && this.#settings.token ? { authorization: `Bearer ${this.#settings.token}` } : {}),
      };
      let response: Response;
      try {
        response = await fetch(url, { method, headers, redirect: "manual", signal: either });
      } catch (error) {
        throw failed(error, url);
      }
      this.#reached = true;
      if (ours) hub = hubHeaders(response.headers, response.status, hub);
      const at = url;
      const location = response.headers.get("location");
      const moved = [301, 302, 303, 307, 308].includes(response.status) && location !== null;
      // Of a file in large-file storage the hub's own answer tells all that HEAD is asked for.
      const told = method === "HEAD" && hub.etag !== undefined && hub.sizeBytes !== undefined;
      if (!moved || told) {
        const wanted = response.status === 200 || told || request.accept?.includes(response.status);
        if (!wanted) {
          clock.stop();
          await response.body?.cancel().catch(() => {});
          throw refusedBy(response.status, response.headers, request.what, this.#settings.token !== undefined);
        }
        return {
          status: response.status,
          headers: response.headers,
          hub,
          body: bodyOf(response, clock, (error) => failed(error, at)),
          [Symbol.dispose]() {
            clock.stop();
            clock.cancel();
          },
        };
      }
      await response.body?.cancel().catch(() => {});
      try {
        url = this.#redirected(at, location, redirects, request.what);
      } catch (error) {
        clock.stop();
        throw error;
      }
    }
  }

  #redirected(from: URL, location: string, count: number, what: string): URL {
    const refuse = (problem: string) =>
      new DeviceError({ code: "E_HUB_REDIRECT", subject: what, problem, next: "check HF_ENDPOINT and the network" });
    if (count >= MAX_REDIRECTS) throw refuse(`more than ${MAX_REDIRECTS} redirects`);
    const to = URL.canParse(location, from) ? new URL(location, from) : undefined;
    if (!to || !/^https?:$/.test(to.protocol)) throw refuse("redirected to something that is no web address");
    if (isPrivateWay(from) && !isPrivateWay(to)) throw refuse(`redirected to ${to.host} without https`);
    const known = /(^|\.)(huggingface\.co|hf\.co)$/.test(to.hostname);
    if (this.#settings.endpoint === PUBLIC_ENDPOINT && !known) throw refuse(`redirected to a foreign host, ${to.host}`);
    return to;
  }
}

/** `before`: what earlier answers of this request said. */
function hubHeaders(headers: Headers, status: number, before: HubHeaders): HubHeaders {
  const etag = headers.get("x-linked-etag") ?? (status < 300 ? headers.get("etag") : null);
  const size = headers.get("x-linked-size");
  const commit = headers.get("x-repo-commit");
  return {
    etag: etag ? plainEtag(etag) : before.etag,
    sizeBytes: size !== null && /^\d{1,15}$/.test(size) ? Number(size) : before.sizeBytes,
    commit: commit || before.commit,
  };
}

export function plainEtag(etag: string): string {
  return etag
    .trim()
    .replace(/^W\//, "")
    .replace(/^"(.*)"$/, "$1");
}

async function* bodyOf(
  response: Response,
  clock: StallClock,
  failed: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  while (reader) {
    clock.restart();
    let chunk: Awaited<ReturnType<typeof reader.read>>;
    try {
      chunk = await reader.read();
    } catch (error) {
      throw failed(error);
    }
    // What the caller does with the bytes is no silence of the server.
    clock.stop();
    if (chunk.done) return;
    yield chunk.value;
  }
}

/** Aborts when it was not restarted in time. */
class StallClock {
  readonly #ms: number;
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.#ms = ms;
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  restart(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#controller.abort(new Transient(`the server was silent for ${this.#ms / 1000} seconds`));
    }, this.#ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Ends a transfer that nobody reads any more. */
  cancel(): void {
    this.#controller.abort();
  }
}

export interface RetryOptions {
  readonly what: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  readonly onRetry: (problem: string, waitMs: number) => void;
  /** Bytes safely received so far; without it every failure counts. */
  readonly receivedBytes?: () => number;
}

/** Runs `attempt` again after each Transient, with growing pauses. Throws DeviceError `E_NETWORK` in the end. */
export async function withRetries<T>(options: RetryOptions, attempt: () => Promise<T>): Promise<T> {
  const { what, clock, signal, onRetry, receivedBytes = () => 0 } = options;
  let mark = receivedBytes();
  for (let failures = 0; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Transient)) throw error;
      const received = receivedBytes();
      failures = received - mark >= PROGRESS_BYTES ? 1 : failures + 1;
      mark = received;
      const waitMs = error.waitMs ?? 1000 * 2 ** (failures - 1);
      if (failures > MAX_RETRIES || waitMs > MAX_WAIT_MS) {
        const asked = waitMs > MAX_WAIT_MS ? `, and asks to wait ${Math.ceil(waitMs / 60_000)} minutes` : "";
        throw new DeviceError({
          code: "E_NETWORK",
          subject: what,
          problem: `${error.message}${asked || ` (tried ${failures} times)`}`,
          next: `${asked ? "wait, then" : "check the network, then"} run the same command again: it goes on where it stopped`,
          cause: error,
        });
      }
      onRetry(error.message, waitMs);
      await clock.sleep(waitMs, signal).catch((cause: unknown) => {
        signal?.throwIfAborted();
        throw cause;
      });
    }
  }
}

/** The text of a short answer. Throws ArtifactError `E_SIZE` beyond `maxBytes`. */
export async function readReply(reply: HubReply, what: string, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of reply.body) {
    length += chunk.byteLength;
    if (length > maxBytes) {
      const problem = `the hub's answer is too long (more than ${maxBytes} bytes)`;
      throw new ArtifactError({ code: "E_SIZE", subject: what, problem, next: "check HF_ENDPOINT" });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
