/** @file The models in a folder: diffusers' folders and single files at any depth, and nothing else. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { modelsIn } from "../../src/node/model-folder.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { originalDemo } from "../support/single-file.ts";

const GOLDEN = fileURLToPath(new URL("../../fixtures/golden", import.meta.url));

test("models by the names that pictures give them; VAEs, LoRAs and damaged files are passed over", async (t) => {
  const found = await modelsIn(GOLDEN);
  assert.deepEqual([...found.keys()], ["conv-proj", "deep", "flat", "nested", "odd"]);
  assert.equal(found.get("flat"), path.join(GOLDEN, "flat"));

  const folder = mkdtempSync(path.join(tmpdir(), "solvay-models-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(path.join(folder, "sdxl/anime"), { recursive: true });
  const model = encodeSafetensors(originalDemo());
  writeFileSync(path.join(folder, "sdxl/anime/toon.safetensors"), model);
  writeFileSync(path.join(folder, "zz.safetensors"), "damaged");
  symlinkSync(path.join(GOLDEN, "flat/vae/diffusion_pytorch_model.safetensors"), path.join(folder, "vae.safetensors"));
  const lora = [
    { name: "lora_unet_mid.lora_up.weight", dtype: "f32" as const, shape: [1, 1], bytes: new Uint8Array(4) },
  ];
  writeFileSync(path.join(folder, "style.safetensors"), encodeSafetensors(lora));
  assert.deepEqual(
    [...(await modelsIn(folder))],
    [["toon.safetensors", path.join(folder, "sdxl/anime/toon.safetensors")]],
  );
  // One network in the layout of whole files is no model; beside a diffusers folder's index lie parts of that model.
  const vae = originalDemo().filter(({ name }) => name.startsWith("first_stage_model."));
  assert.ok(vae.length > 0);
  writeFileSync(path.join(folder, "sdxl/vae.safetensors"), encodeSafetensors(vae));
  mkdirSync(path.join(folder, "sdxl/base"));
  writeFileSync(path.join(folder, "sdxl/base/model_index.json"), "{}");
  writeFileSync(path.join(folder, "sdxl/base/whole.safetensors"), model);
  assert.deepEqual([...(await modelsIn(folder)).keys()].toSorted(), ["base", "toon.safetensors"]);
  rmSync(path.join(folder, "sdxl/base"), { recursive: true });
  // Of one name the first in the folder's order of names, whatever order the disk has.
  for (const other of ["zebra", "a"]) {
    mkdirSync(path.join(folder, other));
    writeFileSync(path.join(folder, other, "toon.safetensors"), model);
    mkdirSync(path.join(folder, other, "flat"));
    writeFileSync(path.join(folder, other, "flat/model_index.json"), "{}");
  }
  assert.deepEqual(
    [...(await modelsIn(folder))],
    [
      ["flat", path.join(folder, "a/flat")],
      ["toon.safetensors", path.join(folder, "a/toon.safetensors")],
    ],
  );
  await assert.rejects(modelsIn(path.join(folder, "none")), { code: "ENOENT" });
});

test("what lies beside a model's file is read, if it is no larger than config files are", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-beside-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const host = nodeLibraryHost((file) => file, {});
  const index = path.join(folder, "model_index.json");
  const beside = () => host.readBeside(path.join(folder, "model.safetensors"), "model_index.json");
  assert.equal(await beside(), undefined);
  writeFileSync(index, "{}");
  assert.deepEqual(await beside(), { folder: path.basename(folder), text: "{}" });
  truncateSync(index, 4 * 2 ** 20 + 1);
  assert.equal(await beside(), undefined);
});
