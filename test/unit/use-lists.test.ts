/** @file Lists of networks with settings of their own, as text and as JSON: read back as they were written; one bad item refuses all of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CONTROL_USES } from "../../src/job/control-use.ts";
import { IP_ADAPTER_USES } from "../../src/job/ip-adapter-use.ts";
import { itemsOfText, textOfItems } from "../../src/job/list-text.ts";
import { type UseTable, usesFromJson, usesFromText, usesText } from "../../src/job/parted-use.ts";
import { usePartReader } from "../../src/job/text.ts";

const read = usePartReader("--flag");
/** Undefined, or an error, for what can't be. */
function refused(work: () => unknown): boolean {
  try {
    return work() === undefined;
  } catch {
    return true;
  }
}

test("items of a list: commas, quotes and blanks within one come back", () => {
  for (const items of [[], ["a"], ["a", "b c"], ["a, b", 'c "d" e', '"'], ["C:\\x", ","], ['a"b', "c"]]) {
    assert.deepEqual(itemsOfText(textOfItems(items)), items);
  }
  assert.equal(textOfItems(["a", 'b"c', "d,e"]), 'a, "b""c", "d,e"');
  assert.deepEqual(itemsOfText(' a ,"b, c" , d'), ["a", "b, c", "d"]);
  for (const text of ['"a', "a,,b", '"a"b', ",a", '"a" "b"']) assert.equal(itemsOfText(text), undefined, text);
});

const CONTROLS = [
  { file: "C:\\nets\\a, b", image: "x y.png", weight: 0.5, start: 0, end: 0.25, guess: true },
  { file: "pose", mode: "canny", preprocess: "canny", fit: "crop", pass: "second", low: 10, high: 20.5 },
  { file: "depth" },
];
const ADAPTERS = [
  { file: "plus", encoder: "vit", images: ["b.png", "a.png", "c,d.png"], masks: ["m2.png", "m1.png"], weight: 0.7 },
  { file: "base", images: ["a.png"], start: 0.5, end: 0.5 },
];

test("text and JSON of every part come back, pictures in their order", () => {
  for (const [table, uses] of [
    [CONTROL_USES, CONTROLS],
    [IP_ADAPTER_USES, ADAPTERS],
  ] as const) {
    assert.deepEqual(usesFromText(table, usesText(table, uses), read), uses);
    assert.deepEqual(usesFromJson(table, JSON.parse(JSON.stringify(uses)), read), uses);
    // Whatever the order of the parts is.
    const turned = uses.map(({ file, ...parts }) => ({
      file,
      ...Object.fromEntries(Object.entries(parts).toReversed()),
    }));
    assert.deepEqual(usesFromText(table, usesText(table, turned), read), uses);
  }
  assert.equal(usesText(IP_ADAPTER_USES, ADAPTERS.slice(1)), "base:image=a.png:start=0.5:end=0.5");
});

test("one that can't be refuses the whole list: bad values, parts said twice, too many of them, ends before their starts", () => {
  const json = (table: UseTable, use: unknown, others: readonly object[] = [{ file: "good" }]) =>
    refused(() => usesFromJson(table, [...others, use], read));
  const pictures = (count: number) => new Array<string>(count).fill("a.png");
  for (const bad of [
    ...[null, "a", {}, { file: "" }, { file: 1 }, { file: "x".repeat(32_768) }, { file: "a", unknown: 1 }],
    ...[
      { file: "a", weight: 10.1 },
      { file: "a", weight: -1 },
      { file: "a", weight: null },
      { file: "a", weight: [1] },
    ],
    ...[
      { file: "a", start: 0.6, end: 0.5 },
      { file: "a", start: 1.1 },
      { file: "a", __proto__: null, constructor: 1 },
    ],
  ]) {
    for (const table of [CONTROL_USES, IP_ADAPTER_USES]) assert.ok(json(table, bad), JSON.stringify(bad));
  }
  for (const bad of [
    { image: "https://x" },
    { guess: "yes" },
    { mode: "fog" },
    { fit: "half" },
    { low: 256 },
    { pass: "third" },
  ]) {
    assert.ok(json(CONTROL_USES, { file: "a", ...bad }), JSON.stringify(bad));
  }
  for (const bad of [{ images: "a.png" }, { images: [1] }, { images: ["https://x"] }, { images: pictures(17) }]) {
    assert.ok(json(IP_ADAPTER_USES, { file: "a", ...bad }), JSON.stringify(bad));
  }
  assert.ok(!json(IP_ADAPTER_USES, { file: "a", images: pictures(16), masks: pictures(16) }));
  for (const [table, most] of [
    [CONTROL_USES, 8],
    [IP_ADAPTER_USES, 4],
  ] as const) {
    const files = (count: number) => Array.from({ length: count }, () => ({ file: "a" }));
    assert.equal(usesFromJson(table, files(most), read)?.length, most);
    assert.equal(usesFromJson(table, files(most + 1), read), undefined);
    assert.equal(usesFromText(table, usesText(table, files(most + 1)), read), undefined);
  }
  for (const text of ["a:weight=0.5:weight=0.6", "a:weight=x", "good, a:start=0.6:end=0.5", "a, , b"]) {
    assert.ok(
      refused(() => usesFromText(CONTROL_USES, text, read)),
      text,
    );
  }
  // What is no part is the file's.
  assert.deepEqual(usesFromText(CONTROL_USES, "a:b=c:weight=1", read), [{ file: "a:b=c", weight: 1 }]);
});
