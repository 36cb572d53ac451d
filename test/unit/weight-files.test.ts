/** @file Which files a model's weights come from, and which weights are not a model's: preferences, shards, dtypes, widths. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openWeights } from "../../src/checkpoint/weight-folder.ts";
import { readSafetensorsHeader } from "../../src/container/safetensors.ts";
import { openModelFolder } from "../../src/models/families.ts";
import { weightFiles } from "../../src/models/sdxl/files.ts";
import type { Folder } from "../../src/source/folder.ts";
import { memorySource } from "../../src/source/memory.ts";
import { DTYPE_BYTES, type DType, elementCount } from "../../src/tensor/dtype.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";

type Files = Map<string, Uint8Array<ArrayBuffer>>;

const MODEL = fileURLToPath(new URL("../../fixtures/golden/odd", import.meta.url));

function modelFiles(): Files {
  const names = globSync("**/*.{json,txt,safetensors}", { cwd: MODEL });
  return new Map(names.map((file) => [file.replaceAll("\\", "/"), Uint8Array.from(readFileSync(`${MODEL}/${file}`))]));
}

function folderOf(files: Files, opened: string[] = [], closed: string[] = []): Folder {
  return {
    name: "model",
    readText: async (path) => {
      const bytes = files.get(path);
      return bytes && new TextDecoder().decode(bytes);
    },
    open: async (path) => {
      const bytes = files.get(path);
      if (bytes) opened.push(path);
      return bytes && { ...memorySource(path, bytes), [Symbol.asyncDispose]: async () => void closed.push(path) };
    },
  };
}

/** One-element tensors that hold `mark`. */
const marked = (mark: number, ...names: readonly string[]) =>
  encodeSafetensors(names.map((name) => ({ name, dtype: "u8" as const, shape: [1], bytes: Uint8Array.of(mark) })));

const indexOf = (weightMap: Readonly<Record<string, string>>) =>
  Uint8Array.from(Buffer.from(JSON.stringify({ metadata: {}, weight_map: weightMap })));

async function marksOf(files: Files): Promise<Record<string, number>> {
  await using sources = new AsyncDisposableStack();
  const table = await openWeights(folderOf(files), "unet", weightFiles("m", ["fp16", "none"]), { sources });
  const marks: Record<string, number> = {};
  for (const [name, { source, startByte }] of table) {
    const byte = new Uint8Array(1);
    await source.read(startByte, byte);
    marks[name] = byte[0]!;
  }
  return marks;
}

test("fp16 before fp32, one file before shards, and what there is where others are not", async () => {
  const order: readonly (readonly [string, Uint8Array<ArrayBuffer>])[] = [
    ["unet/m.fp16.safetensors", marked(1, "w")],
    ["unet/m.safetensors.index.fp16.json", indexOf({ w: "m.fp16-1.safetensors" })],
    ["unet/m.safetensors", marked(3, "w")],
    ["unet/m.safetensors.index.json", indexOf({ w: "m-1.safetensors" })],
  ];
  const files: Files = new Map([
    ...order,
    ["unet/m.fp16-1.safetensors", marked(2, "w")],
    ["unet/m-1.safetensors", marked(4, "w")],
    ["vae/m.fp16.safetensors", marked(5, "w")],
  ]);
  for (const [i, [file]] of order.entries()) {
    assert.deepEqual(await marksOf(files), { w: i + 1 });
    files.delete(file);
  }
  await assert.rejects(marksOf(files), {
    code: "E_MISSING",
    message: /model\/unet\/m\.fp16\.safetensors \(or m\.safetensors\)/,
  });
});

test("a whole model takes fp16 where both are there, in each of its folders", async () => {
  const files = modelFiles();
  for (const file of [...files.keys()]) {
    if (file.endsWith(".fp16.safetensors")) files.set(file.replace(".fp16", ""), marked(0, "not read"));
  }
  const opened: string[] = [];
  await using checkpoint = await openModelFolder(folderOf(files, opened));
  assert.equal(checkpoint.components.size, 5);
  assert.equal(opened.length, 4);
  assert.ok(
    opened.every((path) => path.endsWith(".fp16.safetensors")),
    opened.join(),
  );
});

test("a tensor comes from the shard that the index names, whatever other shards hold", async () => {
  const files: Files = new Map([
    ["unet/m.safetensors.index.json", indexOf({ a: "one.safetensors", b: "two.safetensors", c: "one.safetensors" })],
    ["unet/one.safetensors", marked(1, "a", "b", "c")],
    ["unet/two.safetensors", marked(2, "c", "b", "a", "d")],
  ]);
  assert.deepEqual(await marksOf(files), { a: 1, b: 2, c: 1 });
  files.set("unet/two.safetensors", marked(2, "a"));
  await assert.rejects(marksOf(files), {
    code: "E_SCHEMA",
    message: /tensor "b" is not in its shard two\.safetensors/,
  });
  files.delete("unet/two.safetensors");
  await assert.rejects(marksOf(files), { code: "E_MISSING", message: /two\.safetensors/ });
  const alone: Files = new Map([
    ["unet/m.safetensors.index.json", indexOf({ a: "one.safetensors", b: "one.safetensors" })],
    ["unet/one.safetensors", marked(1, "a")],
  ]);
  await assert.rejects(marksOf(alone), {
    code: "E_SCHEMA",
    message: /tensor "b" is not in its shard one\.safetensors/,
  });
});

test("what was opened is closed with its owner, also where a later shard is missing", async () => {
  const files: Files = new Map([
    ["unet/m.safetensors.index.json", indexOf({ a: "one.safetensors", b: "two.safetensors" })],
    ["unet/one.safetensors", marked(1, "a")],
    ["unet/two.safetensors", marked(2, "b")],
  ]);
  const openAndClose = async () => {
    const [opened, closed]: [string[], string[]] = [[], []];
    {
      await using sources = new AsyncDisposableStack();
      await openWeights(folderOf(files, opened, closed), "unet", weightFiles("m", ["none"]), { sources }).catch(
        () => undefined,
      );
      assert.deepEqual(closed, []);
    }
    assert.deepEqual(closed.toSorted(), opened);
    return closed.length;
  };
  assert.equal(await openAndClose(), 2);
  files.delete("unet/two.safetensors");
  assert.equal(await openAndClose(), 1);
});

test("the headers of all shards are read under the signal", async () => {
  const files: Files = new Map([
    ["unet/m.safetensors.index.json", indexOf({ a: "one.safetensors" })],
    ["unet/one.safetensors", marked(1, "a")],
  ]);
  const stop = new Error("stop");
  const signal = AbortSignal.abort(stop);
  for (const names of [weightFiles("m", ["none"]), ["one.safetensors"]]) {
    await using sources = new AsyncDisposableStack();
    await assert.rejects(openWeights(folderOf(files), "unet", names, { sources, signal }), stop);
  }
});

interface Stored {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

async function tensorsOf(bytes: Uint8Array<ArrayBuffer>): Promise<Stored[]> {
  const { table } = await readSafetensorsHeader(memorySource("x", bytes));
  return [...table.values()].map(({ name, dtype, shape, startByte, endByte }) => ({
    ...{ name, dtype, shape },
    bytes: bytes.subarray(startByte, endByte),
  }));
}

const WEIGHTS = {
  unet: "unet/diffusion_pytorch_model.fp16.safetensors",
  text_encoder: "text_encoder/model.fp16.safetensors",
  text_encoder_2: "text_encoder_2/model.fp16.safetensors",
  vae: "vae/diffusion_pytorch_model.fp16.safetensors",
} as const;

test("weights are f16, bf16 or f32, of the shapes of their network: else the model is refused, in each folder", async () => {
  const files = modelFiles();
  for (const [folder, file] of Object.entries(WEIGHTS)) {
    const tensors = await tensorsOf(files.get(file)!);
    const read = tensors.filter(({ name }) => !/^(encoder|quant_conv)\./.test(name) || folder !== "vae");
    const at = tensors.indexOf(read.filter(({ shape }) => shape.length > 1).at(-1)!);
    const open = async <T = number>(
      change: (tensor: Stored) => readonly Stored[],
      read: (checkpoint: Awaited<ReturnType<typeof openModelFolder>>) => T = ({ components }) => components.size as T,
    ) => {
      const changed = new Map(files).set(
        file,
        encodeSafetensors(tensors.flatMap((one, i) => (i === at ? change(one) : [one]))),
      );
      await using checkpoint = await openModelFolder(folderOf(changed));
      return read(checkpoint);
    };
    const as = (dtype: DType) => (tensor: Stored) => [
      { ...tensor, dtype, bytes: new Uint8Array(elementCount(tensor.shape) * DTYPE_BYTES[dtype]) },
    ];
    for (const dtype of ["f16", "bf16", "f32"] as const) assert.equal(await open(as(dtype)), 5);
    for (const dtype of ["f64", "i8", "u8", "i16", "u16", "i32", "bool", "i64"] as const) {
      await assert.rejects(open(as(dtype)), {
        code: "E_SCHEMA",
        message: new RegExp(`model/${folder}: tensor .*: dtype ${dtype}, expected`),
      });
    }
    const reshaped = (tensor: Stored) => [{ ...tensor, shape: [tensor.shape.reduce((a, b) => a * b)] }];
    await assert.rejects(open(reshaped), { code: "E_SCHEMA", message: /shape \[\d+\] expected \[/ });
    await assert.rejects(
      open(() => []),
      { code: "E_SCHEMA", message: /1 tensors are missing/ },
    );
    const more = (name: string) => (tensor: Stored) => [tensor, { ...tensor, name }];
    const notes: readonly string[] = await open(more("nobody's"), (checkpoint) => checkpoint.notes);
    assert.deepEqual(notes, [`${folder}: 1 tensor that nothing reads is left aside, first "nobody's"`]);
    await assert.rejects(open(more("nobody's.lora_up.weight")), {
      code: "E_SCHEMA",
      message: /1 tensors are not SDXL's, first "nobody's/,
    });
  }
});

test("configs that don't belong together are refused by what one gives and the other reads", async () => {
  const open = async (file: string, fields: Readonly<Record<string, unknown>>) => {
    const files = modelFiles();
    const config = { ...JSON.parse(Buffer.from(files.get(file)!).toString()), ...fields };
    files.set(file, Uint8Array.from(Buffer.from(JSON.stringify(config))));
    await using _ = await openModelFolder(folderOf(files));
  };
  const config = JSON.parse(Buffer.from(modelFiles().get("unet/config.json")!).toString());
  const { projection_class_embeddings_input_dim: addition, cross_attention_dim: context } = config;
  await open("unet/config.json", {});
  for (const [fields, message] of [
    [
      { projection_class_embeddings_input_dim: addition + 1 },
      `pooled text and time ids give ${addition} channels, the UNet reads ${addition + 1}`,
    ],
    [
      { addition_time_embed_dim: 8 },
      `pooled text and time ids give ${addition + 6} channels, the UNet reads ${addition}`,
    ],
    [{ cross_attention_dim: context + 1 }, `the text encoders give ${context} channels, the UNet reads ${context + 1}`],
    [{ in_channels: 8 }, "the UNet reads 8 latent channels and gives 4, the VAE has 4"],
    [{ out_channels: 8 }, "the UNet reads 4 latent channels and gives 8, the VAE has 4"],
  ] as const) {
    await assert.rejects(open("unet/config.json", fields), { code: "E_SCHEMA", message: new RegExp(message) });
  }
  await assert.rejects(open("text_encoder_2/config.json", { projection_dim: 13 }), {
    code: "E_SCHEMA",
    message: /pooled text and time ids give/,
  });
});
