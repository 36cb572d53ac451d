/** @file The store's own JSON: each kind of field takes what it says, and anything else counts as damage, by its place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Field } from "../../src/store/fields.ts";

type Read = (field: Field) => unknown;
const KINDS: Readonly<Record<string, { read: Read; taken: readonly string[]; refused: readonly string[] }>> = {
  "a whole number from 2 to 9": {
    read: (field) => field.whole(2, 9),
    taken: ["2", "9", "3.0"],
    refused: ["1", "10", "2.5", '"3"', "null", "true", "[3]", "1e300", ""],
  },
  "a whole number of any size": {
    read: (field) => field.whole(0, Number.MAX_SAFE_INTEGER),
    taken: ["0", "9007199254740991"],
    refused: ["-1", "9007199254740992"],
  },
  "a text": { read: (field) => field.text(), taken: ['""', '"x"'], refused: ["1", "null", "[]", "{}", ""] },
  "a text of a pattern": {
    read: (field) => field.text(/^[0-9a-f]{2}$/),
    taken: ['"0a"'],
    refused: ['"0A"', '"0ab"', '""', "10", ""],
  },
  "one of two": {
    read: (field) => field.oneOf("a", "b"),
    taken: ['"a"', '"b"'],
    refused: ['"c"', "null", '["a"]', ""],
  },
  "a list of at most two": {
    read: (field) => field.list(2).map((item) => item.whole(0, 9)),
    taken: ["[]", "[1]", "[1, 2]"],
    refused: ["[1, 2, 3]", "{}", '"12"', "null", "[10]", '{"length": 0}', ""],
  },
  "an object's field": {
    read: (field) => ({ a: field.get("a").whole(0, 9) }),
    taken: ['{"a": 1}'],
    refused: ["{}", "[]", "null", "1", '"a"', '{"a": null}', ""],
  },
};

for (const [kind, { read, taken, refused }] of Object.entries(KINDS)) {
  test(`${kind}: what is taken, and what counts as damage`, () => {
    const field = (json: string) => Field.parse("index", json === "" ? "{}" : `{"f": ${json}}`).get("f");
    for (const json of taken) assert.deepEqual(read(field(json)), JSON.parse(json), json);
    for (const json of refused)
      assert.throws(() => read(field(json)), { code: "E_STORE_DAMAGED", message: /field \.f\S* is not/ }, json);
  });
}

test("a field is there if its own object has it, and says where it stands", () => {
  const root = Field.parse("index", '{"a": [{"b": null}]}');
  const [item] = root.get("a").list();
  assert.deepEqual([root.get("a").exists, item!.get("b").exists, item!.get("c").exists], [true, true, false]);
  for (const name of ["constructor", "toString", "__proto__"]) assert.equal(root.get(name).exists, false, name);
  for (const list of ["[]", '["a"]'])
    assert.throws(() => Field.parse("index", list).get("length"), { message: /field \(whole\) is not an object/ });
  assert.throws(() => item!.get("b").text(), { message: /E_STORE_DAMAGED index: field \.a\[0\]\.b is not text/ });
  for (const text of ["", "{", "NaN"]) assert.throws(() => Field.parse("index", text), { code: "E_STORE_DAMAGED" });
});
