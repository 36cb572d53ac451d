/** @file Fields of config files: which values of each kind are taken, what stands for silence, and what is refused by name. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { JsonConfig } from "../../src/checkpoint/json-config.ts";

type Read = (config: JsonConfig) => unknown;
/** `taken`: the field's text and what comes of it. */
interface Kind {
  readonly read: Read;
  readonly taken: readonly (readonly [json: string, value: unknown])[];
  readonly refused: readonly string[];
}

const ABSENT = "";
const config = (json: string) => new JsonConfig("unet/config.json", json === ABSENT ? "{}" : `{"f": ${json}}`);
const many = (count: number, item = "1") => `[${new Array<string>(count).fill(item).join()}]`;

const KINDS: Readonly<Record<string, Kind>> = {
  "an integer": {
    read: (c) => c.int("f", 1, 8),
    taken: [
      ["1", 1],
      ["8", 8],
      ["4.0", 4],
    ],
    refused: ["0", "9", "1.5", '"1"', "true", "[1]", "null", "NaN", ABSENT],
  },
  "an integer that may be absent": {
    read: (c) => c.int("f", 1, 8, 3),
    taken: [
      [ABSENT, 3],
      ["null", 3],
      ["8", 8],
    ],
    refused: ["0", "9", "false"],
  },
  "a number": {
    read: (c) => c.number("f", 0.5),
    taken: [
      ["-1e3", -1000],
      ["0", 0],
      [ABSENT, 0.5],
      ["null", 0.5],
    ],
    refused: ["NaN", "Infinity", '"1"', "[]", "true"],
  },
  "a truth": {
    read: (c) => c.bool("f", true),
    taken: [
      ["false", false],
      ["true", true],
      [ABSENT, true],
      ["null", true],
    ],
    refused: ["0", "1", '"true"', "[]"],
  },
  "a text": {
    read: (c) => c.string("f", "x"),
    taken: [
      ['""', ""],
      ['"y"', "y"],
      [ABSENT, "x"],
      ["null", "x"],
    ],
    refused: ["0", "false", "[]"],
  },
  "a choice": {
    read: (c) => c.choice("f", ["a", "b"]),
    taken: [
      ['"b"', "b"],
      [ABSENT, "a"],
      ["null", "a"],
    ],
    refused: ['"c"', '"A"', '""', "0", '["a"]'],
  },
  texts: {
    read: (c) => c.strings("f"),
    taken: [
      ["[]", []],
      ['["a", "b"]', ["a", "b"]],
      [many(4096, '"a"'), new Array(4096).fill("a")],
    ],
    refused: ['["a", 1]', '"a"', "{}", "null", ABSENT, many(4097, '"a"')],
  },
  numbers: {
    read: (c) => c.numbers("f"),
    taken: [
      ["[]", []],
      ["[1.5, -2]", [1.5, -2]],
      [ABSENT, undefined],
      ["null", undefined],
    ],
    refused: ["1", '[1, "2"]', "[null]", many(4097)],
  },
  integers: {
    read: (c) => c.ints("f", 1, 8, 3),
    taken: [
      ["[1]", [1]],
      ["[8, 1, 8]", [8, 1, 8]],
    ],
    refused: ["[]", "[0]", "[9]", "[1, 9]", "[1.5]", "[1, 2, 3, 4]", "3", "null", ABSENT],
  },
  "an integer for all places, or one each": {
    read: (c) => c.intOrInts("f", 3, 1, 8),
    taken: [
      ["2", [2, 2, 2]],
      ["[1, 8, 4]", [1, 8, 4]],
    ],
    refused: ["0", "9", "1.5", "[1, 2]", "[1, 2, 3, 4]", "[1, 2, 9]", "[1, 2, 0]", '"2"', "null", ABSENT],
  },
  "one each, with a value for silence": {
    read: (c) => c.intOrInts("f", 2, 1, 8, 5),
    taken: [
      [ABSENT, [5, 5]],
      ["null", [5, 5]],
      ["[1, 2]", [1, 2]],
    ],
    refused: ["9", "[1]"],
  },
  "an integer for all places, or integers or lists of them": {
    read: (c) => c.nestedInts("f", 2, 8),
    taken: [
      ["0", [0, 0]],
      ["8", [8, 8]],
      ["[1, [2, 8]]", [1, [2, 8]]],
      ["[[], 0]", [[], 0]],
      [ABSENT, undefined],
    ],
    refused: ["-1", "9", "1.5", "[1]", "[1, 2, 3]", "[1, -1]", "[1, 9]", "[1, [9]]", "[1, [-1]]", "[1, [[1]]]", '"1"'],
  },
  "one of what is known": {
    read: (c) => c.require("f", ["silu", 2, false]),
    taken: [
      ['"silu"', undefined],
      ["2", undefined],
      ["false", undefined],
      [ABSENT, undefined],
    ],
    refused: ["null", '"gelu"', "3", "true", "0", '"2"', "[]"],
  },
  "one of what is known, or nothing": {
    read: (c) => c.require("f", [null, 1]),
    taken: [
      ["null", undefined],
      ["1", undefined],
      [ABSENT, undefined],
    ],
    refused: ["0", "false", '""', "2"],
  },
};

for (const [kind, { read, taken, refused }] of Object.entries(KINDS)) {
  test(`${kind}: what is taken, what is refused`, () => {
    for (const [json, value] of taken) assert.deepEqual(read(config(json)), value, json.slice(0, 40));
    for (const json of refused) {
      const message = /E_CONFIG unet\/config\.json: field "f" does not fit SDXL \(found .*, allowed .+\)/;
      assert.throws(() => read(config(json)), { name: "ArtifactError", code: "E_CONFIG", message }, json.slice(0, 40));
    }
  });
}

test("only an object has fields, and only those that it has itself", () => {
  for (const text of ["[]", "null", "1", '"{}"', "", "{"]) {
    assert.throws(() => new JsonConfig("c.json", text), { code: "E_CONFIG" }, text);
  }
  const plain = new JsonConfig("c.json", '{"a": null}');
  assert.deepEqual(
    ["a", "constructor", "__proto__"].map((field) => [plain.value(field), plain.has(field), plain.isWritten(field)]),
    [
      [undefined, false, true],
      [undefined, false, false],
      [undefined, false, false],
    ],
  );
});
