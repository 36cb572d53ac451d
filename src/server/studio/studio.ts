/** @file The studio at a server's root: its files, or a page that waits for them. */
import type { StudioFiles } from "./studio-files.ts";

/** Looks again by itself. A refresh by the page's head would not, where the address has a view behind its hash. */
const WAITING = `<!doctype html><html lang="en"><meta charset="utf-8"><script src="/waiting.js"></script>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>Solvay</title><p>Solvay is starting ...</p></html>`;

export class Studio {
  #files: StudioFiles | undefined;
  #failure: unknown;

  /** `onFailure`: there will be no pages; everything else goes on. */
  constructor(opening: Promise<StudioFiles>, onFailure: (error: unknown) => void) {
    opening.then(
      (files) => {
        this.#files = files;
      },
      (error: unknown) => {
        this.#failure = error;
        onFailure(error);
      },
    );
  }

  /** Undefined: the request is none of the studio's. Throws what the pages failed with. */
  async answer({ method, headers, url }: Request): Promise<Response | undefined> {
    if (method !== "GET" && method !== "HEAD") return undefined;
    const { pathname } = new URL(url);
    if (this.#files) return await this.#files.answer(pathname, headers.get("accept-encoding") ?? "");
    if (pathname === "/" && this.#failure !== undefined) throw this.#failure;
    return waitingPage(pathname);
  }
}

/** What there is while the server is not ready to say anything else: "/" and its script. */
export function waitingPage(pathname: string): Response | undefined {
  const found = {
    "/": ["text/html", WAITING],
    "/waiting.js": ["text/javascript", "setTimeout(() => location.reload(), 1000);"],
  }[pathname];
  if (!found) return undefined;
  const [type, text] = found;
  return new Response(text, { headers: { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" } });
}
