/**
 * @file Pictures in a bucket that speaks S3 (AWS Signature Version 4 by aws4fetch). Whoever serves them fetches them from there itself: no client
 * ever gets an address of the bucket.
 */
import type { AwsClient } from "aws4fetch";
import { sha256Hex } from "#hash";
import { UsageError } from "../../errors.ts";
import { Away } from "../away.ts";
import { type PictureStore, requireOurs } from "./picture-store.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

const REGION = "us-east-1";
const ANSWER_MS = 60_000;
/** Of answers that say "later": aws4fetch waits a little longer each time. */
const RETRIES = 3;
const RETRY_MS = 100;
/** More than any picture or state has. */
const MAX_BYTES = 256 * 1024 ** 2;
const TYPES: Readonly<Record<string, string>> = { png: "image/png", jpg: "image/jpeg", webp: "image/webp" };

/**
 * `url`: s3://BUCKET/PREFIX. Keys, region and endpoint come from AWS's own variables; with an endpoint of one's own the bucket is a part of
 * the path. Throws UsageError `E_BUCKET_KEYS` or `E_USAGE`; its methods reject with Away `E_BUCKET`.
 */
export async function s3Store(url: string, env: Environment): Promise<PictureStore> {
  const { base, prefix, name, region } = placeOf(url, env);
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env;
  if (!accessKeyId || !secretAccessKey) {
    const problem = "a bucket wants keys";
    const next = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    throw new UsageError({ code: "E_BUCKET_KEYS", subject: name, problem, next });
  }
  const { AwsClient } = await import("aws4fetch");
  const keys = { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
  const client = new AwsClient({ ...keys, service: "s3", region, retries: RETRIES, initRetryMs: RETRY_MS });
  const bucket = new Bucket(client, base, name);
  const keyOf = (object: string) => {
    requireOurs(object);
    return `${prefix}${object}`;
  };
  return {
    async put(object, pieces) {
      const body = Buffer.concat(pieces);
      const type = TYPES[object.split(".").at(-1)!] ?? "application/octet-stream";
      const headers = { "content-type": type, "x-amz-content-sha256": sha256Hex(body) };
      const answer = await bucket.ask("PUT", keyOf(object), { body, headers });
      await bucket.require(answer, [200]);
    },
    async get(object) {
      const answer = await bucket.ask("GET", keyOf(object));
      if (answer.status === 404 && (await isNoKey(answer.clone()))) return undefined;
      await bucket.require(answer, [200]);
      const bytes = Number(answer.headers.get("content-length") ?? 0);
      if (bytes > MAX_BYTES) throw bucket.away(`an object of ${bytes} bytes is none of ours`);
      return new Uint8Array(await bucket.read(() => answer.arrayBuffer()));
    },
    async remove(object) {
      const answer = await bucket.ask("DELETE", keyOf(object));
      await bucket.require(answer, [200, 204, 404]);
    },
    async *list(folder) {
      let token: string | undefined;
      do {
        const query = new URLSearchParams({ "list-type": "2", prefix: `${keyOf(folder)}/` });
        if (token !== undefined) query.set("continuation-token", token);
        const answer = await bucket.ask("GET", `?${query}`);
        await bucket.require(answer, [200]);
        const text = await bucket.read(() => answer.text());
        for (const [, key] of text.matchAll(/<Key>([^<]*)<\/Key>/g)) yield plain(key!).slice(prefix.length);
        token = /<NextContinuationToken>([^<]*)</.exec(text)?.[1];
        if (token !== undefined) token = plain(token);
      } while (token !== undefined);
    },
  };
}

class Bucket {
  readonly #client: AwsClient;
  readonly #base: string;
  readonly #name: string;

  constructor(client: AwsClient, base: string, name: string) {
    this.#client = client;
    this.#base = base;
    this.#name = name;
  }

  async ask(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    const signal = AbortSignal.timeout(ANSWER_MS);
    return await this.read(() => this.#client.fetch(this.#base + path, { ...init, method, signal, redirect: "error" }));
  }

  async read<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      const { message, cause: reason } = cause as Error;
      throw this.away(`it can't be reached (${(reason as Error | undefined)?.message || message})`, cause);
    }
  }

  /** Rejects where the answer has another status. */
  async require(answer: Response, statuses: readonly number[]): Promise<void> {
    if (statuses.includes(answer.status)) return;
    const text = await answer.text().catch(() => "");
    const [, code = "no reason"] = /<Code>([A-Za-z0-9]{1,60})<\/Code>/.exec(text) ?? [];
    throw this.away(`it answered ${answer.status} (${code})`);
  }

  away(problem: string, cause?: unknown): Away {
    const next = "check the bucket's name, AWS_ENDPOINT_URL, the region and the rights of its keys";
    return new Away({ code: "E_BUCKET", subject: this.#name, problem, next, cause });
  }
}

/** There is a bucket, without such an object. */
async function isNoKey(answer: Response): Promise<boolean> {
  return !(await answer.text()).includes("NoSuchBucket");
}

function placeOf(url: string, env: Environment) {
  const [, bucket, rest = ""] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(url) ?? [];
  if (bucket === undefined || !/^[A-Za-z0-9._/-]*$/.test(rest)) {
    const problem = `no bucket and prefix (found ${JSON.stringify(url.slice(0, 80))})`;
    throw new UsageError({ code: "E_USAGE", subject: "--images", problem, next: "write s3://BUCKET/PREFIX" });
  }
  const region = env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? REGION;
  const own = env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL;
  const endpoint = own === undefined ? undefined : URL.parse(own);
  if (own !== undefined && !/^https?:$/.test(endpoint?.protocol ?? "")) {
    const problem = "no http or https address of an S3 server";
    throw new UsageError({ code: "E_USAGE", subject: "AWS_ENDPOINT_URL", problem, next: "write https://HOST:PORT" });
  }
  const parts = rest.split("/").filter(Boolean);
  return {
    region,
    name: `s3://${bucket}`,
    prefix: parts.map((part) => `${part}/`).join(""),
    base: endpoint
      ? `${endpoint.origin}${endpoint.pathname.replace(/\/$/, "")}/${bucket}/`
      : `https://${bucket}.s3.${region}.amazonaws.com/`,
  };
}

/** The five entities of XML, and numbers. */
function plain(text: string): string {
  const names: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
  return text.replace(
    /&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));/g,
    (whole, decimal?: string, hex?: string, name?: string) => {
      if (name !== undefined) return names[name] ?? whole;
      const code = decimal === undefined ? Number.parseInt(hex!, 16) : Number(decimal);
      return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
}
