/** @file A hub with a small model on it, a cache of its own, and pulls from the one into the other. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { before, mock, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { SolvayError } from "../../src/errors.ts";
import type { PullEvent } from "../../src/library/pull-events.ts";
import { chooseModelFiles } from "../../src/models/families.ts";
import { hubRepoDir } from "../../src/node/hub/cache.ts";
import { type HubPullOptions, pullFromHub } from "../../src/node/hub/pull.ts";
import { type FakeHub, type Fault, MODEL, readFolder, sha256, startHub } from "./fake-hub.ts";

export const DEMO = readFolder(fileURLToPath(new URL("../../models/demo", import.meta.url)));
export const UNET = "unet/diffusion_pytorch_model.fp16.safetensors";
export const VAE = "vae/diffusion_pytorch_model.fp16.safetensors";

/** The demo's real files, but weights of a few KB: the checks are the same. */
export const SMALL = new Map(
  [...DEMO].map(([name, bytes]) => [name, bytes.subarray(0, name === UNET ? 300_000 : 40_000)]),
);

/** Names of files with contents of their own: one content is one blob, and is fetched once. */
export const distinct = (files: ReadonlyMap<string, Buffer>) => {
  const names = new Map<string, string>();
  for (const [name, bytes] of [...files].sort().reverse()) names.set(sha256(bytes), name);
  return [...names.values()].sort();
};
export const bytesOf = (names: readonly string[], files: ReadonlyMap<string, Buffer>) =>
  names.reduce((sum, name) => sum + files.get(name)!.length, 0);

export type Handle = Awaited<ReturnType<typeof open>>;
export let handles: Handle;
const syncs = mock.fn(async () => {});

/** Syncing is counted, not done: on a busy disk it takes most of the time, and no power fails here. */
before(async () => {
  const file = await open(fileURLToPath(import.meta.url));
  handles = Object.getPrototypeOf(file) as Handle;
  await file.close();
  handles.sync = syncs;
});

export interface Bench {
  readonly hub: FakeHub;
  readonly env: Record<string, string>;
  readonly events: PullEvent[];
  readonly pull: (options?: Partial<HubPullOptions>) => ReturnType<typeof pullFromHub>;
  readonly repo: string;
  readonly blob: (name: string) => string;
}

export async function bench(t: TestContext, files = SMALL): Promise<Bench> {
  const hub = await startHub(new Map(files));
  const home = mkdtempSync(path.join(tmpdir(), "solvay-pull-"));
  t.after(async () => {
    await hub[Symbol.asyncDispose]();
    rmSync(home, { recursive: true, force: true });
  });
  const env: Record<string, string> = { HF_HOME: home, HF_ENDPOINT: hub.endpoint };
  const events: PullEvent[] = [];
  const repo = hubRepoDir(MODEL, env);
  return {
    hub,
    env,
    events,
    repo,
    pull: (options) =>
      pullFromHub(MODEL, {
        env,
        choose: chooseModelFiles,
        onEvent: (e) => events.push(e),
        clock: { sleep: async () => {} },
        ...options,
      }),
    blob: (name) => path.join(repo, "blobs", sha256(hub.files.get(name)!)),
  };
}

/** Applies `fault` to the first `times` requests for the bytes of `name`. */
export function faulty(name: string, times: number, answer: (...args: Parameters<Fault>) => void): Fault {
  let left = times;
  return (request, response, file) => {
    const hit =
      file === name && request.method === "GET" && (request.server === "storage" || !isStored(file)) && left-- > 0;
    if (hit) answer(request, response, file);
    return hit;
  };
}
export const isStored = (name: string) => name.endsWith(".safetensors");

export const failure =
  (code: string, words = /./) =>
  (error: unknown) => {
    assert.ok(error instanceof SolvayError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
    return true;
  };

export const rangesOf = (hub: FakeHub, name: string) =>
  hub.requests.filter((r) => r.server === "storage" && r.path.includes(name)).map((r) => r.range);

/** No part, no lock, and every file of the snapshot as the hub has it. */
export function assertWhole({ hub, repo }: Bench): void {
  assert.deepEqual(
    readdirSync(path.dirname(repo), { recursive: true, encoding: "utf8" }).filter((n) => /incomplete|\.lock$/.test(n)),
    [],
  );
  const snapshot = readFolder(path.join(repo, "snapshots", hub.commit));
  assert.deepEqual([...snapshot.keys()].sort(), [...hub.files.keys()].sort());
  for (const [name, bytes] of snapshot) assert.ok(bytes.equals(hub.files.get(name)!), name);
}
