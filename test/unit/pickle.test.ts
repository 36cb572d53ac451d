/** @file Pickles by hand: what each instruction gives (values as Python's pickletools names them), what is refused, and files of torch.save before 1.6. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { unpickle } from "../../src/container/pickle.ts";
import { called, globalNamed, storageOf } from "../../src/container/pickle-globals.ts";
import {
  PickledGlobal,
  PickledStorage,
  PickleError,
  PickleTuple,
  type PickleValue,
} from "../../src/container/pickle-value.ts";
import { readTorchFile } from "../../src/container/torch-file.ts";
import { memorySource } from "../../src/source/memory.ts";

const bytes = (text: string) => Uint8Array.from(Buffer.from(text, "latin1"));
const value = (text: string) => unpickle(bytes(text)).value;
const tuple = (...items: PickleValue[]) => new PickleTuple(items);
const refused = (text: string, about: RegExp) =>
  assert.throws(
    () => value(text),
    (error: Error) => error instanceof PickleError && about.test(error.message),
    JSON.stringify(text.slice(0, 60)),
  );

const VALUES: readonly (readonly [instructions: string, value: unknown])[] = [
  ["N.", null],
  ["\x88.", true],
  ["\x89.", false],
  ["K\xff.", 255],
  ["M\x02\x01.", 258],
  ["J\xfe\xff\xff\xff.", -2],
  ["J\x00\x00\x00\x01.", 16777216],
  ["\x8a\x00.", 0],
  ["\x8a\x01\xff.", -1],
  ["\x8a\x02\xff\x00.", 255],
  ["\x8a\x02\x00\x80.", -32768],
  ["\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", 9223372036854775807n],
  ["G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5],
  ["G\xc0\x00\x00\x00\x00\x00\x00\x00.", -2],
  ["U\x02\xe9b.", "éb"],
  ["T\x02\x00\x00\x00\xe9b.", "éb"],
  ["\x8c\x03\xc3\xa9b.", "éb"],
  ["X\x03\x00\x00\x00\xc3\xa9b.", "éb"],
  ["\x8d\x03\x00\x00\x00\x00\x00\x00\x00\xc3\xa9b.", "éb"],
  ["].", []],
  ["]K\x01a.", [1]],
  ["](K\x01K\x02e.", [1, 2]],
  ["].", []],
  [").", tuple()],
  ["K\x01\x85.", tuple(1)],
  ["K\x01K\x02\x86.", tuple(1, 2)],
  ["K\x01K\x02K\x03\x87.", tuple(1, 2, 3)],
  ["(K\x01K\x02K\x03K\x04t.", tuple(1, 2, 3, 4)],
  ["}.", new Map()],
  ["}U\x01aK\x01s.", new Map([["a", 1]])],
  [
    "}(U\x01aK\x01K\x05K\x02u.",
    new Map<unknown, unknown>([
      ["a", 1],
      [5, 2],
    ]),
  ],
  ["\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00N.", null],
  ["K\x01K\x020.", 1],
  // Put away and fetched: by number, by four bytes of it, by count.
  ["K\x07q\x09K\x080h\x09.", 7],
  ["K\x07r\x01\x02\x00\x00K\x080j\x01\x02\x00\x00.", 7],
  ["K\x07r\x01\x02\x00\x00K\x08q\x01j\x01\x02\x00\x00.", 7],
  ["K\x07\x94K\x08\x94h\x00.", 7],
  ["K\x07\x94K\x08\x94h\x01.", 8],
  ["ccollections\nOrderedDict\n)R.", new Map()],
  ["U\x0bcollectionsU\x0bOrderedDict\x93)R.", new Map()],
  ["ccollections\nOrderedDict\n)R}U\x01xNsb.", new Map()],
  ["ctorch\nSize\n(K\x02K\x03t\x85R.", tuple(2, 3)],
  ["ctorch\nHalfStorage\n.", new PickledGlobal("torch.HalfStorage")],
];

test("each instruction gives what Python's gives", () => {
  for (const [text, expected] of VALUES) assert.deepEqual(value(text), expected, JSON.stringify(text));
});

test("pickles follow each other: the next begins behind the stop of the one before", () => {
  const two = bytes("K\x01.K\x02.rest");
  const first = unpickle(two);
  assert.deepEqual([first.value, first.endByte], [1, 3]);
  assert.deepEqual(unpickle(two, 3), { value: 2, endByte: 6 });
});

test("what no state dict needs is refused, with its byte", () => {
  for (const [text, about] of [
    ["K\x01i.", /instruction 0x69, .*\(byte 2 of the pickle\)/],
    ["cos\nsystem\n.", /asks for os\.system, which is no part of a tensor/],
    ["U\x02osU\x06system\x93.", /asks for os\.system/],
    ["K\x01U\x06system\x93.", /name is no text/],
    ["cnobuiltins\neval", /line has no end/],
    ["ctorch\nHalfStorage\n)R.", /calls what can't be called/],
    ["U\x01a)R.", /calls what can't be called/],
    ["ccollections\nOrderedDict\n]R.", /arguments must be a tuple/],
    ["ccollections\nOrderedDict\nK\x01\x85R.", /ordered dictionary is made of something/],
    ["ctorch\nSize\nK\x01\x85R.", /torch\.Size must be a tuple/],
    ["ctorch._utils\n_rebuild_parameter\nK\x01\x85R.", /parameter is no tensor/],
    ["]Nb.", /attributes of something else than a dictionary/],
    ["}K\x01a.", /appends to something else than a list/],
    ["](K\x01K\x02u.", /items of something else than a dictionary/],
    ["}(K\x01u.", /items of something else than a dictionary/],
    ["}NK\x01s.", /key is neither text nor a number/],
    ["}(U\x01aK\x01U\x01aK\x02u.", /the key "a" stands twice/],
    ["}K\x03K\x01sK\x03K\x01s.", /the key 3 stands twice/],
    ["h\x00.", /memo has no entry 0/],
    ["q\x00.", /stack is empty/],
    [".", /stack is empty/],
    ["K\x01\x86.", /stack is empty/],
    ["K\x01t.", /a mark is missing/],
    ["e.", /a mark is missing/],
    ["\x8a\x11aaaaaaaaaaaaaaaaa.", /integer of 17 bytes/],
    ["X\x01\x00\x01\x00.", /text of 65537 bytes/],
    ["\x8c\x01\xe9.", /not UTF-8/],
    ["K", /ends too soon \(after 1 bytes\)/],
    ["X\x05\x00\x00\x00abc", /ends too soon/],
    ["K\x01", /ends too soon/],
    ["K\x01Q.", /a persistent id must be a tuple/],
  ] as const)
    refused(text, about);
});

test("a pickle has its limits: marks, what lies on the stack, and containers", () => {
  assert.deepEqual(value(`${"(".repeat(63)}N${"t".repeat(63)}.`) instanceof PickleTuple, true);
  assert.equal(value(`${"(".repeat(64)}N.`), null);
  refused(`${"(".repeat(65)}N.`, /marks nest deeper than 64/);
  assert.equal(value(`${"N".repeat(65_536)}.`), null);
  refused(`${"N".repeat(65_537)}.`, /stack is deeper than 65536/);
  assert.deepEqual(value(`${"]0".repeat(2 ** 18)}N.`), null);
  refused(`${"]0".repeat(2 ** 18 + 1)}N.`, /more than 262144 containers/);
});

const storage = (...items: PickleValue[]) => storageOf(tuple("storage", ...items));

test("a storage is of a kind, under a key, of so many numbers, and nobody's view", () => {
  const KINDS = {
    ...{ DoubleStorage: "f64", FloatStorage: "f32", HalfStorage: "f16", BFloat16Storage: "bf16", LongStorage: "i64" },
    ...{ IntStorage: "i32", ShortStorage: "i16", CharStorage: "i8", ByteStorage: "u8", BoolStorage: "bool" },
  };
  for (const [kind, dtype] of Object.entries(KINDS)) {
    const of = storage(globalNamed("torch", kind), "7", "cpu", 3);
    assert.deepEqual([of.key, of.dtype, of.elements], ["7", dtype, 3]);
  }
  const half = globalNamed("torch", "HalfStorage");
  assert.equal(storage(half, "7", "cuda:0", 3, null).elements, 3);
  for (const [items, about] of [
    [[half, "7", "cpu", 3, tuple("8", 0, 1)], /view of another/],
    [[half, "7", "cpu", 3, 0], /view of another/],
    [[half, 7, "cpu", 3], /no storage of numbers/],
    [[half, "7", "cpu", -1], /no storage of numbers/],
    [[half, "7", "cpu", 1.5], /no storage of numbers/],
    [[half, "7", "cpu"], /no storage of numbers/],
    [["torch.HalfStorage", "7", "cpu", 3], /no storage of numbers/],
    [[globalNamed("torch", "Size"), "7", "cpu", 3], /no storage of numbers/],
  ] as const)
    assert.throws(() => storage(...items), about);
  assert.throws(() => storageOf(tuple("module", half, "7", "cpu", 3)), /no storage of numbers/);
});

test("a tensor needs a storage, and no hooks", () => {
  const rebuild = globalNamed("torch._utils", "_rebuild_tensor_v2");
  const tensor = (of: PickleValue, hooks: PickleValue) =>
    called(rebuild, tuple(of, 0, tuple(2), tuple(1), false, hooks));
  const of = new PickledStorage("0", "f32", 2);
  const made = tensor(of, new Map());
  assert.deepEqual(called(globalNamed("torch._utils", "_rebuild_parameter"), tuple(made, true, new Map())), made);
  assert.throws(() => tensor(of, new Map([["a", 1]])), /hooks, which are code/);
  assert.throws(() => tensor("0", new Map()), /tensor has no storage/);
  assert.throws(() => called(rebuild, tuple(of, 0, [2], tuple(1), false, new Map())), /size must be a tuple/);
});

const u64 = (count: number) => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(count));
  return out.toString("latin1");
};
const text = (name: string) => `U${String.fromCharCode(name.length)}${name}`;
/** A tensor of [elements] over the whole of a storage. */
const tensorOf = (key: string, kind: string, elements: number) => {
  const n = `K${String.fromCharCode(elements)}`;
  const id = `(${text("storage")}ctorch\n${kind}\n${text(key)}${text("cpu")}${n}NtQ`;
  return `ctorch._utils\n_rebuild_tensor_v2\n(${id}K\0${n}\x85K\x01\x85\x89}tR`;
};

/** As torch.save wrote before 1.6: magic number, protocol, system, the dictionary, keys of storages, and those. */
function legacy({
  magic = "\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
  protocol = "M\xe9\x03.",
  system = `}${text("little_endian")}\x88s.`,
  main = `}(${text("w")}${tensorOf("a", "HalfStorage", 2)}${text("b")}${tensorOf("c", "FloatStorage", 1)}u.`,
  keys = `](${text("a")}${text("c")}e.`,
  storages = `${u64(2)}abcd${u64(1)}efgh`,
} = {}) {
  return bytes(magic + protocol + system + main + keys + storages);
}

test("a file of torch.save before 1.6: storages follow each other, each behind its number of elements", async () => {
  const file = legacy();
  const table = (await readTorchFile(memorySource("f", file))).get("")!;
  const contents = [...table].map(([name, { dtype, shape, startByte, endByte }]) => [
    ...[name, dtype, shape],
    Buffer.from(file.subarray(startByte, endByte)).toString(),
  ]);
  assert.deepEqual(contents, [
    ["w", "f16", [2], "abcd"],
    ["b", "f32", [1], "efgh"],
  ]);
});

test("a file of torch.save before 1.6 that is not as it says is refused", async () => {
  const two = (kind: string, elements: number) =>
    `}(${text("w")}${tensorOf("a", "HalfStorage", 2)}${text("b")}${tensorOf("a", kind, elements)}u.`;
  for (const [part, about] of [
    [{ magic: "K\x01." }, /torch\.save has not written/],
    [{ protocol: "M\xea\x03." }, /protocol of torch\.save that is not known/],
    [{ system: "}." }, /not little-endian/],
    [{ system: `}${text("little_endian")}\x89s.` }, /not little-endian/],
    [{ system: "N." }, /not little-endian/],
    [{ main: "}." }, /holds no dictionary of tensors/],
    [{ main: two("FloatStorage", 2) }, /storage "a" is of two kinds/],
    [{ main: two("HalfStorage", 3) }, /storage "a" is of two kinds/],
    [{ keys: "N." }, /list of its storages is none/],
    [{ keys: `](${text("a")}e.` }, /storage "c" is missing/],
    [{ keys: `](${text("a")}${text("a")}${text("c")}e.` }, /one that no tensor uses, or one twice/],
    [{ keys: `](${text("x")}${text("a")}${text("c")}e.` }, /one that no tensor uses/],
    [{ keys: `](K\x01${text("a")}${text("c")}e.` }, /one that no tensor uses/],
    [{ storages: `${u64(3)}abcd${u64(1)}efgh` }, /not as long as its tensors say/],
    [{ storages: `${u64(1)}abcd${u64(1)}efgh` }, /not as long as its tensors say/],
    [{ storages: `${u64(2)}abcd${u64(1)}efg` }, /its storages need \d+ bytes, the file ends after/],
  ] as const)
    await assert.rejects(
      readTorchFile(memorySource("f", legacy(part))),
      { code: "E_PICKLE", message: about },
      about.source,
    );
  // Two tensors over one storage are no two kinds.
  const shared = legacy({ main: two("HalfStorage", 2), keys: `](${text("a")}e.`, storages: `${u64(2)}abcd` });
  assert.equal((await readTorchFile(memorySource("f", shared))).get("")!.size, 2);
});
