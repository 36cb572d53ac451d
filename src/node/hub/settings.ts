/** @file What the environment says about the hub: endpoint, token, offline, patience (names as huggingface_hub, constants.py). */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../../errors.ts";
import { type Environment, expandPath, hubHome } from "./cache.ts";

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Sent to the endpoint's own origin alone; undefined: requests are anonymous. */
  readonly token?: string;
  /** Why a token that is there is not used; for the user to see. */
  readonly tokenNote?: string;
  /** The variable that forbids the network. */
  readonly offlineBy?: string;
  /** False: put real files into snapshots. */
  readonly symlinks: boolean;
  /** A connection that is silent for so long is given up. */
  readonly stallMs: number;
}

export const PUBLIC_ENDPOINT = "https://huggingface.co";
const STALL_SECONDS = 30;

/** Throws UsageError `E_HUB_ENDPOINT` or `E_HUB_TOKEN`. The token itself is in no message. */
export async function hubSettings(env: Environment): Promise<HubSettings> {
  const endpoint = readEndpoint(env.HF_ENDPOINT || PUBLIC_ENDPOINT);
  const offlineBy = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].find((name) => isTrue(env[name]));
  const token = isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN) ? undefined : await readToken(env);
  const seconds = Number(env.HF_HUB_DOWNLOAD_TIMEOUT);
  const usable = token !== undefined && isPrivateWay(new URL(endpoint));
  return {
    endpoint,
    token: usable ? token : undefined,
    tokenNote:
      token !== undefined && !usable ? `The token is not sent: ${new URL(endpoint).origin} is not https.` : undefined,
    offlineBy,
    symlinks: !isTrue(env.HF_HUB_DISABLE_SYMLINKS),
    stallMs: 1000 * (seconds > 0 && seconds <= 3600 ? seconds : STALL_SECONDS),
  };
}

/** Nobody on the way can read along: https, or a server on this machine. */
export function isPrivateWay(url: URL): boolean {
  return url.protocol === "https:" || /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
}

function isTrue(value: string | undefined): boolean {
  return /^(1|true|yes|on)$/i.test(value ?? "");
}

function readEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash) {
    return url.href.replace(/\/+$/, "");
  }
  throw new UsageError({
    code: "E_HUB_ENDPOINT",
    subject: "HF_ENDPOINT",
    problem: "not a plain http or https address",
    next: `set it to something like ${PUBLIC_ENDPOINT}, or unset it`,
  });
}

async function readToken(env: Environment): Promise<string | undefined> {
  const file = env.HF_TOKEN_PATH ? expandPath(env.HF_TOKEN_PATH, env) : join(hubHome(env), "token");
  const named = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
  const token = (named ?? (await readFile(file, "utf8").catch(() => ""))).trim();
  if (token === "") return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new UsageError({
    code: "E_HUB_TOKEN",
    subject: named ? "HF_TOKEN" : file,
    problem: "holds something that can be no token (spaces, line breaks or other than ASCII in it)",
    next: "put the token there alone, or remove it",
  });
}
