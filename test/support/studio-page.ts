/** @file A page of the studio without a browser: what its modules ask of one, a server of the test's own, and what people would be told. */
import { registerHooks } from "node:module";

export interface Request {
  readonly method: string;
  readonly path: string;
  /** As JSON, where it is. */
  readonly body: unknown;
}

export interface StudioPage {
  /** In their order. */
  readonly requests: Request[];
  /** Texts of notices, and failures. */
  readonly told: { readonly text?: string; readonly error?: unknown; readonly undo?: () => void }[];
  /** What is kept in this browser. */
  readonly kept: Map<string, string>;
  /** What the server answers from now on, at once or later; a number is a status. Default: 404. */
  answer: (request: Request) => unknown;
  /** Something that happened, as the stream of events tells it; "open": the connection is there again. */
  readonly happens: (type: string, data: object) => void;
  /** The page is left. */
  readonly leave: () => void;
  /** A module of studio/src, as the caller knows it to be. */
  readonly load: <Module>(name: string) => Promise<Module>;
}

/** Notices as components need JSX, which Node takes none of. */
const NOTICES = `
  export const notify = (text, action) => globalThis.studioPage.told.push({ text, undo: action?.run });
  export const notifyFailure = (error) => globalThis.studioPage.told.push({ error });
`;

/** For this process, once. `kept`: what an earlier visit left. */
export function openStudioPage(kept: Readonly<Record<string, string>> = {}): StudioPage {
  const window = new EventTarget();
  const stream = Object.assign(new EventTarget(), { close() {} });
  const stored = new Map(Object.entries(kept));
  const page: StudioPage = {
    ...{ requests: [], told: [], kept: stored, answer: () => 404 },
    happens(type, data) {
      stream.dispatchEvent(Object.assign(new Event(type), { data: JSON.stringify(data) }));
    },
    leave: () => void window.dispatchEvent(new Event("pagehide")),
    load: async (name) => await import(new URL(`../../studio/src/${name}`, import.meta.url).href),
  };
  registerHooks({
    load(url, context, next) {
      if (!url.endsWith(".tsx")) return next(url, context);
      return { format: "module", source: NOTICES, shortCircuit: true };
    },
  });
  const globals = {
    studioPage: page,
    window,
    addEventListener: window.addEventListener.bind(window),
    location: { hash: "", href: "http://studio.example/#/draw" },
    document: Object.assign(new EventTarget(), { documentElement: {}, hidden: false, querySelector: () => null }),
    navigator: { languages: ["en"] },
    localStorage: {
      getItem: (key: string) => stored.get(key) ?? null,
      setItem: (key: string, text: string) => void stored.set(key, text),
    },
    matchMedia: () => Object.assign(new EventTarget(), { matches: false }),
    EventSource: function open() {
      queueMicrotask(() => stream.dispatchEvent(new Event("open")));
      return stream;
    },
    fetch: async (path: string, { method = "GET", body }: { method?: string; body?: unknown } = {}) => {
      const request = { method, path, body: typeof body === "string" ? JSON.parse(body) : body };
      page.requests.push(request);
      const answer = await page.answer(request);
      if (answer instanceof Error) throw answer;
      return typeof answer === "number" ? new Response(null, { status: answer }) : Response.json(answer);
    },
  };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  return page;
}
