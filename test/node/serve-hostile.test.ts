/**
 * @file What hostile clients try against a server (H02 to H10 of the list that SECURITY.md follows; H01 and H11 are in serve.test.ts): other names and
 * pages, bodies that are too large, slow or left off, values out of range, addresses to be fetched, paths in names, bombs in pictures.
 */
import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { createServer, type OutgoingHttpHeaders, request as rawRequest } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { crc32, deflateSync } from "node:zlib";
import { encodePng } from "../../src/image/png.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";
import { searched } from "../support/thorough.ts";

let folder: string;
let server: RunningServer;
let port: number;

before(async () => {
  folder = await serverFolder();
  server = await pretendingServer({ folder });
  port = Number(new URL(server.url).port);
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Uint8Array;
}

/** As it stands: Node adds no host. */
function raw({ method = "GET", path = "/api/jobs", headers = {}, body }: Sent) {
  return new Promise<{ status: number; headers: Record<string, unknown>; text: string }>((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, method, headers, setHost: false, agent: false };
    const sent = rawRequest(options, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (piece: string) => (text += piece));
      answer.once("end", () => resolve({ status: answer.statusCode!, headers: answer.headers, text }));
    }).once("error", reject);
    sent.end(body);
  });
}

const own = () => ({ Host: `localhost:${port}` });
const statusOf = async (sent: Sent) => (await raw(sent)).status;

async function post(path: string, body: unknown) {
  const text = JSON.stringify(body);
  const { status, text: answer } = await raw({
    ...{ method: "POST", path, body: text, headers: { ...own(), "Content-Type": "application/json" } },
  });
  return { status, text: answer };
}

async function edit(files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>, name = "a.png") {
  const form = new FormData();
  form.append("prompt", "x");
  for (const [field, bytes] of Object.entries(files))
    form.append(field, new File([bytes], name, { type: "image/png" }));
  const headers = { "x-solvay-upload": "1" };
  const answer = await fetch(`${server.url}/v1/images/edits`, { method: "POST", body: form, headers });
  return { status: answer.status, text: await answer.text() };
}

test("H02: it answers only under its own names (E_HOST)", async () => {
  const names = ["evil.com", `localhost.evil.com:${port}`, `127.0.0.1.nip.io:${port}`, "localhost:1", "127.0.0.1", ""];
  for (const Host of names) assert.equal(await statusOf({ headers: { Host } }), 403, Host);
  assert.equal(await statusOf({}), 403);
  const twice = `Host: localhost:${port}\r\n`.repeat(2);
  assert.match(await answerTo(`GET /api/jobs HTTP/1.1\r\n${twice}Connection: close\r\n\r\n`), /^HTTP\/1\.1 403 /);
  for (const Host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
    assert.equal(await statusOf({ headers: { Host } }), 200, Host);
  }
  // A name in the request's line is none of its own either.
  assert.equal(await statusOf({ path: "http://evil.com/api/jobs", headers: { Host: "evil.com" } }), 403);
});

test("H03: no page of another origin is answered, on streams and upgrades neither, and none is told that it may ask (E_ORIGIN)", async () => {
  const others = ["null", "http://evil.com", `http://localhost:${port + 1}`, `HTTP://localhost:${port}`];
  for (const path of ["/api/jobs", "/api/events", "/mcp", "/"]) {
    for (const Origin of [...others, `http://localhost.:${port}`, `http://127.0.0.1:${port}`]) {
      const { status, headers } = await raw({ path, headers: { ...own(), Origin } });
      assert.deepEqual([status, headers["access-control-allow-origin"]], [403, undefined], `${path} ${Origin}`);
    }
  }
  assert.equal(await statusOf({ headers: { ...own(), Origin: `http://localhost:${port}` } }), 200);
  assert.equal(await statusOf({ headers: { ...own(), "Sec-Fetch-Site": "cross-site" } }), 403);
  const preflight = { ...own(), Origin: "http://evil.com", "Access-Control-Request-Method": "POST" };
  const asked = await raw({ method: "OPTIONS", headers: preflight });
  assert.deepEqual([asked.status, asked.headers["access-control-allow-methods"]], [403, undefined]);
  const upgrade = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "eA==",
  };
  assert.equal(await statusOf({ headers: { ...own(), ...upgrade, Origin: "http://evil.com" } }), 403);
  // There are none: it is answered as any other request.
  assert.equal(await statusOf({ headers: { ...own(), ...upgrade } }), 200);
});

test("H04: what changes something is POST or DELETE, and nothing that a form can send; GET changes nothing (E_BODY)", async () => {
  for (const type of [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "TEXT/PLAIN;a=b",
  ]) {
    for (const path of ["/api/jobs", "/sdapi/v1/txt2img", "/v1/images/edits", "/mcp"]) {
      const sent = { method: "POST", path, headers: { ...own(), "Content-Type": type }, body: "{}" };
      assert.equal(await statusOf(sent), 415, `${path} ${type}`);
    }
  }
  const untyped = { method: "POST", path: "/api/jobs", headers: own(), body: '{"job":{"prompt":"x"}}' };
  assert.equal(await statusOf(untyped), 415);
  const { paths } = JSON.parse((await raw({ path: "/openapi.json", headers: own() })).text) as {
    paths: Record<string, object>;
  };
  const onlyPost = Object.entries(paths).filter(([path, operations]) => !("get" in operations) && !path.includes("{"));
  assert.ok(onlyPost.length > 10);
  for (const [path] of onlyPost) {
    const { status, headers, text } = await raw({ path, headers: own() });
    assert.deepEqual([status, headers.allow], [405, "POST"], path);
    assert.match(text, /E_METHOD|found GET, allowed POST/, path);
  }
  const read = await raw({ method: "PATCH", path: "/api/jobs", headers: own() });
  assert.deepEqual([read.status, read.headers.allow], [405, "POST, GET, HEAD"]);
  assert.equal(await statusOf({ method: "HEAD", path: "/api/jobs", headers: own() }), 200);
});

test("H05: bodies and headers are counted while they come; one left off, or too deep, harms nobody (E_BODY_SIZE)", async () => {
  const json = { ...own(), "Content-Type": "application/json" };
  const large = `{"a":"${"x".repeat(2 ** 20)}"}`;
  const chunked = { ...json, "Transfer-Encoding": "chunked" };
  const { status, text } = await raw({ method: "POST", path: "/sdapi/v1/options", headers: chunked, body: large });
  assert.equal(status, 413);
  assert.match(text, /E_BODY_SIZE: .*found more than 1048576/);
  const told = { ...json, "Content-Length": String(2 ** 40) };
  const left = rawRequest({ host: "127.0.0.1", port, path: "/sdapi/v1/txt2img", method: "POST", headers: told });
  const [answered] = await new Promise<[number]>((resolve, reject) => {
    left.once("response", ({ statusCode }) => resolve([statusCode!])).once("error", reject);
    left.write("{");
  });
  left.destroy();
  assert.equal(answered, 413);
  // Half of what was told, and gone.
  const socket = connect(port, "127.0.0.1");
  const head = `POST /api/jobs HTTP/1.1\r\nHost: localhost:${port}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"job":`;
  await new Promise<void>((resolve) => socket.write(head, () => resolve()));
  socket.destroy();
  assert.equal(await statusOf({ method: "POST", headers: { ...json, "Content-Encoding": "gzip" }, body: "x" }), 415);
  const refused = await raw({ headers: { ...own(), X: "y".repeat(17 * 1024) } });
  assert.deepEqual([refused.status, refused.headers["x-content-type-options"]], [431, "nosniff"]);
  assert.match(refused.text, /E_REQUEST: its headers are too large/);
  const deep = await post("/api/jobs", JSON.parse(`${"[".repeat(40)}${"]".repeat(40)}`));
  assert.deepEqual([deep.status, /too deep/.test(deep.text)], [400, true]);
  // Told twice how long it is: one of the two would be another's request.
  const smuggled = `POST /api/jobs HTTP/1.1\r\nHost: localhost:${port}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
  assert.match(await answerTo(smuggled), /^HTTP\/1\.1 400 /);
  assert.equal(await statusOf({ path: "/healthz", headers: own() }), 200);
});

/** The first line of what a connection gives back. */
async function answerTo(text: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  const { promise, resolve } = Promise.withResolvers<string>();
  let all = "";
  socket.on("data", (piece) => {
    all += String(piece);
  });
  socket.once("close", () => resolve(all.split("\r\n")[0]!));
  socket.once("error", () => resolve(all));
  socket.end(text);
  return await promise;
}

test("H05: who sends its headers drop by drop is cut off", {
  skip: searched<string | false>("takes 15 s", false),
}, async () => {
  const socket = connect(port, "127.0.0.1");
  const closed = Promise.withResolvers<void>();
  socket.once("close", () => closed.resolve()).on("error", () => {});
  socket.on("data", () => {});
  socket.write(`GET /healthz HTTP/1.1\r\nHost: localhost:${port}\r\n`);
  const drops = setInterval(() => socket.write("X-A: b\r\n"), 500);
  const cut = await Promise.race([closed.promise.then(() => true), delay(25_000, false)]);
  clearInterval(drops);
  assert.ok(cut);
});

test("H06: values out of range or of another kind are refused by the field's name, in every dialect", async () => {
  const wrong: [string, unknown][] = [
    ...(["1e9", "NaN", "Infinity", [30], {}, -1, 151, 1.5, true] as const).map((value): [string, unknown] => [
      "steps",
      value,
    ]),
    ...([65, 4096, 0, "64"] as const).map((value): [string, unknown] => ["width", value]),
    ...[31, -1, "high"].map((value): [string, unknown] => ["guidance", value]),
    ...[2 ** 60, -2, 0.5, "0x1", []].map((value): [string, unknown] => ["seed", value]),
    ...["no such sampler", 7, null].map((value): [string, unknown] => ["sampler", value]),
    ["prompt", "x".repeat(8193)],
    ["prompt", 7],
  ];
  for (const [field, value] of wrong) {
    const { status, text } = await post("/api/jobs", { job: { prompt: "x", [field]: value } });
    assert.equal(status, 400, `${field} ${JSON.stringify(value)?.slice(0, 40)}: ${text}`);
    assert.match(text, new RegExp(`E_JOB ${field}: `));
    if (value === null) continue;
    const names = { guidance: "cfg_scale", sampler: "sampler_name" } as Readonly<Record<string, string>>;
    for (const path of ["/v1/images/generations", "/sdapi/v1/txt2img"]) {
      const other = await post(path, { prompt: "x", [names[field] ?? field]: value });
      assert.ok(
        [400, 422].includes(other.status),
        `${path} ${field} ${JSON.stringify(value)?.slice(0, 40)}: ${other.text}`,
      );
    }
  }
  // As long as a body may be: looked through once.
  for (const text of ["<sd_cpp_extra_args>", "(", "<lora:", "{a|", "__a__", "\\"]) {
    const { status } = await post("/v1/images/generations", { prompt: text.repeat(2 ** 20 / text.length) });
    assert.equal(status, 400, text);
  }
});

test("H07: no address is fetched for anybody, however it is written", async () => {
  let asked = 0;
  const trap = createServer((_, answer) => {
    asked++;
    answer.end();
  });
  await new Promise<void>((resolve) => trap.listen(0, "127.0.0.1", resolve));
  const at = (trap.address() as AddressInfo).port;
  const addresses = [
    ...[`http://127.0.0.1:${at}/a.png`, `http://127.1:${at}/`, `http://2130706433:${at}/`, `http://0x7f.1:${at}/`],
    ...[
      `HTTP://localhost:${at}/`,
      `http://[::ffff:127.0.0.1]:${at}/`,
      `http://127.0.0.1:${at}\\@x.org/`,
      `//127.0.0.1:${at}/`,
    ],
    ...[
      "file:///etc/passwd",
      "ftp://127.0.0.1/",
      "http://169.254.169.254/latest/meta-data",
      "blob:x",
      "data:text/html,x",
    ],
  ];
  for (const address of addresses) {
    const answers = [
      await post("/api/jobs", { job: { prompt: "x", initImage: address } }),
      await post("/v1/images/generations", { prompt: "x", image: address }),
      await post("/sdapi/v1/img2img", { prompt: "x", init_images: [address] }),
      await post("/sdapi/v1/png-info", { image: address }),
      await post("/sdapi/v1/extra-single-image", { image: address, upscaler_1: "Lanczos" }),
    ];
    for (const { status, text } of answers) assert.ok([400, 422].includes(status), `${address}: ${status} ${text}`);
  }
  trap.close();
  assert.equal(asked, 0);
});

test("H08: no name of a client's becomes a path: of models, LoRAs, upscalers, pictures, uploads", async () => {
  const paths = [
    "../../etc/passwd",
    "..\\..\\x",
    "/etc/passwd",
    "C:\\x",
    "\\\\?\\x",
    "a/../../b",
    "x\0.png",
    "CON.png",
    `${"n".repeat(300)}/x`,
  ];
  const bad = async (path: string, body: object) => {
    const { status, text } = await post(path, body);
    assert.ok([400, 404, 422].includes(status), `${path} ${JSON.stringify(body)}: ${status} ${text}`);
    assert.doesNotMatch(text, /root:/);
  };
  for (const name of paths) {
    await bad("/v1/images/generations", { prompt: "x", model: name });
    await bad("/v1/images/generations", { prompt: "x", hr_scale: 2, hires_upscaler: name });
    await bad("/sdapi/v1/txt2img", { prompt: "x", override_settings: { sd_model_checkpoint: name } });
    await bad("/sdapi/v1/txt2img", { prompt: "x", enable_hr: true, hr_upscaler: name });
    await bad("/sdapi/v1/options", { sd_vae: name });
    if (name !== "CON.png") await bad("/api/jobs", { job: { prompt: "x", loras: [{ file: name }] } });
    for (const route of ["/api/assets/", "/api/jobs/", "/file?path=", "/"]) {
      const { status } = await raw({ path: route + encodeURIComponent(name), headers: own() });
      assert.equal(status, 404, route + name);
    }
  }
  const png = await encodePng({ width: 64, height: 64, rgb: new Uint8Array(64 * 64 * 3) });
  for (const name of ["../../../tmp/evil.png", "CON.png", "a\r\nX: y.png"])
    assert.equal((await edit({ image: png }, name)).status, 200);
  const files = readdirSync(`${folder}/images`, { recursive: true, withFileTypes: true }).filter((each) =>
    each.isFile(),
  );
  assert.ok(files.length > 0);
  for (const { name } of files) assert.match(name, /^([0-9a-f]{16}-[0-9a-f]{16}|[0-9a-f]{64})\.(png|jpg|webp)$/);
});

test("H09: every answer says what it is and that it is no page; a picture is one before it is decoded (E_IMAGE_SIZE)", async () => {
  const { text } = await post("/api/jobs", { job: { prompt: "<script>alert(1)</script>", steps: 1 } });
  const { id } = (JSON.parse(text) as { jobs: { id: string }[] }).jobs[0]!;
  let asset: string | undefined;
  for (; !asset; await delay(20)) {
    ({ asset } = JSON.parse((await raw({ path: `/api/jobs/${id}`, headers: own() })).text) as { asset?: string });
  }
  const types: [string, RegExp][] = [
    [`/api/jobs/${id}`, /^application\/json/],
    [`/api/assets/${asset}`, /^image\/png$/],
    ["/healthz", /^application\/json/],
    ["/metrics", /^text\/plain/],
    ["/nothing<script>", /^application\/json/],
  ];
  for (const [path, type] of types) {
    const { headers } = await raw({ path, headers: own() });
    assert.match(String(headers["content-type"]), type, path);
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.equal(headers["x-frame-options"], "DENY");
    assert.match(String(headers["content-security-policy"]), /^default-src 'self'/);
  }
  const svg = new TextEncoder().encode('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>');
  assert.equal((await edit({ image: svg })).status, 400);

  const before = process.resourceUsage().maxRSS;
  const wide = pngOf(30_000, 30_000, deflateSync(new Uint8Array(100)));
  const texts = chunk(
    "zTXt",
    new Uint8Array([...Buffer.from("parameters\0\0"), ...deflateSync(new Uint8Array(200e6))]),
  );
  const bomb = pngOf(64, 64, deflateSync(new Uint8Array(200e6)), texts);
  for (const [bytes, codes] of [
    [wide, [400, 413]],
    [bomb, [400, 200]],
  ] as const) {
    const image = Buffer.from(bytes).toString("base64");
    const answers = [
      await edit({ image: bytes }),
      await post("/sdapi/v1/png-info", { image }),
      await post("/sdapi/v1/extra-single-image", { image, upscaler_1: "Lanczos" }),
    ];
    for (const { status, text: said } of answers) {
      assert.ok(
        ([...codes, 400, 422] as number[]).includes(status) || /"info":""/.test(said),
        `${status} ${said.slice(0, 200)}`,
      );
    }
  }
  const grown = (process.resourceUsage().maxRSS - before) * 1024;
  // 400 MB of it are the zeros that the test packed.
  assert.ok(grown < 450e6, `${grown} bytes`);
});

function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(Buffer.from(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/** RGB, 8 bits, whatever its pixels are. */
function pngOf(width: number, height: number, pixels: Uint8Array, ...others: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2, 0, 0, 0], 8);
  const start = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
  return Uint8Array.from(
    Buffer.concat([start, chunk("IHDR", header), ...others, chunk("IDAT", pixels), chunk("IEND", new Uint8Array())]),
  );
}

test("H10: what the server keeps for itself is behind no address, and no secret of its surroundings is in an answer", async () => {
  const kept = [
    "database/PG_VERSION",
    "serve.lock",
    "images/",
    "unfinished/",
    ".env",
    "package.json",
    "src/cli/main.ts",
    "node_modules/hono/package.json",
  ];
  for (const path of kept) {
    for (const start of ["/", "/..%2f", "/%2e%2e/", "/api/assets/..%2f", "/assets/..%2f..%2f", "//"]) {
      const { status, text } = await raw({ path: start + path, headers: own() });
      assert.equal(status, 404, `${start}${path}: ${text.slice(0, 100)}`);
    }
  }
  for (const path of [
    "/api/models",
    "/openapi.json",
    "/metrics",
    "/sdapi/v1/options",
    "/sdapi/v1/cmd-flags",
    "/sdapi/v1/loras",
  ]) {
    const { text } = await raw({ path, headers: own() });
    assert.doesNotMatch(text, new RegExp(folder), path);
  }
});
