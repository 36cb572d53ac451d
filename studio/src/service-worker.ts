/**
 * @file The service worker: keeps the program's own files, so that the studio opens while the server is away, and lets everything else through. The
 * build writes SHELL and BUILD in front of it.
 */
const worker = self as unknown as ServiceWorkerGlobalScope & {
  readonly SHELL: readonly string[];
  readonly BUILD: string;
};
const cacheName = `solvay-${worker.BUILD}`;

worker.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(cacheName)
      .then((cache) => cache.addAll([...worker.SHELL]))
      .then(() => worker.skipWaiting()),
  );
});

worker.addEventListener("activate", (event) => {
  const tidy = async () => {
    const others = (await caches.keys()).filter((each) => each.startsWith("solvay-") && each !== cacheName);
    await Promise.all(others.map((each) => caches.delete(each)));
    await worker.clients.claim();
  };
  event.waitUntil(tidy());
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== worker.location.origin || !worker.SHELL.includes(pathname)) return;
  // The page itself is asked for anew where the server is there, so that a new version comes at once.
  event.respondWith(pathname === "/" ? freshOrKept(request) : keptOrFresh(request));
});

async function freshOrKept(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await caches.match("/");
    if (kept) return kept;
    throw error;
  }
}

async function keptOrFresh(request: Request): Promise<Response> {
  return (await caches.match(request)) ?? (await fetch(request));
}

export {};
