/** @file JSON as Python 3.11's json.loads read these texts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePythonJson } from "../../src/source/python-json.ts";

const READ: readonly [text: string, value: unknown][] = [
  ['{"a": NaN, "b": -Infinity, "c": Infinity}', { a: Number.NaN, b: -Infinity, c: Infinity }],
  ["[NaN,NaN,-Infinity]", [Number.NaN, Number.NaN, -Infinity]],
  ["NaN", Number.NaN],
  [" \n\t[Infinity]\r\n", [Infinity]],
  ['{"a":1,"a":2}', { a: 2 }],
  ['{"\\u0061":NaN,"a":2}', { a: 2 }],
  ['{"a":1e400}', { a: Infinity }],
  ['{"a":"NaN \\" Infinity \\\\","b":Infinity}', { a: 'NaN " Infinity \\', b: Infinity }],
  ['{"NaN":NaN,"-Infinity":0}', { NaN: Number.NaN, "-Infinity": 0 }],
  ['{"a":"\\ud800","b":[null,true,false,-0.5e-3]}', { a: "\ud800", b: [null, true, false, -0.0005] }],
  ['{"a":"\u2028\u007f","b":NaN}', { a: "\u2028\u007f", b: Number.NaN }],
];

for (const [text, value] of READ) {
  test(`${JSON.stringify(text)} is read`, () => assert.deepEqual(parsePythonJson(text), value));
}

const REFUSED = [
  ...['{"a":-NaN}', '{"a":NaN,}', '{"a":- Infinity}', '{"a":--Infinity}', '{"a":+Infinity}', '{"a":infinity}', "nan"],
  ...[
    '{"a":1.Infinity}',
    '{"a":2-Infinity}',
    '{"a":NaN5}',
    '{"a":5NaN}',
    '{"a":Infinity.5}',
    '{"a":-Infinit}',
    "NaNNaN",
  ],
  ...["{NaN:1}", "{'a':NaN}", '{"a":NaN}x', '{"a":NaN,"b":"x\ty"}', '{"a":NaN,"b":01}', '\f{"a":NaN}', ""],
];

for (const text of REFUSED) {
  test(`${JSON.stringify(text)} is refused`, () => assert.throws(() => parsePythonJson(text), SyntaxError));
}

test("keys of Object.prototype are keys", () => {
  const read = parsePythonJson('{"__proto__":NaN,"constructor":1}') as object;
  assert.deepEqual(Object.keys(read), ["__proto__", "constructor"]);
  assert.equal(Object.getPrototypeOf(read), Object.prototype);
});

test("a byte order mark, which Python refuses, is passed over", () => {
  assert.deepEqual(parsePythonJson('\ufeff{"a":NaN}'), { a: Number.NaN });
});

test("a megabyte of constants takes no longer than it should", () => {
  const count = 200_000;
  assert.equal((parsePythonJson(`[${new Array(count).fill("NaN").join()}]`) as unknown[]).length, count);
});
