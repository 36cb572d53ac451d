/** @file Files of networks beside the model that a picture names: told where another content stands under a name, and only there. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { sha256Hex } from "#hash";
import type { PictureSettings } from "../../src/job/picture-settings.ts";
import { networkReasons } from "../../src/terminal/remake-networks.ts";

const hashOf = (text: string) => sha256Hex(new TextEncoder().encode(text)).slice(0, 10);
const hashes = {
  of: async (file: string) => sha256Hex(new Uint8Array(readFileSync(file))).slice(0, 10),
  fileWith: async () => undefined,
};
const unknown = { of: async () => undefined, fileWith: async () => undefined };

/** A folder of ControlNets, and of IP-Adapters with an encoder's folder. */
function library() {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-networks-"));
  const write = (name: string, text: string) => writeFileSync(path.join(folder, name), text);
  mkdirSync(path.join(folder, "vit"));
  mkdirSync(path.join(folder, "controls"));
  write("vit/config.json", '{"model_type":"clip_vision_model"}');
  write("vit/model.safetensors", "an encoder");
  write("plus.safetensors", "an adapter");
  write("controls/edges.safetensors", "a net");
  return { dirs: { controlDir: path.join(folder, "controls"), ipAdapterDir: folder }, folder, write };
}

function pictureOf(encoder?: string): PictureSettings {
  const told = ["controls.0: ", hashOf("a net"), ", ipAdapters.0: ", hashOf("an adapter")].join("");
  return {
    job: { controls: [{ file: "edges" }], ipAdapters: [{ file: "plus", ...(encoder !== undefined && { encoder }) }] },
    facts: { networkHashes: `${told}, ipAdapters.0.encoder: ${hashOf("an encoder")}` },
  } as unknown as PictureSettings;
}

test("what holds the same is not told of, found by name, by path or as whichever fits; nor what no hash is known of", async () => {
  const { dirs, folder, write } = library();
  for (const encoder of ["vit", undefined]) {
    assert.deepEqual(await networkReasons(pictureOf(encoder), dirs, hashes), []);
  }
  const { job, facts } = pictureOf("vit");
  const byPath = { ...job, controls: [{ file: "controls/edges.safetensors" }] };
  const absolute = (file: string) => path.join(folder, file);
  assert.deepEqual(await networkReasons({ job: byPath, facts }, { ipAdapterDir: folder }, hashes, absolute), []);
  write("controls/edges.safetensors", "another");
  assert.equal((await networkReasons({ job: byPath, facts }, { ipAdapterDir: folder }, hashes, absolute)).length, 1);
  assert.deepEqual(await networkReasons(pictureOf("vit"), dirs, unknown), []);
  assert.deepEqual(await networkReasons({ job, facts: {} }, dirs, hashes), []);
});

test("each file of another content is a reason", async () => {
  const { dirs, folder, write } = library();
  const changed = async (name: string, encoder?: string) => {
    const before = readFileSync(path.join(folder, name), "utf8");
    write(name, "something else");
    const reasons = await networkReasons(pictureOf(encoder), dirs, hashes);
    write(name, before);
    return reasons;
  };
  const now = hashOf("something else");
  assert.deepEqual(await changed("controls/edges.safetensors"), [
    `its ControlNet edges had the hash ${hashOf("a net")}, here it is ${now}`,
  ]);
  assert.deepEqual(await changed("plus.safetensors"), [
    `its IP-Adapter plus had the hash ${hashOf("an adapter")}, here it is ${now}`,
  ]);
  assert.deepEqual(await changed("vit/model.safetensors"), [
    `its image encoder had the hash ${hashOf("an encoder")}, here it is ${now}`,
  ]);
  assert.match((await changed("vit/model.safetensors", "vit"))[0]!, /^its image encoder vit had the hash/);
});

test("the encoder of an adapter before stands for those that name none; other encoders that fit are not asked", async () => {
  const { dirs, folder, write } = library();
  mkdirSync(path.join(folder, "other"));
  write("other/config.json", '{"model_type":"clip_vision_model"}');
  write("other/model.safetensors", "another encoder");
  const job = { ipAdapters: [{ file: "plus", encoder: "vit" }, { file: "plus" }] };
  const told = (text: string) =>
    networkReasons({ job, facts: { networkHashes: `ipAdapters.1.encoder: ${hashOf(text)}` } }, dirs, hashes);
  assert.deepEqual(await told("an encoder"), []);
  assert.deepEqual(await told("another encoder"), [
    `its image encoder vit had the hash ${hashOf("another encoder")}, here it is ${hashOf("an encoder")}`,
  ]);
});
