/** @file Where the Hugging Face hub client keeps models on this machine, and how to find one there (huggingface_hub, constants.py). */
import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

export type Environment = Readonly<Record<string, string | undefined>>;

/** "name" or "org/name", letters, digits, ".", "_" and "-", no ".." anywhere: safe as a folder name. */
const HUB_ID = /^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,95}\/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$/;
const COMMIT = /^[0-9a-f]{40}$/;
const REVISION = /^[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}$/;

export function isHubId(text: string): boolean {
  return HUB_ID.test(text);
}

export function isCommit(text: string): boolean {
  return COMMIT.test(text);
}

/** A branch, tag or commit, such as "main" or "refs/pr/1": safe as a path in the cache. */
export function isRevision(text: string): boolean {
  return REVISION.test(text) && text.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** A path from the environment as the hub client takes it: "~" is the user's folder, $NAME and ${NAME} are variables that are set. */
export function expandPath(text: string, env: Environment): string {
  const home = (process.platform === "win32" ? env.USERPROFILE : env.HOME) || homedir();
  const named = text.replace(/^~(?=$|[\\/])/, () => home);
  return named.replace(/\$(?:(\w+)|\{([^}]*)\})/g, (whole, plain?: string, braced?: string) => {
    return env[plain ?? braced ?? ""] ?? whole;
  });
}

/** HF_HOME, else huggingface/ in the XDG cache. */
export function hubHome(env: Environment): string {
  return expandPath(env.HF_HOME || join(env.XDG_CACHE_HOME || join("~", ".cache"), "huggingface"), env);
}

/** HF_HUB_CACHE (older: HUGGINGFACE_HUB_CACHE), else hub/ in the hub client's home. */
export function hubCacheDir(env: Environment): string {
  return expandPath(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(hubHome(env), "hub"), env);
}

/** models--ORG--NAME in the cache. */
export function hubRepoDir(id: string, env: Environment): string {
  return join(hubCacheDir(env), `models--${id.replaceAll("/", "--")}`);
}

export interface ResolveOptions {
  readonly env: Environment;
  /** Branch, tag or commit. Default "main". */
  readonly revision?: string;
}

/** The snapshot folder of a model in the cache that has its model_index.json, or undefined. */
export async function resolveHubModel(
  id: string,
  { env, revision = "main" }: ResolveOptions,
): Promise<string | undefined> {
  if (!isHubId(id) || !isRevision(revision)) return undefined;
  const repo = hubRepoDir(id, env);
  const named = COMMIT.test(revision) ? undefined : join(repo, "refs", ...revision.split("/"));
  const commit = named ? (await readFile(named, "utf8").catch(() => "")).trim() : revision;
  if (!COMMIT.test(commit)) return undefined;
  const snapshot = join(repo, "snapshots", commit);
  const index = await stat(join(snapshot, "model_index.json")).catch(() => undefined);
  return index?.isFile() ? snapshot : undefined;
}
