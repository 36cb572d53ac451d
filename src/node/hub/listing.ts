/** @file What a model on the hub consists of: its commit and its files, checked before anything is named after them. */
import { ArtifactError } from "../../errors.ts";
import { isJsonObject, type JsonObject } from "../../source/json-fields.ts";
import { isCommit } from "./cache.ts";
import { type HubHttp, readReply } from "./http.ts";

/** A file of one commit. */
export interface HubFile {
  /** Path in the repository, with "/". Never leads out of it. */
  readonly name: string;
  readonly sizeBytes?: number;
  /** sha256 of the content, of files in large-file storage. */
  readonly sha256?: string;
  /** Git's blob id (sha1 of "blob SIZE\0" and the content), of the others. */
  readonly gitId?: string;
}

export interface HubListing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

const MAX_LISTING_BYTES = 64 * 1024 ** 2;
const MAX_FILES = 100_000;

/** Asks for the files of `revision`. Throws ArtifactError `E_HUB_LISTING`, `E_HUB_NAME`, and what HubHttp.send throws. */
export async function listModel(
  http: HubHttp,
  id: string,
  revision: string,
  signal?: AbortSignal,
): Promise<HubListing> {
  const path = `/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  using reply = await http.send(path, { what: id, signal });
  const listing = parseListing(await readReply(reply, id, MAX_LISTING_BYTES), id);
  if (isCommit(revision) && listing.commit !== revision)
    throw malformed(id, `asked for commit ${revision}, got another`);
  return listing;
}

function parseListing(text: string, id: string): HubListing {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (cause) {
    throw malformed(id, "the hub's answer is not JSON", cause);
  }
  const { sha, siblings } = fieldsOf(root);
  if (typeof sha !== "string" || !isCommit(sha)) throw malformed(id, "the hub's answer names no commit");
  if (!Array.isArray(siblings) || siblings.length > MAX_FILES) throw malformed(id, "the hub's answer lists no files");
  const files = new Map<string, HubFile>();
  for (const entry of siblings as unknown[]) {
    const { rfilename: name, size, blobId, lfs } = fieldsOf(entry);
    if (typeof name !== "string" || !isSafeName(name)) {
      throw new ArtifactError({
        code: "E_HUB_NAME",
        subject: id,
        problem: `a file name that may lead out of its folder: ${JSON.stringify(name)?.slice(0, 100)}`,
        next: "do not use this model; tell the hub",
      });
    }
    const large = fieldsOf(lfs);
    const sizeBytes = [large.size, size].find(isSize);
    const sha256 = [large.sha256, large.oid].find(isSha256);
    const inGit = sha256 === undefined && !lfs && typeof blobId === "string" && isCommit(blobId);
    files.set(name, { name, sizeBytes, sha256, gitId: inGit ? blobId : undefined });
  }
  return { commit: sha, files };
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isSha256(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

/** A relative path with "/" alone, each part a plain name on every system. */
export function isSafeName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
  if (name.length > 1024 || /[\\\u0000-\u001f\u007f]|^[A-Za-z]:/.test(name)) return false;
  return name.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

function fieldsOf(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}

function malformed(id: string, problem: string, cause?: unknown): ArtifactError {
  return new ArtifactError({
    code: "E_HUB_LISTING",
    subject: id,
    problem,
    next: "check HF_ENDPOINT, and that no login page of the network answers for the hub",
    cause,
  });
}
