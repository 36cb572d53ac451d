/** @file What the environment says of the hub: which addresses are private, tokens, patience, offline, links, endpoint. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { SolvayError } from "../../src/errors.ts";
import { hubSettings, isPrivateWay } from "../../src/node/hub/settings.ts";

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => assert.fail("it should fail"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof SolvayError, String(error));
  return error.code;
};

test("only https and this machine are private: names that begin or end like it are not", async () => {
  const is = (address: string) => isPrivateWay(new URL(address));
  const open = [
    "http://localhost.evil.example",
    "http://evil-localhost",
    "http://x.localhost.example",
    "http://127.0.0.1.evil.example",
    "http://a127.0.0.1.example",
    "http://128.0.0.1",
    "http://mirror.example",
    "http://[::2]",
    "ftp://localhost.example",
  ];
  assert.deepEqual(open.filter(is), []);
  assert.ok(["https://mirror.example", "http://localhost:80", "http://127.9.8.7:1", "http://[::1]:3"].every(is));
  for (const HF_ENDPOINT of open.filter((address) => address.startsWith("http:"))) {
    const settings = await hubSettings({ HF_ENDPOINT, HF_TOKEN: "hf_x" });
    assert.equal(settings.token, undefined, HF_ENDPOINT);
    assert.match(settings.tokenNote ?? "", /not sent/);
  }
  const trusted = await hubSettings({ HF_ENDPOINT: "http://localhost:8080", HF_TOKEN: "hf_x" });
  assert.deepEqual([trusted.token, trusted.tokenNote], ["hf_x", undefined]);
});

test("the environment's names: tokens, patience, offline, links, endpoint", async (t) => {
  const home = mkdtempSync(path.join(tmpdir(), "solvay-hub-"));
  t.after(() => rmSync(home, { recursive: true }));
  const here = { HF_HOME: home };
  const none = await hubSettings(here);
  assert.deepEqual(
    [none.endpoint, none.token, none.tokenNote, none.offlineBy, none.symlinks, none.stallMs],
    ["https://huggingface.co", undefined, undefined, undefined, true, 30_000],
  );
  writeFileSync(path.join(home, "token"), " hf_file\n");
  writeFileSync(path.join(home, "other"), "hf_other");
  const token = async (env: Record<string, string>) => (await hubSettings({ ...here, ...env })).token;
  assert.equal(await token({}), "hf_file");
  assert.equal(await token({ HF_TOKEN_PATH: path.join(home, "other") }), "hf_other");
  assert.equal(await token({ HUGGING_FACE_HUB_TOKEN: "hf_old" }), "hf_old");
  assert.equal(await token({ HUGGING_FACE_HUB_TOKEN: "hf_old", HF_TOKEN: "hf_new" }), "hf_new");
  assert.equal(await token({ HF_TOKEN: "" }), "hf_file");
  assert.equal(await token({ HF_HUB_DISABLE_IMPLICIT_TOKEN: "True" }), undefined);
  for (const bad of ["hf a", "hf\ty", "hf_é", "a\u007f"]) {
    assert.equal(await codeOf(hubSettings({ ...here, HF_TOKEN: bad })), "E_HUB_TOKEN", bad);
  }
  const stall = async (seconds: string) => (await hubSettings({ HF_HUB_DOWNLOAD_TIMEOUT: seconds })).stallMs;
  assert.deepEqual(
    await Promise.all(["0.5", "3600", "3601", "0", "-1", "x", ""].map(stall)),
    [500, 3_600_000, 30_000, 30_000, 30_000, 30_000, 30_000],
  );
  for (const yes of ["1", "true", "YES", "on"]) {
    assert.equal((await hubSettings({ HF_HUB_OFFLINE: yes })).offlineBy, "HF_HUB_OFFLINE");
    assert.equal((await hubSettings({ TRANSFORMERS_OFFLINE: yes })).offlineBy, "TRANSFORMERS_OFFLINE");
    assert.equal((await hubSettings({ HF_HUB_DISABLE_SYMLINKS: yes })).symlinks, false);
  }
  for (const no of ["0", "false", "11", "no", ""]) {
    assert.equal((await hubSettings({ HF_HUB_OFFLINE: no })).offlineBy, undefined, no);
  }
  assert.equal((await hubSettings({ HF_ENDPOINT: "https://m.example/hub//" })).endpoint, "https://m.example/hub");
  for (const HF_ENDPOINT of [
    "https://u@h.example",
    "https://:p@h.example",
    "https://h.example/?a",
    "https://h.example/#b",
  ]) {
    assert.equal(await codeOf(hubSettings({ HF_ENDPOINT })), "E_HUB_ENDPOINT", HF_ENDPOINT);
  }
});
