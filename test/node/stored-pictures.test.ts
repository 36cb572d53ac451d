/** @file The demo model in place, from the store plain and packed, resident and streamed: one picture to the byte; damage is told. */
import assert from "node:assert/strict";
import { mkdtemp, open, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { runCli } from "../../src/cli/program.ts";
import { openStoredCheckpoint } from "../../src/library/stored.ts";
import { nodeStore } from "../../src/node/disk/node-store.ts";
import { ArtifactError, type OpenEngineOptions } from "../../src/node.ts";
import { type BlockCatalog, describePhase } from "../../src/plan/describe.ts";
import { StoredBlocks } from "../../src/stream/stored-blocks.ts";
import { sameBytes } from "../support/same.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));
const JOB = { prompt: "a lake at dawn", seed: 3, steps: 2, width: 128, height: 64 };
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "solvay-stored-"));
});
after(() => rm(folder, { recursive: true, force: true }));

async function importDemo(store: string, packed: "on" | "off"): Promise<string> {
  const fake = fakeContext({ cwd: folder });
  const code = await runCli(["import", DEMO, "--store", store, "--packed", packed, "--json"], fake.context);
  assert.equal(code, 0, fake.err());
  const done = JSON.parse(fake.out().trim().split("\n").at(-1)!) as { id: string };
  return done.id;
}

async function picture(options: OpenEngineOptions, streams = false): Promise<Uint8Array> {
  await using engine = await openThreadlessEngine({ backend: "cpu", ...options });
  for await (const event of engine.generate(JOB)) {
    if (event.type === "plan") assert.equal(event.plan.keepsAll, !streams);
    if (event.type === "image") return event.bytes;
  }
  throw new Error("no image");
}

test("in place, stored plain, stored packed; resident and streamed: the same PNG", async () => {
  const expected = await picture({ model: DEMO });
  for (const packed of ["off", "on"] as const) {
    const store = join(folder, packed);
    const id = await importDemo(store, packed);
    for (const [vram, streams] of [
      ["4G", false],
      ["240M", true],
    ] as const) {
      const budgets = { vram, ram: "1G" };
      const found = await picture({ model: `store:${id}`, store, budgets }, streams);
      sameBytes(found, expected, `packed ${packed}, ${vram}`);
    }
  }
});

test("every segment finds its weights whole in the store, at any picture size", async () => {
  const path = join(folder, "whole");
  const store = nodeStore(path);
  await using stored = await openStoredCheckpoint(store, await importDemo(path, "off"));
  const { checkpoint } = stored;
  let seen = 0;
  const catalogOf = (name: string): BlockCatalog => {
    const reader = new StoredBlocks(name, { blocks: checkpoint.components.get(name)!.blocks! }, () => 0);
    return (segment, names) => {
      seen++;
      return reader.blocks(segment, names);
    };
  };
  const device = new HostDevice(createReferenceBackend());
  for (const size of [64, 128, 512]) {
    const { phases } = checkpoint.describe({
      batch: 2,
      width: size,
      height: size,
      modelCalls: 3,
      historyLength: 0,
      fp32: false,
    });
    for (const phase of phases) describePhase(device, phase, catalogOf);
  }
  assert.ok(seen > 300);
});

test("a bit flipped in the store is an error before there is a picture", async () => {
  const store = join(folder, "damaged");
  const id = await importDemo(store, "off");
  const packs = (await readdir(store, { recursive: true })).filter((name) => name.endsWith(".pack"));
  assert.ok(packs.length > 0);
  for (const name of packs) {
    const file = await open(join(store, name), "r+");
    const { size } = await file.stat();
    const byte = new Uint8Array(1);
    const at = Math.floor(size * 0.6);
    await file.read(byte, 0, 1, at);
    byte[0]! ^= 1;
    await file.write(byte, 0, 1, at);
    await file.close();
  }
  await assert.rejects(picture({ model: `store:${id}`, store }), ArtifactError);
});
