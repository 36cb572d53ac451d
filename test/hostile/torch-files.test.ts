/** @file Files of torch.save: PyTorch's own tensors, and files that want more than tensors (scripts/golden/torch_file_golden.py). */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { unpickle } from "../../src/container/pickle.ts";
import { called, globalNamed } from "../../src/container/pickle-globals.ts";
import { PickledStorage, PickledTensor, PickleError, PickleTuple } from "../../src/container/pickle-value.ts";
import { readTorchFile } from "../../src/container/torch-file.ts";
import { entryStart, readZipDirectory } from "../../src/container/zip-directory.ts";
import { ArtifactError } from "../../src/errors.ts";
import { memorySource } from "../../src/source/memory.ts";
import { bytesOf } from "../support/table-bytes.ts";
import { randomOf } from "../unit/store-fixture.ts";

const FIXTURES = new URL("../../fixtures/torch-files/", import.meta.url);
const fixture = (name: string) => new Uint8Array(readFileSync(new URL(name, FIXTURES)));
const read = (name: string, bytes = fixture(name)) => readTorchFile(memorySource(name, bytes));

interface Golden {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: string;
}
const golden = JSON.parse(readFileSync(new URL("golden.json", FIXTURES), "utf8")) as Readonly<
  Record<string, Readonly<Record<string, Golden>>>
>;
const DTYPES: Readonly<Record<string, string>> = {
  ...{ float64: "f64", float32: "f32", float16: "f16", bfloat16: "bf16", bool: "bool" },
  ...{ int64: "i64", int32: "i32", int16: "i16", int8: "i8", uint8: "u8" },
};

for (const name of ["zip.pth", "legacy.pth", "protocol-4.pth"]) {
  test(`${name}: PyTorch's tensors, byte for byte, read where they lie`, async () => {
    const tables = await read(name);
    assert.deepEqual([...tables.keys()].sort(), Object.keys(golden).sort());
    for (const [path, group] of Object.entries(golden)) {
      const table = tables.get(path)!;
      assert.deepEqual([...table.keys()].sort(), Object.keys(group).sort());
      const bytes = await bytesOf(table);
      for (const [key, expected] of Object.entries(group)) {
        const { dtype, shape } = table.get(key)!;
        assert.deepEqual({ dtype, shape }, { dtype: DTYPES[expected.dtype], shape: expected.shape }, key);
        assert.equal(bytes.get(key)!.toString("hex"), expected.bytes, key);
      }
    }
  });
}

test("a bare state dict has no path", async () => {
  const tables = await read("plain.pth");
  assert.deepEqual([...tables.keys()], [""]);
  assert.deepEqual([...tables.get("")!.keys()], ["0.weight", "0.bias", "1.weight"]);
});

const refusal =
  (about: RegExp, code = /^E_(PICKLE|ZIP|TRUNCATED)$/) =>
  (error: unknown) => {
    assert.ok(error instanceof ArtifactError, String(error));
    assert.match(error.code, code);
    assert.match(error.message, about);
    return true;
  };

for (const [name, about] of [
  ["runs-code.pth", /asks for (posix|nt)\.system/],
  ["runs-code-legacy.pth", /asks for (posix|nt)\.system/],
  ["module.pth", /asks for torch\.nn\.modules\.container\.Sequential/],
  ["numpy.pth", /asks for numpy/],
  ["turned.pth", /strides \[1, 4\]/],
  ["expanded.pth", /strides \[0\]|beyond its storage/],
  ["script.pth", /TorchScript/],
] as const) {
  test(`${name} is refused by what it wants`, async () => {
    await assert.rejects(read(name), refusal(about));
    assert.ok(!existsSync("/tmp/solvay-was-here"));
  });
}

test("numbers of the other byte order are refused, in both forms", async () => {
  const zip = fixture("zip.pth");
  const order = Buffer.from(zip).indexOf("little");
  zip.set(Buffer.from("big   "), order);
  await assert.rejects(read("zip.pth", zip), refusal(/not little-endian/));
  const legacy = fixture("legacy.pth");
  // The key, where the unpickler remembers it, and True.
  const yes = legacy.indexOf(0x88, Buffer.from(legacy).indexOf("little_endian"));
  legacy[yes] = 0x89;
  await assert.rejects(read("legacy.pth", legacy), refusal(/not little-endian/));
});

/** Instructions as bytes; text as Latin-1. */
function pickle(...parts: readonly (string | readonly number[])[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : Buffer.from(part))),
  );
}

for (const [what, bytes, about] of [
  ["eval", pickle([0x80, 2], "c__builtin__\neval\n", [0x58, 1, 0, 0, 0], "1", [0x85], "R."), /__builtin__\.eval/],
  [
    "exec by name on the stack",
    pickle([0x80, 4, 0x8c, 8], "builtins", [0x8c, 4], "exec", [0x93], "."),
    /builtins\.exec/,
  ],
  ["INST", pickle("(ios\nsystem\n."), /instruction 0x69/],
  ["OBJ", pickle("(cos\nsystem\no."), /os\.system/],
  ["NEWOBJ", pickle("ccollections\nOrderedDict\n)", [0x81], "."), /instruction 0x81/],
  ["EXT1", pickle([0x82, 1], "."), /instruction 0x82/],
  ["torch.load within", pickle("ctorch.storage\n_load_from_bytes\n."), /_load_from_bytes/],
  ["a name that only begins well", pickle("ctorch._utils\n_rebuild_tensor_v2.__globals__\n."), /__globals__/],
  ["a call of a dictionary", pickle("})R."), /can't be called/],
  ["attributes of a tuple", pickle(")}b."), /attributes/],
  ["no end", pickle("}"), /ends too soon/],
  ["nothing on the stack", pickle("."), /stack is empty/],
  ["an unknown memo", pickle("h\x05."), /memo has no entry 5/],
  ["marks without end", pickle("(".repeat(1000)), /marks nest deeper/],
  ["a stack without end", pickle("N".repeat(70_000), "."), /stack is deeper/],
  ["containers without end", pickle("}0".repeat(300_000), "."), /more than 262144 containers/],
  ["a text without end", pickle([0x58, 0xff, 0xff, 0xff, 0x7f]), /text of 2147483647 bytes/],
  ["an integer without end", pickle([0x8a, 0xff], "x".repeat(300)), /integer of 255 bytes/],
  ["a key twice", pickle("}(K\x01NK\x01Nu."), /stands twice/],
  ["a list as key", pickle("}]Ns."), /neither text nor a number/],
  ["a storage of objects", pickle("(X\x07\0\0\0storagectorch\nobject\n"), /torch\.object/],
] as const) {
  test(`a pickle with ${what} is refused`, () => {
    assert.throws(
      () => unpickle(bytes),
      (error: unknown) => error instanceof PickleError && about.test(error.message),
    );
  });
}

test("a tensor lies in its storage row by row, wherever it begins and whatever its sizes, or is refused", () => {
  const rebuilt = (offset: number, shape: readonly number[], strides: readonly number[]) =>
    called(
      globalNamed("torch._utils", "_rebuild_tensor_v2"),
      new PickleTuple([
        new PickledStorage("0", "f32", 12),
        offset,
        new PickleTuple(shape),
        new PickleTuple(strides),
        false,
        new Map(),
      ]),
    );
  for (const [offset, shape, strides] of [
    [0, [3, 4], [4, 1]],
    [3, [3, 3], [3, 1]],
    [11, [], []],
    [12, [0, 5], [5, 1]],
    [0, [0, 5], [1, 7]],
    [0, [3, 1, 4], [4, 99, 1]],
    [0, [1, 12], [3, 1]],
  ] as const) {
    const tensor = rebuilt(offset, shape, strides);
    assert.ok(tensor instanceof PickledTensor);
    assert.deepEqual([tensor.offsetElements, tensor.shape], [offset, shape]);
  }
  for (const [offset, shape, strides, about] of [
    [1, [3, 4], [4, 1], /beyond its storage/],
    [4, [3, 3], [3, 1], /beyond its storage/],
    [12, [], [], /beyond its storage/],
    [13, [0], [1], /beyond its storage/],
    [0, [13], [1], /beyond its storage/],
    [0, [2 ** 27, 2 ** 27], [2 ** 27, 1], /beyond its storage/],
    [0, [3, 3], [1, 3], /not row by row/],
    [0, [2, 2, 2], [2, 4, 1], /not row by row/],
    [0, [2, 2], [4, 1], /not row by row/],
    [0, [2, 2], [4, 2], /not row by row/],
    [0, [3, 3], [0, 1], /not row by row/],
    [0, [3], [0], /not row by row/],
    [0, [3, 3], [1], /not row by row/],
    [0, [3], [3, 1], /not row by row/],
    [-1, [3], [1], /no counts/],
    [0, [-3], [1], /no counts/],
    [0, [1.5], [1], /no counts/],
    [0, new Array(9).fill(1), new Array(9).fill(1), /no counts/],
  ] as const)
    assert.throws(() => rebuilt(offset, shape, strides), about, JSON.stringify([offset, shape, strides]));
});

test("dictionaries within themselves, and many of many, end", async () => {
  // zip.pth with its pickle replaced by one of the same length.
  const whole = Buffer.from(fixture("zip.pth"));
  const start = whole.indexOf(Buffer.from([0x80, 2]));
  const end = whole.indexOf(Buffer.from("u.", "latin1"), start) + 2;
  const swap = (content: Uint8Array) => {
    const bytes = Buffer.from(whole);
    bytes.fill(0x30, start, end);
    const filler = Buffer.alloc(end - start - content.length, "N0");
    Buffer.concat([filler, content]).copy(bytes, start);
    return bytes;
  };
  // The checksum guards the pickle: this is what changed bytes meet first.
  await assert.rejects(read("swapped.pth", new Uint8Array(swap(pickle("}q\0X\x01\0\0\0ah\0s.")))), refusal(/checksum/));
  const self = unpickle(pickle("}q\0X\x01\0\0\0ah\0s.")).value as Map<string, unknown>;
  assert.equal(self.get("a"), self);
});

test("every cut is refused", async () => {
  for (const name of ["plain.pth", "legacy.pth"]) {
    const whole = fixture(name);
    for (let length = 1; length < whole.length; length += 37) {
      await assert.rejects(read(name, whole.slice(0, length)), refusal(/./));
    }
  }
});

test("changed bytes give tensors within the file or a refusal, soon", async () => {
  const random = randomOf(5);
  for (const name of ["zip.pth", "legacy.pth", "plain.pth"]) {
    for (let round = 0; round < 400; round++) {
      const bytes = fixture(name);
      for (let flips = 0; flips < 3; flips++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      try {
        for (const table of (await read(name, bytes)).values()) {
          for (const { startByte, endByte } of table.values()) assert.ok(startByte >= 0 && endByte <= bytes.length);
        }
      } catch (error) {
        assert.ok(error instanceof ArtifactError, String(error instanceof Error ? error.stack : error));
      }
    }
  }
});

test("a zip file whose entries are packed, overlap or lie elsewhere is refused", async () => {
  const change = (edit: (bytes: Buffer, directory: number) => void) => {
    const bytes = Buffer.from(fixture("plain.pth"));
    const directory = bytes.indexOf(Buffer.from("504b0102", "hex"));
    edit(bytes, directory);
    return new Uint8Array(bytes);
  };
  const packed = change((bytes, at) => bytes.writeUInt16LE(8, at + 10));
  await assert.rejects(read("packed.pth", packed), refusal(/packed/));
  const bomb = change((bytes, at) => bytes.writeUInt32LE(2 ** 31, at + 24));
  await assert.rejects(read("bomb.pth", bomb), refusal(/too long/));
  const secret = change((bytes, at) => bytes.writeUInt16LE(1, at + 8));
  await assert.rejects(read("secret.pth", secret), refusal(/encrypted/));
  const overlap = change((bytes, at) => {
    const second = bytes.indexOf(Buffer.from("504b0102", "hex"), at + 4);
    bytes.writeUInt32LE(bytes.readUInt32LE(at + 42), second + 42);
  });
  await assert.rejects(read("overlap.pth", overlap), refusal(/overlaps/));
  const moved = change((bytes, at) => bytes.writeUInt32LE(bytes.readUInt32LE(at + 42) + 1, at + 42));
  await assert.rejects(read("moved.pth", moved), refusal(/not where its directory says|overlaps/));
});

/** A zip file of one stored entry (APPNOTE 4.3, 4.5.3): of its length, packed length and place, those in `wide` are in 64 bits behind another field. */
function zip64(wide: readonly boolean[], content: Uint8Array) {
  const name = Buffer.from("é.bin");
  const gap = Buffer.alloc(70, 1);
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x0403_4b50, 0);
  local.writeUInt16LE(name.length, 26);
  local.writeUInt16LE(5, 28); // an extra field that the directory lacks
  const place = gap.length;
  const values = [content.length, content.length, place];
  const wides = values.filter((_, i) => wide[i]).map((value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer));
  const extra = Buffer.concat([Buffer.from("5554020000ff", "hex"), Buffer.from([1, 0, 8 * wides.length, 0]), ...wides]);
  const record = Buffer.alloc(46);
  record.writeUInt32LE(0x0201_4b50, 0);
  [24, 20, 42].forEach((at, i) => {
    record.writeUInt32LE(wide[i] ? 0xffff_ffff : values[i]!, at);
  });
  record.writeUInt16LE(name.length, 28);
  record.writeUInt16LE(extra.length, 30);
  const directory = Buffer.concat([record, name, extra]);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x0605_4b50, 0);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(place + 30 + name.length + 5 + content.length, 16);
  return Buffer.concat([gap, local, name, Buffer.alloc(5, 9), content, directory, end]);
}

test("sizes and places of 64 bits: any of them, in the order in which the format has them", async () => {
  const content = Uint8Array.from({ length: 300 }, (_, i) => i);
  for (let mask = 0; mask < 8; mask++) {
    const wide = [1, 2, 4].map((bit) => (mask & bit) !== 0);
    const source = memorySource("x.pth", new Uint8Array(zip64(wide, content)));
    const entry = (await readZipDirectory(source)).get("é.bin")!;
    assert.deepEqual([entry.lengthBytes, entry.packedBytes, entry.headerByte, entry.packed], [300, 300, 70, false]);
    const into = new Uint8Array(300);
    await source.read(await entryStart(source, entry), into);
    assert.deepEqual(into, content, String(mask));
  }
});

/** A zip file of empty entries of these names; `change` may change its end record, and `behind` follows it. */
function zipOf(names: readonly string[], { behind = Buffer.alloc(0), change = (_: Buffer) => {}, end64 = 0 } = {}) {
  const locals: Buffer[] = [];
  const records: Buffer[] = [];
  let at = 0;
  for (const name of names.map((text) => Buffer.from(text))) {
    const [local, record] = [Buffer.alloc(30), Buffer.alloc(46)];
    local.writeUInt32LE(0x0403_4b50, 0);
    local.writeUInt16LE(name.length, 26);
    record.writeUInt32LE(0x0201_4b50, 0);
    record.writeUInt16LE(name.length, 28);
    record.writeUInt32LE(at, 42);
    locals.push(local, name);
    records.push(record, name);
    at += 30 + name.length;
  }
  const directory = Buffer.concat(records);
  const [wide, locator, end] = [Buffer.alloc(56), Buffer.alloc(20), Buffer.alloc(22)];
  wide.writeUInt32LE(0x0606_4b50, 0);
  wide.writeBigUInt64LE(BigInt(names.length), 32);
  wide.writeBigUInt64LE(BigInt(directory.length), 40);
  wide.writeBigUInt64LE(BigInt(at), 48);
  locator.writeUInt32LE(0x0706_4b50, 0);
  locator.writeBigUInt64LE(BigInt(at + directory.length), 8);
  end.writeUInt32LE(0x0605_4b50, 0);
  end.writeUInt16LE(end64 ? 0xffff : names.length, 10);
  end.writeUInt32LE(end64 ? 0xffff_ffff : directory.length, 12);
  end.writeUInt32LE(end64 ? 0xffff_ffff : at, 16);
  end.writeUInt16LE(behind.length, 20);
  change(end);
  const wides = end64 === 2 ? [wide, locator] : [];
  return new Uint8Array(Buffer.concat([...locals, directory, ...wides, end, behind]));
}

test("a zip file's end: behind it a comment of any length, before it, where it says so, one of 64 bits", async () => {
  const names = async (bytes: Uint8Array<ArrayBuffer>) => [
    ...(await readZipDirectory(memorySource("z", bytes))).keys(),
  ];
  const two = ["a", "é"];
  // A comment may hold what an end begins with: one that doesn't end with the file is none.
  const signature = Buffer.concat([Buffer.from("504b0506", "hex"), Buffer.alloc(19)]);
  for (const behind of [Buffer.alloc(0), Buffer.alloc(65_535), signature, Buffer.concat([Buffer.alloc(50), signature])])
    assert.deepEqual(await names(zipOf(two, { behind })), two);
  assert.deepEqual(await names(zipOf(two, { end64: 2 })), two);
  for (const [bytes, about] of [
    [zipOf(["a", "b", "a"]), /the name "a" stands twice/],
    [zipOf(two, { end64: 1 }), /zip64 record is missing/],
    [
      zipOf(two, { behind: Buffer.alloc(65_536 - 65_535), change: (end) => end.writeUInt16LE(0, 20) }),
      /directory is missing/,
    ],
    [zipOf(two, { change: (end) => end.writeUInt16LE(3, 10) }), /entry 2 is damaged/],
    [zipOf(two, { change: (end) => end.writeUInt32LE(2 ** 20, 16) }), /directory lies beyond its end/],
    [zipOf(two, { change: (end) => end.writeUInt32LE(33 * 2 ** 20, 12) }), /directory is too large/],
    [zipOf(two, { change: (end) => end.writeUInt32LE(end.readUInt32LE(12) - 1, 12) }), /damaged|cut/],
    [Uint8Array.from(Buffer.alloc(100)), /directory is missing/],
  ] as const)
    await assert.rejects(names(bytes), refusal(about, /^E_ZIP$/), about.source);
});
