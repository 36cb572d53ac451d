/** @file ControlNets' files: modes that a network has, a file that was changed between two jobs; and where black and white part. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ControlFiles } from "../../src/engine/control-files.ts";
import { controlPicture } from "../../src/image/control-picture.ts";
import { controlMode, steersPass } from "../../src/job/control-use.ts";
import type { FilePlace } from "../../src/models/file-place.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount } from "../../src/tensor/dtype.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

/** Of a union of six kinds, whose file's stamp is `stamp()`. */
function unions(stamp: () => string): ControlFiles {
  const openControl = async () => {
    const source = { name: "union", file: { path: "/union", stamp: stamp() } };
    return { network: { kind: "union", modes: 6 }, table: new Map([["x", { name: "x", source }]]) };
  };
  const runtime = { checkpoint: { openControl }, provide() {} };
  return new ControlFiles(runtime as never, async () => ({}) as never);
}

test("a mode is one of those that the network has, counted from 0", async () => {
  const files = unions(() => "1");
  const ofMode = (mode: string) => files.ofJob({ controls: [{ file: "union", mode }] } as never);
  assert.equal((await ofMode("5"))!.controls[0]!.use.mode, "5");
  await assert.rejects(ofMode("6"), /E_CONTROL union: it knows 6 kinds of pictures \(found mode 6, number 6\)/);
});

test("a file that was changed is another network, the same file the same one", async () => {
  let stamp = "1";
  const files = unions(() => stamp);
  const component = async () =>
    (await files.ofJob({ controls: [{ file: "union", mode: "1" }] } as never))!.controls[0]!.component;
  const { files: named } = (await files.ofJob({ controls: [{ file: "union", mode: "1" }] } as never))!;
  assert.deepEqual(named, [{ name: "controls.0", path: "/union" }]);
  const first = await component();
  assert.equal(await component(), first);
  stamp = "2";
  assert.notEqual(await component(), first);
});

test("threshold: what is brighter becomes white, as OpenCV's THRESH_BINARY", () => {
  const picture = { width: 2, height: 1, rgb: Uint8Array.from([127, 127, 127, 128, 128, 128]) };
  assert.deepEqual([...controlPicture(picture, "threshold")], [0, 0, 0, 255, 255, 255]);
});

test("kinds of a union by name, as xinsir's ControlNet++ numbers them, or by number; of a single pass every control steers", () => {
  const numbers = {
    ...{ openpose: 0, depth: 1, hed: 2, softedge: 2, scribble: 2, canny: 3, lineart: 3, mlsd: 3, normal: 4 },
    ...{ segment: 5, tile: 6, repaint: 7, inpaint: 7, 0: 0, 5: 5 },
  };
  for (const [mode, number] of Object.entries(numbers)) assert.equal(controlMode({ mode }), number, mode);
  assert.equal(controlMode({}), undefined);
  for (const pass of [undefined, "both", "first", "second"] as const) {
    for (const which of ["first", "second"] as const) {
      const use = { file: "a", ...(pass && { pass }) };
      assert.equal(steersPass(use, which, true), pass === undefined || pass === "both" || pass === which);
      assert.ok(steersPass(use, "first", false), pass);
    }
  }
});

test("guess mode is refused by name where a network has none", async () => {
  for (const guesses of [true, false]) {
    const source = { name: "t2i", file: { path: "/t2i", stamp: "1" } };
    const openControl = async () => ({ network: { guesses }, table: new Map([["x", { name: "x", source }]]) });
    const files = new ControlFiles({ checkpoint: { openControl }, provide() {} } as never, async () => ({}) as never);
    const asked = (guess: boolean) => files.ofJob({ controls: [{ file: "t2i", guess }] } as never);
    assert.equal((await asked(false))!.controls.length, 1);
    if (guesses) assert.equal((await asked(true))!.controls[0]!.use.guess, true);
    else await assert.rejects(asked(true), /E_CONTROL t2i: it steers the prompts' answers alike.*--control-guess/);
  }
});

const FLAT = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const checkpoint = await openSdxlFolder(FLAT);

/** A file of such tensors, all zeros; with `config` the folder of a ControlNet that says it of itself. */
async function opened(shapes: Readonly<Record<string, readonly number[]>>, config?: object) {
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    return { name, dtype: "f16", shape, bytes: new Uint8Array(2 * elementCount(shape)) } as const;
  });
  const file = memorySource("control.safetensors", encodeSafetensors(tensors));
  const text = JSON.stringify({ ...JSON.parse(readFileSync(`${FLAT}/unet/config.json`, "utf8")), ...config });
  const folder = {
    name: "control",
    readText: async (path: string) => (path === "config.json" ? text : undefined),
    // The fp16 file is the one that is read where there are both.
    open: async (path: string) =>
      path === "diffusion_pytorch_model.fp16.safetensors"
        ? file
        : path === "diffusion_pytorch_model.safetensors"
          ? memorySource(path, encodeSafetensors([]))
          : undefined,
  };
  const place: FilePlace = config ? { kind: "folder", folder } : { kind: "file", path: "control", file };
  await using sources = new AsyncDisposableStack();
  return await checkpoint.openControl(place, { sources, signal: undefined });
}

/** Convolutions that bring a picture to the latent's size, four for the 16 pixels of this model's cell. */
const hint = (colours: number, halvings: number) => ({
  "controlnet_cond_embedding.conv_in.weight": [4, colours, 3, 3],
  ...Object.fromEntries(
    Array.from({ length: halvings }, (_, i) => [`controlnet_cond_embedding.blocks.${2 * i + 1}.weight`, [4, 4, 3, 3]]),
  ),
});

test("E_CONTROL: a ControlNet of another model, by whichever of its sizes is another", async () => {
  const own = { _class_name: "ControlNetModel" };
  const refused = async (config: object, words: RegExp, [colours, halvings] = [3, 4]) =>
    await assert.rejects(
      opened(hint(colours!, halvings!), { ...own, ...config }),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, "E_CONTROL", error.message);
        return words.test(error.message);
      },
    );
  // Where all is right its weights are asked for.
  await assert.rejects(opened(hint(3, 4), own), /E_SCHEMA/);
  await refused({ cross_attention_dim: 24 }, /it reads text of 24 channels, and .* has 20/);
  await refused({ projection_class_embeddings_input_dim: 64 }, /it is told 64 values beside the time, and .* 60/);
  await refused({ addition_time_embed_dim: 4 }, /values beside the time/);
  await refused({ block_out_channels: [48] }, /its levels \(2x48\) are not those of .* \(2x24\)/);
  await refused({ layers_per_block: 1 }, /its levels \(1x24\)/);
  for (const channels of [4, 9]) {
    await refused({ in_channels: channels }, new RegExp(`it reads ${channels} latent channels, and .* has 8`));
  }
  await refused({}, /it makes one cell of 8 pixels, and .* of 16/, [3, 3]);
  await refused({}, /it makes one cell of 32 pixels/, [3, 5]);
  await refused({}, /it reads pictures of 1 channels \(allowed 3\)/, [1, 4]);
  await refused({ _class_name: "UNet2DConditionModel" }, /its config\.json is that of UNet2DConditionModel/);
});

test("E_CONTROL: a T2I-Adapter of other levels, or of another size of picture", async () => {
  const adapter = (fold: number, channels: readonly number[]) => ({
    "adapter.conv_in.weight": [channels[0]!, 3 * fold ** 2, 3, 3],
    ...Object.fromEntries(channels.map((own, i) => [`adapter.body.${i}.resnets.0.block2.weight`, [own, own, 1, 1]])),
  });
  // This model's level, and the middle; twice the pixels of a cell.
  await assert.rejects(opened(adapter(32, [24, 24])), /E_SCHEMA/);
  for (const [fold, channels] of [
    [16, [24, 24]],
    [64, [24, 24]],
    [32, [24]],
    [32, [24, 48]],
    [32, [24, 24, 24]],
  ] as const) {
    const found = `${channels.join(", ")} channels of ${fold} pixels`;
    await assert.rejects(
      opened(adapter(fold, channels)),
      new RegExp(`E_CONTROL .*a T2I-Adapter with ${found}, and .* takes 24, 24 of 32`),
    );
  }
});
