/** @file What a pull refuses: wrong bytes, names that lead astray, listings and models that are none; and what it mends. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { chooseModelFiles } from "../../src/models/families.ts";
import { resolveHubModel } from "../../src/node/hub/cache.ts";
import { isSafeName } from "../../src/node/hub/listing.ts";
import { pullFromHub } from "../../src/node/hub/pull.ts";
import { type Fault, MODEL } from "./fake-hub.ts";
import { assertWhole, bench, failure, faulty, SMALL, UNET } from "./pull-bench.ts";

test("a wrong file is deleted, whatever is wrong with it", async (t) => {
  const b = await bench(t);
  const size = b.hub.files.get(UNET)!.length;
  const cases: [string, string, Fault][] = [
    ["E_HASH", UNET, faulty(UNET, 1, (_, response) => response.end(Buffer.alloc(size)))],
    [
      "E_HASH",
      "vae/config.json",
      faulty("vae/config.json", 1, (_, r) => r.end(Buffer.alloc(SMALL.get("vae/config.json")!.length))),
    ],
    [
      "E_SIZE",
      UNET,
      faulty(UNET, 1, (_, response) => {
        response.write(Buffer.alloc(size));
        response.end("more");
      }),
    ],
    ["E_HUB_CHANGED", UNET, faulty(UNET, 1, (_, response) => response.end("short"))],
    ["E_HUB_CHANGED", UNET, faulty(UNET, 1, (_, r) => r.writeHead(200, { "Content-Type": "text/html" }).end("<html>"))],
    [
      "E_HUB_CHANGED",
      UNET,
      (request, response, name) => {
        if (request.server !== "hub" || name !== UNET) return false;
        const headers = { "X-Linked-Etag": `"${"0".repeat(64)}"`, "X-Linked-Size": size };
        response.writeHead(302, { Location: `${b.hub.storage}/${name}`, ...headers }).end();
        return true;
      },
    ],
    [
      "E_HUB_CHANGED",
      "vae/config.json",
      (_, response, name) => {
        if (name === "vae/config.json") response.setHeader("X-Repo-Commit", "f".repeat(40)).writeHead(200).end("{}");
        return name === "vae/config.json";
      },
    ],
  ];
  for (const [code, name, fault] of cases) {
    rmSync(b.repo, { recursive: true, force: true });
    b.hub.fault = fault;
    await assert.rejects(b.pull(), failure(code, new RegExp(`${name}.*deleted`)));
    assert.equal(existsSync(path.join(b.repo, "snapshots", b.hub.commit, name)), false, code);
    assert.deepEqual(
      readdirSync(path.join(b.repo, "blobs")).filter((n) => n.includes("incomplete")),
      [],
      code,
    );
    assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
  }
});

test("a mirror that lists names alone is asked for sizes and checksums by HEAD; a changed ETag is refused", async (t) => {
  const b = await bench(t);
  b.hub.detailed = false;
  await b.pull();
  assertWhole(b);
  assert.ok(existsSync(b.blob(UNET)));
  assert.equal(b.hub.requests.filter((r) => r.method === "HEAD").length, SMALL.size);

  rmSync(b.repo, { recursive: true });
  b.hub.fault = faulty("vae/config.json", 1, (_, response) => {
    response.writeHead(200, { ETag: '"another"', "Content-Length": SMALL.get("vae/config.json")!.length }).end("x");
  });
  await assert.rejects(b.pull(), failure("E_HUB_CHANGED", /ETag another/));
  assert.equal(await resolveHubModel(MODEL, { env: b.env }), undefined);
});

test("names that lead out of the folder are refused, and nothing is written", async (t) => {
  const bad = ["../x", "/etc/passwd", "unet/../../x", "a\\b", "C:/x", "a\0b", "a//b", "./a", "", "a/.."];
  assert.deepEqual(bad.filter(isSafeName), []);
  assert.ok(["a", "a/b.c", ".gitattributes", "unet/x..y"].every(isSafeName));
  const b = await bench(t);
  for (const name of bad) {
    b.hub.extraNames = [name];
    await assert.rejects(b.pull(), failure("E_HUB_NAME"));
  }
  assert.equal(existsSync(b.repo), false);
});

test("the listing itself is checked", async (t) => {
  const b = await bench(t);
  for (const text of ["<html>", "null", "{}", '{"sha":"../..","siblings":[]}', `{"sha":"${b.hub.commit}"}`]) {
    b.hub.fault = (_, response, name) => name === "api" && Boolean(response.end(text));
    await assert.rejects(b.pull(), failure("E_HUB_LISTING"));
  }
  b.hub.fault = () => false;
  b.hub.files.set("model_index.json", Buffer.from('{"_class_name":"FluxPipeline"}'));
  await assert.rejects(b.pull(), failure("E_NOT_SDXL", /FluxPipeline/));
  assert.deepEqual(b.hub.fetched(), ["model_index.json"]);
  b.hub.files.delete("model_index.json");
  await assert.rejects(b.pull(), failure("E_NOT_DIFFUSERS"));
});

test("a refiner has no first text encoder, and none is missed; what it does need is", async (t) => {
  const files = new Map([...SMALL].filter(([name]) => !/^(text_encoder|tokenizer|vae)\//.test(name)));
  const index = {
    _class_name: "StableDiffusionXLImg2ImgPipeline",
    text_encoder: [null, null],
    tokenizer: [null, null],
  };
  files.set("model_index.json", Buffer.from(JSON.stringify(index)));
  const b = await bench(t, files);
  await b.pull();
  assert.deepEqual(new Set(b.hub.fetched()), new Set(files.keys()));
  const cut = await bench(t, new Map([...files].filter(([name]) => !name.startsWith("tokenizer_2/"))));
  await assert.rejects(cut.pull(), failure("E_MISSING", /tokenizer_2\/vocab\.json/));
});

test("a blob or link that was damaged in the cache is mended", async (t) => {
  const b = await bench(t);
  await b.pull();
  writeFileSync(b.blob(UNET), "cut");
  unlinkSync(path.join(b.repo, "snapshots", b.hub.commit, "vae/config.json"));
  const done = await b.pull();
  assert.equal(done.downloadedBytes, SMALL.get(UNET)!.length);
  assertWhole(b);
});

test("a commit can be pulled without naming it; odd names and revisions are refused", async (t) => {
  const b = await bench(t);
  await b.pull({ revision: b.hub.commit });
  assert.equal(existsSync(path.join(b.repo, "refs")), false);
  assert.ok(await resolveHubModel(MODEL, { env: b.env, revision: b.hub.commit }));
  for (const revision of ["../x", "a/../b", "-x", "a b", "", "/a", "a\\b"]) {
    await assert.rejects(b.pull({ revision }), failure("E_USAGE", /--revision/));
  }
  await assert.rejects(pullFromHub("../x", { env: b.env, choose: chooseModelFiles }), failure("E_HUB_ID"));
  for (const HF_ENDPOINT of ["ftp://x", "nonsense", "http://u:p@h"]) {
    await assert.rejects(b.pull({ env: { ...b.env, HF_ENDPOINT } }), failure("E_HUB_ENDPOINT"));
  }
});
