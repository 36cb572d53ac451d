/** @file The studio at a server's root: its files, or a page that waits for them. */
import type { StudioFiles } from "./studio-files.ts";

/** Looks again by itself: no script, as the policy wants it. */
const WAITING = `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="1">
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
    if (pathname !== "/") return undefined;
    if (this.#failure !== undefined) throw this.#failure;
    return waitingPage();
  }
}

/** For "/" while the server is not ready to say anything else. */
export function waitingPage(): Response {
  return new Response(WAITING, {
    headers: { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" },
  });
}
