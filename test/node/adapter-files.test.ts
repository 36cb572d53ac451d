/** @file The adapters in the user's folders as people choose among them: which count, what keeps one from being used, and their pictures. */
import assert from "node:assert/strict";
import { truncateSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { AdapterFiles } from "../../src/node/adapter-files.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { madeFolder } from "../support/made-folder.ts";

const zeros = (name: string, ...shape: number[]) => ({
  ...{ name, dtype: "f16" as const, shape },
  bytes: new Uint8Array(2 * shape.reduce((a, b) => a * b, 1)),
});
const lora = (root: string, width = 4) =>
  encodeSafetensors([zeros(`${root}.lora_down.weight`, 2, width), zeros(`${root}.lora_up.weight`, 4, 2)]);
const KEY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k";

test("LoRAs and embeddings by name: of twins the ending that jobs take, and why one can't be used", async (t) => {
  const embedding = encodeSafetensors([zeros("clip_l", 2, 768), zeros("clip_g", 2, 1280)]);
  const folder = madeFolder(t, {
    "lora/style.safetensors": lora(KEY, 2048),
    "lora/old/style.pt": "not looked into",
    "lora/a/same.safetensors": lora(KEY, 2048),
    "lora/b/same.safetensors": lora(KEY, 2048),
    "lora/flux.safetensors": lora("lora_unet_double_blocks_0_img_attn_qkv"),
    "lora/sd15.safetensors": lora(KEY, 768),
    "lora/damaged.safetensors": "damaged",
    "lora/vae.safetensors": encodeSafetensors([zeros("decoder.conv_in.weight", 4, 4)]),
    "lora/readme.txt": "",
    "emb/style.safetensors": embedding,
    "emb/lora.safetensors": lora(KEY, 2048),
  });
  const found = await new AdapterFiles({ lora: path.join(folder, "lora"), embedding: path.join(folder, "emb") }).list();
  const told = found.map(({ kind, name, folder: inside, what, problem }) => [kind, name, inside, what, problem]);
  const isOne = "LoRA of 1 layer";
  const twice = "another file has the same name";
  assert.deepEqual(
    told.filter(([, name]) => name !== "damaged"),
    [
      ["lora", "flux", "", isOne, "this is an adapter for Flux"],
      ["embedding", "lora", "", "", "this is no embedding"],
      ["lora", "same", "a", isOne, twice],
      ["lora", "same", "b", isOne, twice],
      ["lora", "sd15", "", isOne, "this is an adapter for Stable Diffusion 1.5"],
      ["lora", "style", "", isOne, undefined],
      ["embedding", "style", "", "a textual inversion of two text encoders (SDXL): 2 vectors", undefined],
      ["lora", "vae", "", "", "this is no adapter"],
    ],
  );
  assert.match(told.find(([, name]) => name === "damaged")![4]!, /./);
  assert.equal(new Set(found.map(({ id }) => id)).size, found.length);
  const none = await new AdapterFiles({ lora: path.join(folder, "none"), embedding: undefined }).list();
  assert.deepEqual(none, []);
  const reason = new Error("stopped");
  const files = new AdapterFiles({ lora: path.join(folder, "lora") });
  await assert.rejects(files.list(AbortSignal.abort(reason)), reason);
});

test("a file that was changed is described anew, be its size the same", async (t) => {
  const folder = madeFolder(t, { "style.safetensors": lora(KEY, 2048) });
  const file = path.join(folder, "style.safetensors");
  const files = new AdapterFiles({ lora: folder });
  const [before] = await files.list();
  writeFileSync(file, lora("lora_unet_double_blocks_0_img_attn_qkv".padEnd(KEY.length, "x"), 2048));
  utimesSync(file, 1000, 1000);
  const [after] = await files.list();
  assert.deepEqual([after!.id, after!.bytes, after!.modifiedMs], [before!.id, before!.bytes, 1_000_000]);
  assert.deepEqual([before!.problem, after!.problem], [undefined, "this is an adapter for Flux"]);
});

test("the picture beside a file: the preview first, and none that is too large for one", async (t) => {
  const content = { "a.safetensors": "x", "a.png": "own", "b.safetensors": "x", "b.jpg": "b", "c.safetensors": "x" };
  const folder = madeFolder(t, { ...content, "c.png": "", "c.webp": "c", "d.safetensors": "x" });
  const files = new AdapterFiles({ lora: folder });
  truncateSync(path.join(folder, "c.png"), 32 * 2 ** 20 + 1);
  const pictures = async () => {
    const found = await files.list();
    const read = await Promise.all(found.map(({ id }) => files.picture(id)));
    const texts = read.map((bytes) => bytes && Buffer.from(bytes).toString());
    assert.deepEqual(
      found.map(({ pictured }) => pictured),
      texts.map((text) => text !== undefined),
    );
    return texts;
  };
  assert.deepEqual(await pictures(), ["own", "b", "c", undefined]);
  writeFileSync(path.join(folder, "a.preview.png"), "preview");
  assert.deepEqual(await pictures(), ["preview", "b", "c", undefined]);
  assert.equal(await files.picture("none"), undefined);
});
