/** @file 8-bit floats: every byte against torch, any piece of a tensor, scales and what says how they are meant. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fp8ToNumber, widenedFp8 } from "../../src/checkpoint/fp8.ts";
import { transposed, VIEW_BYTES } from "../../src/checkpoint/views.ts";
import { readWeightTable } from "../../src/checkpoint/weight-header.ts";
import type { TensorEntry } from "../../src/container/table.ts";
import { memorySource } from "../../src/source/memory.ts";
import { elementCount, f16ToNumber } from "../../src/tensor/dtype.ts";

const TORCH = Uint8Array.from(readFileSync(new URL("../../fixtures/single-file/fp8.f32", import.meta.url)));
const VALUES = { F8_E4M3: new Float32Array(TORCH.buffer, 0, 256), F8_E5M2: new Float32Array(TORCH.buffer, 1024, 256) };

interface Raw {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

function fileOf(tensors: Readonly<Record<string, Raw>>, metadata?: Readonly<Record<string, string>>) {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {};
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const bytes = Buffer.concat([length, json, ...Object.values(tensors).map((tensor) => tensor.bytes)]);
  return memorySource("x.safetensors", Uint8Array.from(bytes));
}

const EVERY = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const floats = (shape: readonly number[], ...values: number[]): Raw => ({
  dtype: "F32",
  shape,
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});
const eight = (shape: readonly number[] = [16, 16], dtype = "F8_E4M3"): Raw => ({ dtype, shape, bytes: EVERY });

async function bytesOf(entry: TensorEntry, from = 0, to = entry.endByte - entry.startByte): Promise<Uint8Array> {
  const into = new Uint8Array(to - from);
  await entry.source.read(entry.startByte + from, into);
  return into;
}

test("every byte is torch's value, and as fp16 the same", async () => {
  for (const dtype of ["F8_E4M3", "F8_E5M2"] as const) {
    for (let byte = 0; byte < 256; byte++)
      assert.ok(Object.is(fp8ToNumber(dtype, byte), VALUES[dtype][byte]), `${dtype} ${byte}`);
    const entry = (await readWeightTable(fileOf({ "a.weight": eight([16, 16], dtype) }))).get("a.weight")!;
    assert.equal(entry.dtype, "f16");
    const halves = new Uint16Array((await bytesOf(entry)).slice().buffer);
    assert.deepEqual(Array.from(halves, f16ToNumber), [...VALUES[dtype]]);
  }
});

test("with a scale: one fp32 multiplication, for all or by row; any piece is the same", async () => {
  const scales = Array.from({ length: 16 }, (_, i) => Math.fround(0.1 + i / 7));
  const marker = { dtype: "F8_E4M3", shape: [2], bytes: Uint8Array.of(0, 0) };
  for (const [scale, of] of [
    [floats([], scales[3]!), () => scales[3]!],
    [floats([16, 1], ...scales), (i: number) => scales[i >> 4]!],
  ] as const) {
    const file = fileOf({
      "m.scaled_fp8": marker,
      "m.a.weight": eight(),
      "m.a.scale_weight": scale,
      "m.a.scale_input": floats([], 7),
    });
    const table = await readWeightTable(file);
    assert.deepEqual([...table.keys()], ["m.a.weight"]);
    const entry = table.get("m.a.weight")!;
    assert.equal(entry.dtype, "f32");
    const whole = await bytesOf(entry);
    const got = new Float32Array(whole.slice().buffer);
    assert.deepEqual(
      [...got],
      Array.from(VALUES.F8_E4M3, (value, i) => Math.fround(value * of(i))),
    );
    for (const [from, to] of [
      [0, 1],
      [3, 9],
      [4, 4],
      [61, 1023],
      [64, 128],
      [1021, 1024],
    ] as const) {
      assert.deepEqual(await bytesOf(entry, from, to), whole.slice(from, to));
    }
  }
});

test("a tensor larger than what is read at a time, in pieces that begin anywhere", async () => {
  const shape = [3, 200_001];
  const bytes = Uint8Array.from({ length: elementCount(shape) }, (_, i) => (i * 31) % 127);
  const tensors = {
    "a.weight": { dtype: "F8_E4M3", shape, bytes },
    "a.weight_scale": floats([3, 1], 1, 2, 3),
    scaled_fp8: floats([1], 0),
  };
  const entry = (await readWeightTable(fileOf(tensors))).get("a.weight")!;
  const got = new Float32Array((await bytesOf(entry)).slice().buffer);
  const wrong = got.findIndex((value, i) => value !== VALUES.F8_E4M3[bytes[i]!]! * (1 + Math.floor(i / shape[1]!)));
  assert.equal(wrong, -1);
  const from = 4 * 199_990 + 3;
  assert.deepEqual(await bytesOf(entry, from, from + 700_000), new Uint8Array(got.buffer).slice(from, from + 700_000));
});

test("scales count only where the file says how: by prefix, by layer, in its metadata", async () => {
  const scaled = { "m.a.weight": eight(), "m.a.weight_scale": floats([1], 2) };
  const json = (value: object) => Buffer.from(JSON.stringify(value));
  const layer = (value: object) => {
    const bytes = json(value);
    return { dtype: "U8", shape: [bytes.length], bytes };
  };
  const told = [
    fileOf({ ...scaled, scaled_fp8: floats([0]) }),
    fileOf({ ...scaled, "m.a.comfy_quant": layer({ format: "float8_e4m3fn" }) }),
    fileOf(scaled, { _quantization_metadata: JSON.stringify({ layers: { "m.a": { format: "float8_e4m3fn" } } }) }),
  ];
  for (const file of told) {
    const table = await readWeightTable(file);
    assert.deepEqual(
      [...table].map(([name, { dtype }]) => [name, dtype]),
      [["m.a.weight", "f32"]],
    );
  }
  const refused: readonly (readonly [ReturnType<typeof fileOf>, object])[] = [
    [
      fileOf(scaled),
      {
        code: "E_FP8_SCALE",
        message: /"m\.a\.weight" has a scale "m\.a\.weight_scale", and nothing in the file says how/,
      },
    ],
    [fileOf({ ...scaled, "other.scaled_fp8": floats([0]) }), { code: "E_FP8_SCALE" }],
    [
      fileOf({ ...scaled, "m.a.comfy_quant": layer({ format: "float8_e5m2" }) }),
      { code: "E_FP8_SCALE", message: /of the format "float8_e5m2"/ },
    ],
    [fileOf({ ...scaled, "m.a.comfy_quant": layer({ format: "__proto__" }) }), { code: "E_FP8_SCALE" }],
    [
      fileOf({ ...scaled, "m.a.comfy_quant": { dtype: "U8", shape: [1], bytes: Uint8Array.of(123) } }),
      { code: "E_FP8_SCALE", message: /is not JSON/ },
    ],
    [
      fileOf({ ...scaled, scaled_fp8: floats([0]), "m.a.weight_scale": floats([1], Number.NaN) }),
      { code: "E_NONFINITE" },
    ],
    [
      fileOf({
        ...scaled,
        scaled_fp8: floats([0]),
        "m.a.weight_scale": floats([16], ...new Array<number>(16).fill(1)),
      }),
      { code: "E_FP8_SCALE", message: /f32 \[16\], allowed/ },
    ],
  ];
  const rows = (count: number, dtype = "F32") => ({ dtype, shape: [count, 1], bytes: new Uint8Array(count * 4) });
  for (const [scale, found] of [
    // Neither one for all nor one for each of the 16 rows.
    [rows(8), "f32 [8,1]"],
    [rows(17), "f32 [17,1]"],
    [{ ...rows(32), shape: [16, 2] }, "f32 [16,2]"],
    [floats([0]), "f32 [0]"],
    [rows(16, "I32"), "i32 [16,1]"],
  ] as const) {
    const file = fileOf({ ...scaled, scaled_fp8: floats([0]), "m.a.weight_scale": scale });
    const message = `the scale "m.a.weight_scale" is ${found}, allowed`;
    await assert.rejects(readWeightTable(file), (error: Error) => error.message.includes(message), found);
  }
  for (const [file, error] of refused) await assert.rejects(readWeightTable(file), error);
});

test("rows of more scales than any weight has are refused before they are read", async () => {
  const file = (count: number) =>
    fileOf({
      "a.weight": { dtype: "F8_E4M3", shape: [count, 1], bytes: new Uint8Array(count).fill(0x38) },
      "a.weight_scale": { dtype: "F32", shape: [count, 1], bytes: new Uint8Array(4 * count) },
      scaled_fp8: floats([0]),
    });
  assert.equal((await readWeightTable(file(65_536))).get("a.weight")!.dtype, "f32");
  await assert.rejects(readWeightTable(file(65_537)), { code: "E_FP8_SCALE", message: /f32 \[65537,1\]/ });
});

test("beside 8-bit weights, what nothing here computes with is refused all the same", async () => {
  const others = { dtype: "F4", shape: [2], bytes: Uint8Array.of(1) };
  await assert.rejects(readWeightTable(fileOf({ "a.weight": eight(), "b.weight": others })), {
    code: "E_ST_DTYPE",
    message: /"b\.weight" is F4/,
  });
});

test("what says how one layer is meant is short: a longer one says nothing", async () => {
  const quant = (bytes: Uint8Array) => ({ dtype: "U8", shape: [bytes.length], bytes });
  const text = (length: number) => Buffer.from(JSON.stringify({ format: "float8_e4m3fn" }).padEnd(length));
  const file = (length: number) =>
    fileOf({ "a.weight": eight(), "a.weight_scale": floats([1], 2), "a.comfy_quant": quant(text(length)) });
  assert.deepEqual([...(await readWeightTable(file(4096))).keys()], ["a.weight"]);
  await assert.rejects(readWeightTable(file(4097)), { code: "E_FP8_SCALE" });
});

test("what reading takes of memory is told: by a view, and by a view of a view", async () => {
  const tensor = { name: "w", dtype: "F8_E4M3" as const, shape: [4, 6] };
  const source = memorySource(
    "file",
    Uint8Array.from({ length: 24 }, (_, i) => i),
  );
  const wide = widenedFp8({ ...tensor, source, startByte: 0, endByte: 24 });
  assert.equal(wide.source.readingBytes, VIEW_BYTES);
  const turned = transposed(wide);
  assert.equal(turned.source.readingBytes, 2 * VIEW_BYTES);
  assert.equal(transposed({ ...wide, source }).source.readingBytes, VIEW_BYTES);
  const values = new Uint8Array(turned.endByte);
  await turned.source.read(0, values);
  const halves = new Uint16Array(values.buffer);
  const expected = Array.from({ length: 24 }, (_, i) => fp8ToNumber(tensor.dtype, (i % 4) * 6 + Math.floor(i / 4)));
  assert.deepEqual([...halves].map(f16ToNumber), expected);
});
