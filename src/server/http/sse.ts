/** @file Server-sent events (WHATWG HTML 9.2): a stream that ends with its reader, and says now and then that it lives. */

export interface SentEvent {
  readonly event: string;
  /** One JSON value. */
  readonly data: unknown;
  readonly id?: number;
}

/** Proxies close what is silent for a minute. */
const SILENCE_MS = 15_000;
const encoder = new TextEncoder();

/**
 * An answer of such events. Nothing is asked of `events` before the reader takes what there is; the signal stops them once it has gone.
 */
export function eventStream(events: (signal: AbortSignal) => AsyncIterator<SentEvent>): Response {
  const stop = new AbortController();
  const iterator = events(stop.signal);
  let next: ReturnType<typeof iterator.next> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        next ??= iterator.next();
        const silence = Promise.withResolvers<"silence">();
        const timer = setTimeout(() => silence.resolve("silence"), SILENCE_MS);
        try {
          const came = await Promise.race([next, silence.promise]);
          if (came === "silence") return controller.enqueue(encoder.encode(": still here\n\n"));
          next = undefined;
          if (came.done) controller.close();
          else controller.enqueue(encoder.encode(textOf(came.value)));
        } finally {
          clearTimeout(timer);
        }
      },
      async cancel() {
        stop.abort();
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
}

function textOf({ event, data, id }: SentEvent): string {
  const number = id === undefined ? "" : `id: ${id}\n`;
  return `${number}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
