/** @file One file from the hub into the cache's blobs: resumed where it stopped, checked before it gets its name. */

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { ArtifactError, BudgetError } from "../../errors.ts";
import type { Clock } from "../clock.ts";
import { type HubHttp, type HubReply, plainEtag, withRetries } from "./http.ts";
import { Transient } from "./hub-failure.ts";
import type { HubFile } from "./listing.ts";
import { type Expected, PartialFile } from "./partial.ts";

/** A file whose name in blobs/ and whose size are known. */
export interface Blob extends Expected {
  /** Path in the repository. */
  readonly name: string;
  /** Its checksum, or the ETag where the hub gives no checksum. */
  readonly id: string;
  /** The ETag to be seen again, of files without a checksum. */
  readonly etag?: string;
}

export interface DownloadOptions {
  readonly http: HubHttp;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Path of the file at one commit, below the endpoint. */
  readonly path: string;
  readonly commit: string;
  /** For messages: model and file. */
  readonly what: string;
  readonly onStart: (haveBytes: number) => void;
  /** All bytes of the file that are here now; can go back when the server makes us begin anew. */
  readonly onBytes: (haveBytes: number) => void;
  readonly onRetry: (problem: string, waitMs: number) => void;
}

export function resolvePath(id: string, commit: string, name: string): string {
  return `/${id}/resolve/${commit}/${name.split("/").map(encodeURIComponent).join("/")}`;
}

type Request = Pick<DownloadOptions, "http" | "clock" | "signal" | "path" | "what" | "onRetry">;

/** Completes what the listing left open (mirrors list names alone) by asking for the file's headers. */
export async function identifyBlob(file: HubFile, request: Request): Promise<Blob> {
  const { name, sizeBytes, sha256, gitId } = file;
  const known = sha256 ?? gitId;
  if (known !== undefined && sizeBytes !== undefined) {
    return { name, sizeBytes, id: known, sha256, gitId: sha256 ? undefined : known };
  }
  const { http, clock, signal, path, what, onRetry } = request;
  return await withRetries({ what, clock, signal, onRetry }, async () => {
    using reply = await http.send(path, { method: "HEAD", what, signal });
    const etag = reply.hub.etag ?? plainEtag(reply.headers.get("etag") ?? "");
    const length = reply.headers.get("content-length");
    const size = sizeBytes ?? reply.hub.sizeBytes ?? (length === null ? undefined : Number(length));
    if (size === undefined || !Number.isSafeInteger(size) || size < 0)
      throw strange(what, "the hub names no size for it");
    if (!/^[A-Za-z0-9._-]{1,200}$/.test(etag) || /^\.+$/.test(etag))
      throw strange(what, "the hub names no usable ETag for it");
    const hash = sha256 ?? (/^[0-9a-f]{64}$/.test(etag) ? etag : undefined);
    return { name, sizeBytes: size, id: hash ?? etag, sha256: hash, etag: hash ? undefined : etag };
  });
}

/** Fetches `blob` to the file `target`. What has come by an error or an abort stays in `target`.incomplete, except after a failed check. */
export async function downloadBlob(blob: Blob, target: string, options: DownloadOptions): Promise<void> {
  const { clock, signal, what, onStart, onBytes, onRetry } = options;
  await mkdir(dirname(target), { recursive: true });
  await using part = await PartialFile.open(`${target}.incomplete`, blob, signal);
  onStart(part.lengthBytes);
  const receivedBytes = () => part.lengthBytes;
  await withRetries({ what, clock, signal, onRetry, receivedBytes }, async () => {
    if (part.lengthBytes < blob.sizeBytes) await transfer(blob, part, options);
    onBytes(part.lengthBytes);
  });
  await part.finish(target, what);
}

async function transfer(blob: Blob, part: PartialFile, options: DownloadOptions): Promise<void> {
  const { http, signal, path, what, onBytes } = options;
  const from = part.lengthBytes;
  const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
  using reply = await http.send(path, { what, headers, accept: [206, 416], signal });
  if (reply.status === 416 || (reply.status === 206 && !continues(reply, from, blob.sizeBytes))) {
    if (from === 0) throw strange(what, `the hub sent another range than asked for (${reply.status})`);
    await part.restart();
    throw new Transient("the server can't continue the file; beginning anew", { waitMs: 0 });
  }
  await refuseOther(reply, blob, part, options);
  // 200: the server knows no ranges, and sends all of it.
  if (reply.status === 200 && from > 0) await part.restart();

  for await (const bytes of reply.body) {
    if (part.lengthBytes + bytes.byteLength > blob.sizeBytes) {
      await part.discard();
      throw strange(what, `the hub sends more than the ${blob.sizeBytes} bytes it named; deleted`, "E_SIZE");
    }
    await part.append(bytes).catch((error: unknown) => {
      throw fullDisk(error, what);
    });
    onBytes(part.lengthBytes);
  }
  if (part.lengthBytes < blob.sizeBytes) {
    throw new Transient(`the connection ended ${blob.sizeBytes - part.lengthBytes} bytes too early`);
  }
}

/** Whether a partial answer starts where we stopped, in a file of this size. */
function continues(reply: HubReply, from: number, sizeBytes: number): boolean {
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(reply.headers.get("content-range") ?? "") ?? [];
  return Number(start) === from && (total === "*" || Number(total) === sizeBytes);
}

/** Refuses an answer that is about something else, before any of it is written. */
async function refuseOther(reply: HubReply, blob: Blob, part: PartialFile, options: DownloadOptions): Promise<void> {
  const { what, commit } = options;
  const etag = reply.hub.etag ?? plainEtag(reply.headers.get("etag") ?? "");
  const wanted = blob.etag ?? (reply.hub.sizeBytes === undefined ? undefined : blob.sha256);
  const length = reply.headers.get("content-length");
  const encoded = reply.headers.has("content-encoding");
  const problem =
    reply.hub.commit !== undefined && reply.hub.commit !== commit
      ? `the hub sends it from another commit (found ${reply.hub.commit.slice(0, 12)}, asked for ${commit.slice(0, 12)})`
      : wanted !== undefined && etag !== wanted
        ? `the file changed on the hub (ETag ${etag.slice(0, 12) || "gone"}, was ${wanted.slice(0, 12)})`
        : /^text\/html/i.test(reply.headers.get("content-type") ?? "")
          ? "got a web page instead of the file (a login page of the network?)"
          : reply.status === 200 && length !== null && !encoded && Number(length) !== blob.sizeBytes
            ? `the hub sends ${length} bytes, its listing says ${blob.sizeBytes}`
            : undefined;
  if (problem === undefined) return;
  await part.discard();
  throw strange(what, `${problem}; deleted`, "E_HUB_CHANGED");
}

function fullDisk(error: unknown, what: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  return new BudgetError({
    code: "E_DISK_FULL",
    subject: what,
    problem: "the disk is full",
    next: "free some space, or set HF_HOME to a larger disk, and run the same command again: it goes on where it stopped",
    cause: error,
  });
}

function strange(what: string, problem: string, code = "E_HUB_ANSWER"): ArtifactError {
  return new ArtifactError({
    code,
    subject: what,
    problem,
    next: "run the same command again; if it stays so, check HF_ENDPOINT",
  });
}
