/**
 * @file One stream of the server's events for all tabs of a browser, which has six connections to a server at most: the tab that holds a lock opens it and tells
 * the others; where it goes away, another gets the lock. Where a browser has no locks (a page over plain HTTP from another machine), a tab has a stream of its own.
 */

export interface StreamListener {
  /** The connection is there, or there again. */
  readonly onOpen: () => void;
  readonly onLost: () => void;
  readonly onEvent: (type: string, text: string) => void;
}

/** What tabs tell each other. */
type Told =
  /** A tab is there, and wants to know how things are. */
  | { readonly kind: "hello" }
  | { readonly kind: "state"; readonly isOpen: boolean }
  | { readonly kind: "open" | "lost" }
  | { readonly kind: "event"; readonly type: string; readonly text: string };

const AGAIN_MS = 2_000;

/** For as long as the page is there. */
export function followStream(path: string, types: readonly string[], listener: StreamListener): void {
  const name = `solvay ${path}`;
  const alone = () => openStream(path, types, listener);
  if (!("locks" in navigator) || !("BroadcastChannel" in window)) {
    alone();
    return;
  }
  const channel = new BroadcastChannel(name);
  const tell = (told: Told) => channel.postMessage(told);
  let leads = false;
  let isOpen: boolean | undefined;
  const heard: StreamListener = {
    onOpen() {
      isOpen = true;
      listener.onOpen();
    },
    onLost() {
      isOpen = false;
      listener.onLost();
    },
    onEvent: listener.onEvent,
  };
  channel.addEventListener("message", ({ data: told }: MessageEvent<Told>) => {
    if (told.kind === "hello") {
      if (leads && isOpen !== undefined) tell({ kind: "state", isOpen });
    } else if (told.kind === "event") heard.onEvent(told.type, told.text);
    else if (told.kind !== "state") told.kind === "open" ? heard.onOpen() : heard.onLost();
    else if (told.isOpen !== isOpen) told.isOpen ? heard.onOpen() : heard.onLost();
  });
  tell({ kind: "hello" });
  const lead = () => {
    leads = true;
    openStream(path, types, {
      onOpen() {
        tell({ kind: "open" });
        heard.onOpen();
      },
      onLost() {
        tell({ kind: "lost" });
        heard.onLost();
      },
      onEvent(type, text) {
        tell({ kind: "event", type, text });
        heard.onEvent(type, text);
      },
    });
    // Held until the page is gone.
    return new Promise<never>(() => {});
  };
  navigator.locks.request(name, lead).catch(alone);
}

/** The browser itself connects again, and says which event it had last. */
function openStream(path: string, types: readonly string[], { onOpen, onLost, onEvent }: StreamListener): void {
  const opened = new EventSource(path);
  opened.addEventListener("open", onOpen);
  opened.addEventListener("error", () => {
    onLost();
    // After an answer that is no stream (the server starts) a browser gives up.
    if (opened.readyState !== EventSource.CLOSED) return;
    setTimeout(() => openStream(path, types, { onOpen, onLost, onEvent }), AGAIN_MS);
  });
  for (const type of types) {
    opened.addEventListener(type, ({ data }: MessageEvent<string>) => onEvent(type, data));
  }
}
