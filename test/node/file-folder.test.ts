/** @file A model folder whose files are links: those of the hub's clients are read, what could be anybody's file is not. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { openFileFolder } from "../../src/node/files/file-folder.ts";

const SHA1 = "0123456789abcdef0123456789abcdef01234567";
const SHA256 = `${SHA1}${"89abcdef".repeat(3)}`;

function folders(t: TestContext): { model: string; put: (file: string, text?: string) => string } {
  const home = mkdtempSync(path.join(tmpdir(), "solvay-links-"));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  const put = (file: string, text = "text") => {
    const whole = path.join(home, file);
    mkdirSync(path.dirname(whole), { recursive: true });
    writeFileSync(whole, text);
    return whole;
  };
  put("model/model_index.json", "{}");
  mkdirSync(path.join(home, "model", "unet"));
  return { model: path.join(home, "model"), put };
}

test("links into a Hugging Face cache are read, as an older client's --local-dir makes them", async (t) => {
  const { model, put } = folders(t);
  const blobs = "cache/hub/models--org--name/blobs";
  symlinkSync(put(`${blobs}/${SHA1}`, "config"), path.join(model, "unet/config.json"));
  symlinkSync(put(`${blobs}/${SHA256}`, "weights"), path.join(model, "unet/model.safetensors"));
  const folder = await openFileFolder(model);
  assert.equal(await folder.readText("unet/config.json", 6), "config");
  await assert.rejects(folder.readText("unet/config.json", 5), { code: "E_SIZE" });
  await using source = await folder.open("unet/model.safetensors");
  assert.equal(source?.byteLength, 7);
});

test("a snapshot's links lead to its own cache's blobs, whatever their names", async (t) => {
  const { put } = folders(t);
  const blob = put("hub/models--org--name/blobs/etag-of-a-mirror", "config");
  const snapshot = path.dirname(put(`hub/models--org--name/snapshots/${SHA1}/model_index.json`, "{}"));
  symlinkSync(blob, path.join(snapshot, "config.json"));
  assert.equal(await (await openFileFolder(snapshot)).readText("config.json", 100), "config");
});

test("weights may be links to weights elsewhere", async (t) => {
  const { model, put } = folders(t);
  symlinkSync(put("large-disk/sdxl.fp16.safetensors"), path.join(model, "unet/model.safetensors"));
  await using source = await (await openFileFolder(model)).open("unet/model.safetensors");
  assert.equal(source?.byteLength, 4);
});

test("other links out of the folder are refused, with where they lead", async (t) => {
  const { model, put } = folders(t);
  const targets: [link: string, target: string][] = [
    ["unet/config.json", put("elsewhere/config.json")],
    ["unet/a.json", put("models--org--name/blobs/id_rsa")],
    ["unet/b.json", put(`models--org--name/other/${SHA1}`)],
    ["unet/c.json", put(`somewhere/blobs/${SHA1}`)],
    ["unet/d.json", put("large-disk/secret.safetensors")],
    ["unet/model.safetensors", put("elsewhere/secret.txt")],
    ["unet/e.json", put("model-with-a-longer-name/config.json")],
  ];
  const folder = await openFileFolder(model);
  for (const [link, target] of targets) {
    symlinkSync(target, path.join(model, link));
    const refused = { code: "E_SYMLINK", message: /leads out of the model folder \(to .*Next: put the file itself/ };
    await assert.rejects(folder.readText(link, 100), refused, link);
    await assert.rejects(folder.open(link), refused, link);
  }
  symlinkSync(path.join(model, "nowhere"), path.join(model, "unet/gone.json"));
  assert.equal(await folder.readText("unet/gone.json", 100), undefined);
});
