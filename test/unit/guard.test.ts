/** @file Who may ask a server at all: by the request's Host, Origin, kind of body and headers, and by keys. Pure: no server is started. */
import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import { failureOf } from "../../src/server/http/failures.ts";
import { guard } from "../../src/server/http/guard.ts";
import { Keys } from "../../src/server/http/keys.ts";

interface Asked {
  readonly method?: string;
  readonly url?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly hosts?: readonly string[];
}

/** Status and code of the refusal; 200 of what may pass. */
function judged(
  { method = "GET", url = "/api/jobs", headers = {}, hosts = ["localhost:7860"] }: Asked,
  { port = 7860, allowedHosts = [] as readonly string[] } = {},
): string {
  const rawHeaders = [...hosts.flatMap((host) => ["Host", host]), ...Object.entries(headers).flat()];
  const request = {
    method,
    url,
    headers: { ...(hosts[0] !== undefined && { host: hosts[0] }), ...headers },
    rawHeaders,
  };
  try {
    guard(request as unknown as IncomingMessage, { allowedHosts, port: () => port });
    return "200";
  } catch (error) {
    const { status, code } = failureOf(error);
    return `${status} ${code}`;
  }
}

test("names: its own with its port, those that were allowed, each told once", () => {
  for (const host of ["localhost:7860", "127.0.0.1:7860", "[::1]:7860"]) assert.equal(judged({ hosts: [host] }), "200");
  const others = [
    ...["localhost", "localhost:7861", "localhost:78600", "localhost.evil.example:7860", "evil.example:7860"],
    ...["evil.example", "127.0.0.2:7860", "", "localhost:7860.evil.example", "xlocalhost:7860"],
  ];
  for (const host of others) assert.equal(judged({ hosts: [host] }), "403 E_HOST", host);
  assert.equal(judged({ hosts: [] }), "403 E_HOST");
  assert.equal(judged({ hosts: ["localhost:7860", "localhost:7860"] }), "403 E_HOST");
  assert.equal(judged({ hosts: ["localhost:7860", "evil.example"] }), "403 E_HOST");
  assert.equal(judged({ hosts: ["localhost"] }, { port: 80 }), "200");
  const allowedHosts = ["studio.example"];
  for (const host of ["studio.example", "studio.example:7860"])
    assert.equal(judged({ hosts: [host] }, { allowedHosts }), "200");
  for (const host of ["studio.example:1", "my.studio.example", "studio.example.evil"])
    assert.equal(judged({ hosts: [host] }, { allowedHosts }), "403 E_HOST", host);
});

test("origins: none, or the very one that was asked", () => {
  for (const origin of ["http://localhost:7860", "https://localhost:7860"])
    assert.equal(judged({ headers: { origin } }), "200");
  const others = [
    ...[
      "null",
      "http://localhost",
      "http://localhost:78601",
      "http://localhost:7860.evil.example",
      "https://evil.example",
    ],
    ...["http://127.0.0.1:7860", "ftp://localhost:7860", "http://evil.example/http://localhost:7860", ""],
  ];
  for (const origin of others) assert.equal(judged({ headers: { origin } }), "403 E_ORIGIN", origin);
});

test("other sites may open the page and nothing else", () => {
  const from = { "sec-fetch-site": "cross-site" };
  const opening = { ...from, "sec-fetch-mode": "navigate" };
  assert.equal(judged({ url: "/", headers: opening }), "200");
  for (const asked of [
    { url: "/", headers: from },
    { url: "/", method: "POST", headers: opening },
    { url: "/", method: "HEAD", headers: opening },
    { url: "/api/jobs", headers: opening },
    { url: "/?x", headers: opening },
    { url: "/", headers: { ...from, "sec-fetch-mode": "cors" } },
  ])
    assert.equal(judged(asked), "403 E_ORIGIN", JSON.stringify(asked));
  for (const site of ["same-origin", "same-site", "none"])
    assert.equal(judged({ headers: { "sec-fetch-site": site } }), "200", site);
});

test("bodies: what a form of another site could send is not taken, nor what is packed", () => {
  const post = (type: string, more = {}) => judged({ method: "POST", headers: { "content-type": type, ...more } });
  for (const type of ["application/json", "application/json; charset=utf-8", "image/png"])
    assert.equal(post(type), "200");
  for (const type of [
    ...["text/plain", "text/plain;charset=UTF-8", "TEXT/PLAIN", "application/x-www-form-urlencoded"],
    ...["multipart/form-data; boundary=x", "Multipart/Form-Data", "multipart/mixed"],
  ])
    assert.equal(post(type), "415 E_BODY", type);
  // No form can set these headers.
  assert.equal(post("multipart/form-data; boundary=x", { "x-solvay-upload": "1" }), "200");
  assert.equal(post("multipart/form-data; boundary=x", { authorization: "Bearer x" }), "200");
  assert.equal(post("text/plain", { "x-solvay-upload": "1", authorization: "Bearer x" }), "415 E_BODY");
  for (const method of ["PUT", "PATCH", "DELETE"])
    assert.equal(judged({ method, headers: { "content-type": "text/plain" } }), "415 E_BODY", method);
  assert.equal(judged({ method: "POST" }), "200");
  assert.equal(post("application/json", { "content-encoding": "identity" }), "200");
  for (const method of ["GET", "POST"])
    assert.equal(judged({ method, headers: { "content-encoding": "gzip" } }), "415 E_BODY");
});

test("keys: one a line, with a name or without, long enough; known as bearer and as password", () => {
  const [long, other, colons] = ["0123456789abcdef", "fedcba9876543210", "0123:4567:89abcdef"];
  const keys = Keys.fromText(`# ours\r\n\n ann : ${long} \n${other}\nben:${colons}\n`, "keys");
  const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
  for (const [authorization, name] of [
    [`Bearer ${long}`, "ann"],
    [`bearer  ${long}`, "ann"],
    [`Bearer ${other}`, "key-4"],
    [basic(`anybody:${long}`), "ann"],
    [basic(`:${other}`), "key-4"],
    [basic(other), "key-4"],
    [`Bearer ${colons}`, "ben"],
    [basic(`x:${colons}`), "ben"],
    [undefined, undefined],
    ["", undefined],
    [long, undefined],
    [`Bearer ${long}x`, undefined],
    [`Bearer ${long.slice(1)}`, undefined],
    [`Bearer ann:${long}`, undefined],
    [`Digest ${long}`, undefined],
    [basic(`${long}:x`), undefined],
    ["Bearer # ours", undefined],
  ] as const)
    assert.equal(keys.nameOf(authorization), name, authorization);
  for (const text of ["", "# none", `ann:${long.slice(1)}`, `:${long}`, `ann:${long} x`, `${long}\nshort`])
    assert.throws(() => Keys.fromText(text, "keys"), /^\S*.*E_API_KEYS/, JSON.stringify(text));
});
