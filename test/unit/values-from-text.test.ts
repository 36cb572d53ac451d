/** @file Values as flags and the loop's lines have them: of each kind the first and last that there are, and those beside them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Kind } from "../../src/job/field-type.ts";
import { JOB_FIELDS } from "../../src/job/fields.ts";
import { textOfValue, valueFromText } from "../../src/job/text.ts";

/** The value; "refused" where it is none. */
function read(kind: Kind, text: string): unknown {
  try {
    return valueFromText(kind, "--x", text);
  } catch (error) {
    assert.match((error as Error).message, /^E_\w+(?: --x)?: (?:--x|)/);
    return "refused";
  }
}

const WHOLE = { type: "whole", min: 16, max: 64, multiple: 8 } as const;
const DECIMAL = { type: "decimal", min: 0, max: 2.5 } as const;
const PAIR = { type: "pair", separator: "x", min: 1, max: 9 } as const;
const FILES = { type: "files", maxCount: 2 } as const;
const PICTURES = { type: "pictures", maxCount: 2 } as const;

const CASES: readonly (readonly [Kind, Readonly<Record<string, unknown>>])[] = [
  [
    { type: "text", maxChars: 3 },
    { "": "", abc: "abc", abcd: "refused" },
  ],
  [WHOLE, { "16": 16, "64": 64, "024": 24, "8": "refused", "72": "refused", "20": "refused", "16.0": "refused" }],
  [WHOLE, { "-16": "refused", " 16": "refused", "1e2": "refused", "": "refused", "0x10": "refused" }],
  [DECIMAL, { "0": 0, "2.5": 2.5, ".5": 0.5, "1.": 1, "2.51": "refused", "-1": "refused", "1e0": "refused" }],
  [DECIMAL, { "": "refused", ".": "refused", "1.2.3": "refused", Infinity: "refused", "1,5": "refused" }],
  [
    { type: "choice", values: ["a", "b"] },
    { a: "a", b: "b", A: "refused", "": "refused" },
  ],
  [JOB_FIELDS.sampler.kind, { "Euler a": "euler-a", euler: "euler", nothing: "refused" }],
  [{ type: "switch" }, { true: true, false: false, yes: "refused", "": "refused" }],
  [{ type: "seed" }, { "0": 0, "-1": undefined, "-2": "refused", "18446744073709551616": "refused", x: "refused" }],
  [PAIR, { "1x9": "1x9", "0x9": "refused", "1x10": "refused", "1": "refused", "1x2x3": "refused", "1,2": "refused" }],
  [{ type: "picture" }, { "a.png": "a.png", "": "refused", "https://x": "refused" }],
  [FILES, { "a, b": ["a", "b"], '"a, b"': ["a, b"], "": [], "a,b,c": "refused", 'a, ""': "refused" }],
  [PICTURES, { "a, b": ["a", "b"], "a,b,c": "refused", "a, https://x": "refused", '"a': "refused" }],
  [{ type: "loras" }, { "a:0.5": [{ file: "a", weight: 0.5 }], "a:1:2": "refused" }],
  [{ type: "amount" }, { "2G": { bytes: 2 ** 31 }, "512M": { bytes: 2 ** 29 }, x: "refused" }],
];

test("each kind's limits", () => {
  for (const [kind, texts] of CASES) {
    for (const [text, value] of Object.entries(texts)) {
      assert.deepEqual(read(kind, text), value, `${kind.type} ${JSON.stringify(text)}`);
    }
  }
});

test("what is shown of a value is read back as the same", () => {
  for (const [kind, texts] of CASES) {
    for (const value of Object.values(texts)) {
      if (value === "refused" || value === undefined) continue;
      assert.deepEqual(read(kind, textOfValue(kind, value)), value, kind.type);
    }
  }
});
