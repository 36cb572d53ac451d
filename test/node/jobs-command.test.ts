/** @file `solvay jobs`: what is asked of a server, with which key, and how its answer is shown. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { runCli } from "../../src/cli/program.ts";
import { fakeContext } from "./fake-context.ts";

const RECORD = {
  ...{ id: "7", number: 7, hash: "h", job: { prompt: "a lake", steps: 9, loras: [{ file: "fur" }] }, model: "m" },
  ...{ owner: "me", request: "r", state: "running", priority: -3, step: 2, steps: 9, createdAt: "then" },
};
const cwd = mkdtempSync(path.join(tmpdir(), "solvay-jobs-"));
const asked: string[] = [];
let answer: { readonly status: number; readonly json: object } = { status: 200, json: RECORD };

const server = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  asked.push(`${request.method} ${request.url} ${body} ${request.headers.authorization ?? "no key"}`);
  response.writeHead(answer.status, { "content-type": "application/json" }).end(JSON.stringify(answer.json));
});
let url = "";
before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

async function jobs(line: readonly string[], { env = {}, json = RECORD as object, status = 200 } = {}) {
  answer = { status, json };
  asked.length = 0;
  const fake = fakeContext({ cwd });
  const rc = await runCli(["jobs", ...line], { ...fake.context, env: { SOLVAY_SERVER: url, ...env } });
  return { rc, out: fake.out(), err: fake.err(), asked: [...asked] };
}

test("each command asks for its own; of several jobs one after the other", async () => {
  const json = { jobs: [RECORD] };
  assert.deepEqual((await jobs(["list"], { json })).asked, ["GET /api/jobs?limit=50  no key"]);
  const some = await jobs(["list", "--state", "failed", "--limit", "500"], { json });
  assert.deepEqual(some.asked, ["GET /api/jobs?limit=500&state=failed  no key"]);
  assert.deepEqual((await jobs(["show", "a/b"])).asked, ["GET /api/jobs/a%2Fb  no key"]);
  assert.deepEqual((await jobs(["cancel", "7", "8"])).asked, [
    ...["POST /api/jobs/7/cancel {} no key", "POST /api/jobs/8/cancel {} no key"],
  ]);
  assert.deepEqual((await jobs(["retry", "7"])).asked, ["POST /api/jobs/7/retry {} no key"]);
  for (const priority of ["-100", "0", "100"]) {
    const told = [`POST /api/jobs/7/priority {"priority":${priority}} no key`];
    assert.deepEqual((await jobs(["priority", "7", priority])).asked, told);
  }
  for (const wrong of ["101", "-101", "1.5", "x", ""]) {
    const { rc, asked } = await jobs(["priority", "7", wrong]);
    assert.deepEqual([rc, asked], [2, []], wrong);
  }
  for (const limit of ["0", "501"]) assert.equal((await jobs(["list", "--limit", limit])).rc, 2);
});

test("the key: a file's first, with its name or without, before the variable's; --server before its variable", async () => {
  const keyOf = async (line: readonly string[], env = {}) => {
    const { asked, err } = await jobs(["show", "7", ...line], { env });
    return asked[0]?.split("  ")[1] ?? err;
  };
  assert.equal(await keyOf([], { SOLVAY_API_KEY: "k1" }), "Bearer k1");
  for (const text of ["\n# no\n  me:k2  \nyou:k3\n", "k2\r\nk3", "a:k2"]) {
    writeFileSync(path.join(cwd, "keys"), text);
    assert.equal(await keyOf(["--api-key-file", "keys"], { SOLVAY_API_KEY: "k1" }), "Bearer k2", text);
  }
  assert.match(await keyOf(["--api-key-file", "none"]), /^E_MISSING /);
  assert.equal(await keyOf(["--server", url], { SOLVAY_SERVER: "http://127.0.0.1:1" }), "no key");
  assert.match(await keyOf(["--server", "ftp://x"]), /^E_USAGE --server: no address of a server/);
  assert.match(
    await keyOf(["--server", url, "--database", "postgres://x"]),
    /^E_USAGE --server: a server and a database at/,
  );
});

test("a line for each: how far, the prompt cut, the error's name; all of one job, and as JSON what came", async () => {
  const long = { ...RECORD, id: "8", state: "queued", priority: 12, job: { prompt: "x".repeat(61) } };
  const failed = { ...RECORD, id: "9", state: "failed", error: { code: "E_X", message: "E_X: no." } };
  const { out } = await jobs(["list"], { json: { jobs: [RECORD, long, failed] } });
  assert.deepEqual(out.trimEnd().split("\n"), [
    "7  running    2/9        -3  a lake",
    `8  queued                12  ${"x".repeat(60)}...`,
    "9  failed                -3  E_X",
  ]);
  assert.equal((await jobs(["list"], { json: { jobs: [] } })).out, "no jobs\n");
  assert.deepEqual(JSON.parse((await jobs(["list", "--json"], { json: { jobs: [long] } })).out), { jobs: [long] });
  assert.deepEqual(JSON.parse((await jobs(["show", "7", "--json"])).out), RECORD);
  const shown = (await jobs(["show", "9"], { json: { ...failed, asset: "abc", startedAt: "", finishedAt: "now" } }))
    .out;
  assert.deepEqual(shown.trimEnd().split("\n"), [
    ...["id: 9", "state: failed", "model: m", "owner: me", "priority: -3", "step: 2 of 9", "asked: then", "ended: now"],
    ...["picture: abc", "error: E_X: no.", "prompt: a lake", "steps: 9", 'loras: [{"file":"fur"}]'],
  ]);
});

test("what the server refuses is said as here, with the exit code of its kind", async () => {
  const said = (message: string) => ({ json: { error: { message } } });
  const none = await jobs(["show", "7"], {
    status: 404,
    ...said("E_NOT_FOUND 7: there is no such job. Next: list them."),
  });
  assert.deepEqual([none.rc, none.err], [2, "E_NOT_FOUND 7: there is no such job. Next: list them.\n"]);
  const broken = await jobs(["show", "7"], { status: 503, ...said("E_BUSY: not now. Next: wait.") });
  assert.deepEqual([broken.rc, broken.err], [5, "E_BUSY: not now. Next: wait.\n"]);
  const dumb = await jobs(["show", "7"], { status: 500, json: {} });
  assert.equal(dumb.rc, 5);
  assert.match(dumb.err, /^E_SERVER 127\.0\.0\.1:\d+: no answer \(it answered 500\)/);
});
