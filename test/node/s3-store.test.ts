/** @file Pictures in a bucket, over a local S3 server; how requests are signed; and what is said where it can't be reached or refuses. */
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { patiently } from "../../src/server/away.ts";
import type { PictureStore } from "../../src/server/pictures/picture-store.ts";
import { s3Store } from "../../src/server/pictures/s3-store.ts";
import { type TestBucket, testBucket } from "../support/bucket.ts";

let bucket: TestBucket;
let store: PictureStore;
const bytes = (text: string) => new TextEncoder().encode(text);

before(async () => {
  bucket = await testBucket();
  store = await s3Store(`s3://${bucket.name}/a/studio/`, bucket.env);
});
after(() => bucket[Symbol.asyncDispose]());

async function namesIn(folder: string): Promise<readonly string[]> {
  return (await Array.fromAsync(store.list(folder))).toSorted();
}

test("what is put is there, whole, under its prefix; what is not there is undefined; removing twice is harmless", async () => {
  await store.put("2026-11-26/abc-def.png", [bytes("one, "), bytes("two")]);
  await store.put("unfinished/x.solvay", [bytes("state")]);
  assert.equal(new TextDecoder().decode(await store.get("2026-11-26/abc-def.png")), "one, two");
  assert.equal(await store.get("2026-11-26/nothing.png"), undefined);
  assert.deepEqual(await namesIn("unfinished"), ["unfinished/x.solvay"]);
  const whole = await s3Store(`s3://${bucket.name}`, bucket.env);
  assert.equal(new TextDecoder().decode(await whole.get("a/studio/unfinished/x.solvay")), "state");
  await store.put("unfinished/x.solvay", [bytes("later")]);
  assert.equal(new TextDecoder().decode(await store.get("unfinished/x.solvay")), "later");
  await store.remove("unfinished/x.solvay");
  await store.remove("unfinished/x.solvay");
  assert.deepEqual(await namesIn("unfinished"), []);
  await assert.rejects(store.get("../x"), RangeError);
});

test("a list of more than one answer is read to its end", async () => {
  let asked = 0;
  const server = createServer((request, response) => {
    asked++;
    const later = new URL(request.url!, "http://x").searchParams.get("continuation-token") === "a&b";
    const next = later ? "" : "<NextContinuationToken>a&amp;b</NextContinuationToken>";
    response.end(`<L><Contents><Key>p/s/${later ? "2" : "1"}</Key></Contents>${next}</L>`);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const env = { ...bucket.env, AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  const paged = await s3Store("s3://pages/p", env);
  assert.deepEqual([await Array.fromAsync(paged.list("s")), asked], [["s/1", "s/2"], 2]);
  server.close();
});

/**
 * The signature that a request should have, as AWS describes Signature Version 4 (Create a signed AWS API request): canonical request, string to
 * sign, key derived from date, region and service.
 */
function signatureOf({ method, url, headers }: IncomingMessage, secret: string): string {
  const { pathname, searchParams } = new URL(url!, "http://x");
  const [, scope, signed] = /Credential=[^/]+\/([^,]+), SignedHeaders=([^,]+)/.exec(headers.authorization!)!;
  const escaped = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = [...searchParams].map((pair) => pair.map(escaped).join("=")).toSorted();
  const lines = signed!.split(";").map((name) => `${name}:${String(headers[name]).trim()}\n`);
  const hash = String(headers["x-amz-content-sha256"]);
  const canonical = [method, pathname, query.join("&"), lines.join(""), signed, hash].join("\n");
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const text = ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, sha256(canonical)].join("\n");
  const hmac = (key: string | Buffer, part: string) => createHmac("sha256", key).update(part).digest();
  return hmac(scope!.split("/").reduce<string | Buffer>(hmac, `AWS4${secret}`), text).toString("hex");
}

test("requests are signed as AWS says, with the region, the session and the hash of what they carry", async () => {
  const seen: string[] = [];
  const server = createServer(async (request, response) => {
    const body = createHash("sha256");
    for await (const part of request) body.update(part as Buffer);
    const { headers } = request;
    const [, key, region] = /Credential=([^/]+)\/\d+\/([^/]+)\/s3/.exec(headers.authorization!)!;
    const signed = /Signature=(\w+)/.exec(headers.authorization!)![1] === signatureOf(request, "hidden/+=");
    const hashed = request.method !== "PUT" || headers["x-amz-content-sha256"] === body.digest("hex");
    seen.push([request.method, key, region, headers["x-amz-security-token"], signed, hashed].join(" "));
    response.end("<L></L>");
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  const keys = { AWS_ACCESS_KEY_ID: "KEY", AWS_SECRET_ACCESS_KEY: "hidden/+=", AWS_SESSION_TOKEN: "now" };
  const env = { ...keys, AWS_REGION: "eu-north-1", AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}/s3/` };
  const own = await s3Store("s3://pictures/A_b.c/", env);
  await own.put("d/e.png", [bytes("a"), bytes("b")]);
  await own.get("d/e.png");
  await own.remove("d/e.png");
  await Array.fromAsync(own.list("d"));
  server.close();
  const rest = "KEY eu-north-1 now true true";
  assert.deepEqual(seen, [`PUT ${rest}`, `GET ${rest}`, `DELETE ${rest}`, `GET ${rest}`]);
});

test("a bucket that sends elsewhere is not followed: nobody else gets what was signed", async () => {
  const elsewhere: string[] = [];
  const other = createServer((request, answer) => {
    elsewhere.push(`${request.method} ${request.headers.authorization ?? ""}`);
    answer.end("other bytes");
  });
  const sending = createServer((_, answer) => {
    answer.writeHead(307, { location: `http://127.0.0.1:${(other.address() as AddressInfo).port}/x` }).end();
  });
  for (const server of [other, sending]) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const env = { ...bucket.env, AWS_ENDPOINT_URL: `http://127.0.0.1:${(sending.address() as AddressInfo).port}` };
    const redirected = await s3Store("s3://pictures", env);
    await assert.rejects(redirected.get("a.png"), { code: "E_BUCKET" });
    await assert.rejects(redirected.put("a.png", [bytes("x")]), { code: "E_BUCKET" });
    await assert.rejects(redirected.remove("a.png"), { code: "E_BUCKET" });
    assert.deepEqual(elsewhere, []);
  } finally {
    for (const server of [other, sending]) server.close();
  }
});

test("E_BUCKET: wrong keys, no such bucket, no server; E_BUCKET_KEYS, E_USAGE: what it was told", async () => {
  const wrong = await s3Store(`s3://${bucket.name}`, { ...bucket.env, AWS_ACCESS_KEY_ID: "another" });
  for (const work of [() => wrong.put("x.png", [bytes("x")]), () => wrong.get("x.png"), () => wrong.remove("x.png")]) {
    await assert.rejects(work(), { code: "E_BUCKET", message: /answered 403 \((InvalidAccessKeyId|no reason)\)/ });
  }
  const none = await s3Store("s3://no-such-bucket", bucket.env);
  await assert.rejects(none.get("x.png"), {
    code: "E_BUCKET",
    message: /s3:\/\/no-such-bucket: it answered 404 \(NoSuchBucket\)/,
  });
  await assert.rejects(s3Store("s3://pictures", {}), { code: "E_BUCKET_KEYS" });
  for (const url of ["s3://", "s3://a/../b?", "s3:bucket"])
    await assert.rejects(s3Store(url, bucket.env), { code: "E_USAGE" });
  await assert.rejects(s3Store("s3://pictures", { ...bucket.env, AWS_ENDPOINT_URL: "ftp://x" }), { code: "E_USAGE" });

  await bucket.stop();
  await assert.rejects(store.get("x.png"), { code: "E_BUCKET", message: /it can't be reached \(.*ECONNREFUSED/ });
  const again = patiently(() => store.get("2026-11-26/abc-def.png"), { patienceMs: 20_000 });
  await bucket.start();
  assert.ok(await again);
});
