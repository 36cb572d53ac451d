/** @file A Hugging Face hub on this machine: the API, the files, and the storage that large files are redirected to, with faults on demand. */
import { createHash } from "node:crypto";
import { globSync, readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";

export interface FakeRequest {
  readonly server: "hub" | "storage";
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** Returns true when it has answered by itself. `name`: the repository's file, or "api". */
export type Fault = (request: FakeRequest, response: ServerResponse, name: string) => boolean;

export interface FakeHub extends AsyncDisposable {
  readonly endpoint: string;
  readonly storage: string;
  readonly commit: string;
  readonly files: Map<string, Buffer>;
  readonly requests: FakeRequest[];
  /** Ranges are answered with 206. */
  ranges: boolean;
  /** The listing tells sizes and checksums. */
  detailed: boolean;
  /** More names for the listing. */
  extraNames: string[];
  fault: Fault;
  /** Paths asked for with GET, by name of the file. */
  readonly fetched: () => string[];
}

/** Names of the one commit. */
const REVISIONS = ["main", "v1", "refs/pr/1"];

export const MODEL = "someone/tiny-sdxl";

export const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
export const gitId = (bytes: Buffer) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
export const isLarge = (name: string) => name.endsWith(".safetensors");

export function readFolder(folder: string): Map<string, Buffer> {
  const names = globSync("**/*", { cwd: folder }).filter((name) => statSync(path.join(folder, name)).isFile());
  return new Map(names.map((name) => [name.split(path.sep).join("/"), readFileSync(path.join(folder, name))]));
}

export async function startHub(files: Map<string, Buffer>): Promise<FakeHub> {
  const commit = createHash("sha1")
    .update([...files.keys()].join())
    .digest("hex");
  const requests: FakeRequest[] = [];
  const note = (server: FakeRequest["server"], request: IncomingMessage): FakeRequest => {
    const { method = "", url = "", headers } = request;
    const { range, authorization } = headers;
    const noted = { server, method, path: decodeURIComponent(url), range, authorization };
    requests.push(noted);
    return noted;
  };

  const hubServer = createServer((request, response) => {
    const noted = note("hub", request);
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/([^?]+)\?blobs=true$/.exec(noted.path);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(noted.path);
    const name = api ? "api" : (file?.[3] ?? "");
    if (hub.fault(noted, response, name)) return;
    const known = (id?: string, revision?: string) => id === MODEL && [...REVISIONS, commit].includes(revision ?? "");
    if (api && known(api[1], api[2])) return void response.end(JSON.stringify(listing(hub)));
    const bytes = file && known(file[1], file[2]) ? files.get(name) : undefined;
    if (!bytes) return void response.writeHead(404, { "X-Error-Code": "EntryNotFound" }).end();
    if (!isLarge(name)) {
      const headers = { ETag: `"${gitId(bytes)}"`, "X-Repo-Commit": commit };
      return sendBytes(hub, noted, response, bytes, headers);
    }
    const [hash, size] = [sha256(bytes), bytes.length];
    const linked = { "X-Linked-Etag": `"${hash}"`, "X-Linked-Size": size, "X-Repo-Commit": commit };
    response.writeHead(302, { Location: `${hub.storage}/${name}?Signature=secret`, ...linked }).end();
  });
  const storageServer = createServer((request, response) => {
    const noted = note("storage", request);
    const name = noted.path.slice(1).replace(/\?.*$/, "");
    if (hub.fault(noted, response, name)) return;
    const bytes = files.get(name);
    if (!bytes) return void response.writeHead(404).end();
    sendBytes(hub, noted, response, bytes, { ETag: '"storage-etag"' });
  });

  const hub: FakeHub = {
    endpoint: await listen(hubServer),
    storage: await listen(storageServer),
    commit,
    files,
    requests,
    ranges: true,
    detailed: true,
    extraNames: [],
    fault: () => false,
    fetched: () =>
      requests
        .filter(({ server, method, path }) => server === "hub" && method === "GET" && path.includes("/resolve/"))
        .map(({ path }) => path.slice(path.indexOf("/resolve/") + 50)),
    async [Symbol.asyncDispose]() {
      for (const server of [hubServer, storageServer]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
  return hub;
}

function listing({ files, commit, detailed, extraNames }: FakeHub): object {
  const siblings = [...files].map(([rfilename, bytes]) => {
    if (!detailed) return { rfilename };
    const size = bytes.length;
    if (!isLarge(rfilename)) return { rfilename, size, blobId: gitId(bytes) };
    return {
      rfilename,
      size,
      blobId: gitId(Buffer.from("pointer")),
      lfs: { size, sha256: sha256(bytes), pointerSize: 134 },
    };
  });
  return { id: MODEL, sha: commit, siblings: [...siblings, ...extraNames.map((rfilename) => ({ rfilename }))] };
}

function sendBytes(
  hub: FakeHub,
  { method, range }: FakeRequest,
  response: ServerResponse,
  bytes: Buffer,
  headers: Record<string, string>,
): void {
  const start = hub.ranges ? Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0) : 0;
  if (start >= bytes.length && start > 0) return void response.writeHead(416).end();
  const rest = bytes.subarray(start);
  const part = start > 0 ? { "Content-Range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {};
  response.writeHead(start > 0 ? 206 : 200, { ...headers, ...part, "Content-Length": rest.length });
  response.end(method === "HEAD" ? undefined : rest);
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
