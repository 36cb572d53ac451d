/** @file safetensors: bytes written by hand, the writer against the reader, sharded indexes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseShardIndex } from "../../src/checkpoint/sharded.ts";
import { HeaderSyntaxError, parseHeaderJson } from "../../src/container/header-json.ts";
import { readSafetensorsHeader, requireKnownDTypes } from "../../src/container/safetensors.ts";
import { memorySource } from "../../src/source/memory.ts";
import { DTYPE_BYTES, type DType } from "../../src/tensor/dtype.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";

const HEADER =
  '{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}} ';

test("a file written by hand", async () => {
  const bytes = Uint8Array.from(
    Buffer.concat([Buffer.from([HEADER.length, 0, 0, 0, 0, 0, 0, 0]), Buffer.from(HEADER), Buffer.alloc(8)]),
  );
  const source = memorySource("hand.safetensors", bytes);
  const { table, metadata } = await readSafetensorsHeader(source);
  const start = 8 + HEADER.length;
  assert.deepEqual([...metadata], [["format", "pt"]]);
  assert.deepEqual(
    [...table.values()],
    [
      { name: "b", dtype: "f16", shape: [2], source, startByte: start + 4, endByte: start + 8 },
      { name: "a", dtype: "f32", shape: [], source, startByte: start, endByte: start + 4 },
    ],
  );
});

function handMade(header: string, dataBytes: number): Uint8Array<ArrayBuffer> {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Uint8Array.from(Buffer.concat([length, Buffer.from(header), Buffer.alloc(dataBytes)]));
}

/** As safetensors 0.8 read them. */
test("what the safetensors library reads: no metadata, empty tensors, white space behind the header", async () => {
  const one = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';
  const read = (header: string, dataBytes = 4) => readSafetensorsHeader(memorySource("x", handMade(header, dataBytes)));
  assert.deepEqual((await read(`{"__metadata__":null,${one}}`)).metadata, new Map());
  const { table } = await read(`{"v_pred":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},${one}}\t\n `);
  assert.deepEqual(
    [...table.values()].map(({ name, shape }) => [name, ...shape]),
    [
      ["v_pred", 0],
      ["a", 1],
    ],
  );
  // An empty one stands where another begins, in whichever order they are named.
  const behind = '"z":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}';
  assert.deepEqual([...(await read(`{${one},${behind}}`)).table.keys()], ["a", "z"]);
  assert.equal((await read("{}", 0)).table.size, 0);
});

test("dtypes that nothing computes with are named, with their sizes, and are no weights", async () => {
  // Elements that safetensors 0.8 takes for 12 bytes.
  const counts = { F4: 24, F6_E2M3: 16, F6_E3M2: 16, F8_E4M3: 12, F8_E5M2: 12, F8_E8M0: 12, F8_E4M3FNUZ: 12 };
  for (const [dtype, count] of Object.entries({ ...counts, F8_E5M2FNUZ: 12 })) {
    const header = `{"w":{"dtype":"${dtype}","shape":[${count}],"data_offsets":[0,12]}}`;
    const read = await readSafetensorsHeader(memorySource("x", handMade(header, 12)));
    const [tensor] = read.foreign.values();
    assert.deepEqual([read.table.size, tensor?.dtype, tensor?.shape], [0, dtype, [count]]);
    assert.throws(() => requireKnownDTypes(read, "unet", "weights"), {
      code: "E_ST_DTYPE",
      message: new RegExp(`unet: tensor "w" is ${dtype}, which .* weights yet. Next: use the model's fp16`),
    });
  }
});

test("only the header is read", async () => {
  const bytes = encodeSafetensors([{ name: "w", dtype: "u8", shape: [1000], bytes: new Uint8Array(1000) }]);
  const whole = memorySource("w.safetensors", bytes);
  let furthest = 0;
  await readSafetensorsHeader({
    ...whole,
    read: async (startByte, into, signal) => {
      furthest = Math.max(furthest, startByte + into.byteLength);
      await whole.read(startByte, into, signal);
    },
  });
  assert.ok(furthest <= bytes.length - 1000);
});

test("what is written is read back", async () => {
  const tensor = fc
    .record({
      name: fc.oneof(
        fc.string({ unit: "grapheme", maxLength: 20 }),
        fc.constantFrom("__proto__", "constructor", "a\u0301", "\u00e1", '"\\\n'),
      ),
      dtype: fc.constantFrom(...(Object.keys(DTYPE_BYTES) as DType[])),
      shape: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }),
    })
    .filter(({ name }) => name !== "__metadata__")
    .map((entry) => ({
      ...entry,
      bytes: new Uint8Array(entry.shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[entry.dtype]),
    }));
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(tensor, { selector: ({ name }) => name, minLength: 1 }), async (tensors) => {
      const bytes = encodeSafetensors(tensors, { note: "é" });
      const { table, metadata } = await readSafetensorsHeader(memorySource("t", bytes));
      assert.equal(metadata.get("note"), "é");
      assert.deepEqual(
        [...table.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape })),
        tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
      );
    }),
  );
});

test("the writer refuses wrong sizes and names given twice", () => {
  const tensor = { name: "w", dtype: "f16", shape: [2], bytes: new Uint8Array(4) } as const;
  assert.throws(
    () => encodeSafetensors([{ ...tensor, shape: [3] }]),
    /E_SIZE w: shape \[3\] of f16 needs 6 bytes \(found 4\)/,
  );
  assert.throws(() => encodeSafetensors([tensor, tensor]), /E_DUP_KEY/);
});

test("free-form metadata: any value that Python's json writes", () => {
  const text =
    '{"a":1.5,"b":null,"c":true,"d":[-1,NaN,-Infinity,1e-3],"e":{"f":{"g":[{"h":false}]}},"i":18446744073709551616}';
  const { shards } = parseShardIndex(`{"metadata":${text},"weight_map":{"w":"m.safetensors"}}`, "i.json");
  assert.deepEqual(shards, ["m.safetensors"]);
  for (const bad of ["nul", "01", "1.", "-", "+1", ".5", "truefalse", "--1", "Nan", "1e"]) {
    assert.throws(() => parseHeaderJson(`[${bad}]`, 10), /at|expected/, bad);
  }
});

test("header values are JSON's own, apart from what no header needs", () => {
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.string({ unit: "grapheme" }),
        fc.oneof(fc.string({ unit: "grapheme" }), fc.maxSafeNat(), fc.array(fc.nat())),
      ),
      (value) => {
        const plain = Object.fromEntries(Object.entries(value));
        const read = parseHeaderJson(JSON.stringify(value, null, 1), 1000);
        assert.deepEqual(Object.fromEntries(read as Map<string, unknown>), plain);
      },
    ),
  );
});

test("a tensor's bytes are as many as its shape and dtype say, of every dtype of the format", async () => {
  // Bits of an element (safetensors 0.8, Dtype::bitsize); eight elements, so that each ends at a byte.
  const bits = {
    ...{ F64: 64, F32: 32, F16: 16, BF16: 16, I64: 64, I32: 32, I16: 16, I8: 8, U64: 64, U32: 32, U16: 16, U8: 8 },
    ...{ BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, F8_E4M3: 8, F8_E5M2: 8, F8_E8M0: 8, C64: 64 },
  };
  for (const [dtype, each] of Object.entries(bits)) {
    const read = (count: number) =>
      readSafetensorsHeader(
        memorySource("x", handMade(`{"w":{"dtype":"${dtype}","shape":[2,4],"data_offsets":[0,${count}]}}`, count)),
      );
    const { table, foreign } = await read(each);
    const known = { BOOL: "bool" }[dtype] ?? dtype.toLowerCase();
    assert.equal(table.get("w")?.dtype ?? foreign.get("w")?.dtype.toLowerCase(), known);
    for (const other of [each - 1, each + 1, 2 * each, each / 2])
      await assert.rejects(read(other), { code: "E_SIZE", message: new RegExp(`needs ${each} bytes`) }, dtype);
  }
});

test("the reader of headers takes JSON as strictly as JSON.parse, four levels deep, and says where it ends", () => {
  const refused = (text: string, maxFields = 9) => {
    try {
      return [parseHeaderJson(text, maxFields)];
    } catch (error) {
      return error instanceof HeaderSyntaxError ? `${error.code} ${error.offset}` : error;
    }
  };
  assert.deepEqual(refused("[[[1]]]"), [[[[1]]]]);
  assert.equal(refused("[[[[1]]]]"), "E_ST_HEADER 4");
  assert.equal(refused("{}{"), "E_ST_HEADER 2");
  assert.deepEqual(refused(' { "a" : [ ] , "b" : { } } \n'), [
    new Map<string, unknown>([
      ["a", []],
      ["b", new Map()],
    ]),
  ]);
  for (const text of [
    '{"a":1,}',
    "{,}",
    "[1,]",
    "[,]",
    '{"a"}',
    '{"a" 1}',
    '{"a":}',
    '{"a":1 "b":2}',
    "[1 2]",
    "{a:1}",
    "{1:1}",
  ])
    assert.match(String(refused(text)), /E_ST_HEADER/, text);
  for (const text of [
    '"\n"',
    '"\t"',
    '"\u001f"',
    '"abc',
    '"\\"',
    '"\\x"',
    '"\\u12"',
    '"',
    "'a'",
    "tru",
    "nul",
    "01",
    "+1",
    ".5",
    "1.",
    "",
  ])
    assert.match(String(refused(text)), /E_ST_HEADER/, JSON.stringify(text));
  assert.deepEqual(refused('"\\"\\u00e9\\n"'), ['"\u00e9\n']);
  const twice = '{"\u00e9":1,"b":{"b":2,"c":3},"\\u00e9":4}';
  assert.equal(refused(twice), `E_DUP_KEY ${Buffer.from(twice).lastIndexOf('"\\u')}`);
  assert.equal((refused('{"a":1,"b":2}', 2) as [Map<string, number>])[0].size, 2);
  assert.match(String(refused('{"a":1,"b":2,"c":3}', 2)), /E_ST_HEADER/);
  assert.deepEqual(refused("[9007199254740991,9007199254740992,-1,1.5,1e2,NaN,-Infinity]"), [
    [9007199254740991, ...["9007199254740992", "-1", "1.5", "1e2", "NaN", "-Infinity"].map((digits) => ({ digits }))],
  ]);
});

const index = (map: object) => JSON.stringify({ metadata: { total_size: 12 }, weight_map: map });

test("a shard index names its shards once, in order", () => {
  const { shards, weightMap } = parseShardIndex(
    index({ b: "m-2.safetensors", a: "m-1.safetensors", c: "m-2.safetensors" }),
    "i.json",
  );
  assert.deepEqual(shards, ["m-2.safetensors", "m-1.safetensors"]);
  assert.deepEqual(
    [...weightMap],
    [
      ["b", "m-2.safetensors"],
      ["a", "m-1.safetensors"],
      ["c", "m-2.safetensors"],
    ],
  );
});

for (const shard of [
  "../m.safetensors",
  "/m.safetensors",
  "a/m.safetensors",
  "a\\m.safetensors",
  "C:m.safetensors",
  ".safetensors",
  "m.bin",
  "",
  "m\u0000.safetensors",
  5,
]) {
  test(`B24 shard name ${JSON.stringify(shard)} is refused`, () => {
    assert.throws(() => parseShardIndex(index({ a: shard }), "i.json"), {
      name: "ArtifactError",
      code: "E_SHARD_INDEX",
    });
  });
}

test("B24 an index without tensors, with a tensor twice, or that is no JSON is refused", () => {
  assert.throws(() => parseShardIndex("{}", "i.json"), /E_SHARD_INDEX i\.json: no weight_map/);
  assert.throws(() => parseShardIndex(index({}), "i.json"), /E_SHARD_INDEX/);
  assert.throws(() => parseShardIndex("<html>", "i.json"), /E_SHARD_INDEX|E_ST_HEADER/);
  assert.throws(
    () => parseShardIndex('{"weight_map":{"a":"m.safetensors","a":"n.safetensors"}}', "i.json"),
    /E_DUP_KEY/,
  );
});

test("B24 an index names at most 1,024 shards", () => {
  const shards = (count: number) =>
    index(Object.fromEntries(Array.from({ length: count }, (_, i) => [`t${i}`, `m-${i}.safetensors`])));
  assert.equal(parseShardIndex(shards(1024), "i.json").shards.length, 1024);
  assert.throws(() => parseShardIndex(shards(1025), "i.json"), { code: "E_SHARD_INDEX", message: /found 1025/ });
});
