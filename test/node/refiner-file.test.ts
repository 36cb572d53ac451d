/** @file SDXL's refiner in a single file: its header with the true names and shapes, over a file of holes, opened as its folder would be. */
import assert from "node:assert/strict";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { JsonConfig } from "../../src/checkpoint/json-config.ts";
import { findModel } from "../../src/library/open.ts";
import { SDXL_BASE_CLIP_BIG_G } from "../../src/models/sdxl/base.ts";
import { baseFile } from "../../src/models/sdxl/base-files.ts";
import { isRefinerIndex } from "../../src/models/sdxl/model-index.ts";
import { unetConfig } from "../../src/models/sdxl/network-config.ts";
import type { SdxlRefiner } from "../../src/models/sdxl/refiner.ts";
import { openSdxlRefinerFiles } from "../../src/models/sdxl/refiner-files.ts";
import { unetSchema } from "../../src/models/sdxl/unet.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { openFileFolder } from "../../src/node/files/file-folder.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { type OriginalName, originalNames } from "../support/single-file.ts";

const folder = await mkdtemp(join(tmpdir(), "solvay-refiner-"));
const files = new AsyncDisposableStack();
after(async () => {
  await files.disposeAsync();
  await rm(folder, { recursive: true, force: true });
});

/** A file with these tensors, whose values were never written. */
async function holes(name: string, names: readonly OriginalName[]): Promise<string> {
  const header: Record<string, object> = {};
  let at = 0;
  for (const { original, how, shape } of names) {
    if (original in header) continue;
    const [first, ...rest] = shape as [number, ...number[]];
    const stored = how === "transposed" ? [...rest, first] : how.startsWith("rows") ? [3 * first, ...rest] : shape;
    const end = at + 2 * elementCount(stored);
    header[original] = { dtype: "F16", shape: stored, data_offsets: [at, end] };
    at = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, name);
  await using file = await open(path, "w");
  await file.writeFile(Buffer.concat([length, json]));
  await file.truncate(8 + json.length + at);
  return path;
}

async function opened(path: string): Promise<SdxlRefiner> {
  const file = files.use(await openFileSource(path));
  const vocabulary = await openFileFolder(fileURLToPath(new URL("../../models/clip", import.meta.url)));
  return await openSdxlRefinerFiles({ model: { kind: "file", path, file }, vocabulary });
}

test("sd_xl_refiner_1.0.safetensors opens as the diffusers folder of it", async () => {
  const names = originalNames("refiner");
  const path = await holes("sd_xl_refiner_1.0.safetensors", names);
  await using refiner = await opened(path);
  // A file's text projection lies otherwise than it is read: eight reads at once of 256 KiB, beside what the model's own take.
  const host = nodeLibraryHost((name) => name, {});
  const importBudget = () => assert.fail("nothing is imported");
  await using both = await (await findModel(host, { model: host.demoModel, refiner: path })).open({ importBudget });
  assert.equal(both.heldBytes, 8 * 256 * 1024);
  const { parts, components, folder: texts } = refiner;
  // As in the published folder's model_index.json; by it the block store's entry is known as a refiner's.
  assert.ok(isRefinerIndex((await texts.readText("model_index.json", 10_000))!));
  // unet/config.json of stabilityai/stable-diffusion-xl-refiner-1.0.
  const published = baseFile("unet/config.json", {
    attention_head_dim: [6, 12, 24, 24],
    block_out_channels: [384, 768, 1536, 1536],
    cross_attention_dim: 1280,
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    projection_class_embeddings_input_dim: 2560,
    transformer_layers_per_block: 4,
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  });
  const unet = unetConfig(new JsonConfig("unet/config.json", published));
  assert.deepEqual([...unetSchema(parts.unet)], [...unetSchema(unet)]);
  assert.deepEqual(parts.textEncoder2, SDXL_BASE_CLIP_BIG_G);
  for (const [id, folder] of [
    ["refiner.unet", "unet"],
    ["refiner.textEncoder2", "text_encoder_2"],
  ] as const) {
    const expected = names.filter((row) => row.folder === folder).map(({ parameter }) => parameter);
    assert.deepEqual([...components.get(id)!.table.keys()].sort(), expected.sort());
  }
  // Empty where there is none: force_zeros_for_empty_prompt is false in its model_index.json.
  assert.equal(refiner.zerosForAbsentPrompt, false);
  const [chunk] = refiner.promptChunks({ text: "a", clipSkip: 0, syntax: "plain" });
  assert.deepEqual(chunk!.tokens.tokenizer_2?.ids.slice(0, 4), [49406, 320, 49407, 0]);
});

test("what is no refiner is told so", async () => {
  const refiner = originalNames("refiner");
  const alone = await holes(
    "unet.safetensors",
    refiner.filter(({ folder }) => folder === "unet"),
  );
  await assert.rejects(opened(alone), /E_NOT_SDXL .*no SDXL refiner: it has no text encoder/);
  const base = await holes(
    "base.safetensors",
    originalNames("sdxl").filter(({ how }) => how !== "conv"),
  );
  await assert.rejects(opened(base), /E_NOT_SDXL .*no SDXL refiner: its unet is not as wide/);
});
