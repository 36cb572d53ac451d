/**
 * @file A1111's prompt syntax: the cases that its prompt_parser.py publishes as doctests (web UI 1.10), what its wiki says of
 * numbers, and properties of any text.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../../src/errors.ts";
import { attentionSpans } from "../../src/prompt/attention.ts";
import { networkTags } from "../../src/prompt/networks.ts";
import { promptParts } from "../../src/prompt/parts.ts";
import { promptMoments } from "../../src/prompt/schedule.ts";
import { seededRandom } from "../support/seed.ts";

const spans = (prompt: string) =>
  attentionSpans(prompt).map((span) => (span === "BREAK" ? span : [span.text, span.weight]));
const moments = (prompt: string, steps = 10, before?: number) =>
  [...promptMoments(prompt, before === undefined ? { steps } : { steps, before })].map(({ untilStep, text }) => [
    untilStep,
    text,
  ]);

test("attention: the published cases", () => {
  assert.deepEqual(spans("normal text"), [["normal text", 1]]);
  assert.deepEqual(spans("an (important) word"), [
    ["an ", 1],
    ["important", 1.1],
    [" word", 1],
  ]);
  assert.deepEqual(spans("(unbalanced"), [["unbalanced", 1.1]]);
  assert.deepEqual(spans(String.raw`\(literal\]`), [["(literal]", 1]]);
  assert.deepEqual(spans("(unnecessary)(parens)"), [["unnecessaryparens", 1.1]]);
  assert.deepEqual(spans("a (((house:1.3)) [on] a (hill:0.5), sun, (((sky)))."), [
    ["a ", 1],
    ["house", 1.5730000000000004],
    [" ", 1.1],
    ["on", 1],
    [" a ", 1.1],
    ["hill", 0.55],
    [", sun, ", 1.1],
    ["sky", 1.4641000000000006],
    [".", 1.1],
  ]);
});

test("attention: escapes, colons, breaks", () => {
  assert.deepEqual(spans(""), [["", 1]]);
  assert.deepEqual(spans(String.raw`a\\b \( \) \[ \] \x`), [[String.raw`a\b ( ) [ ] x`, 1]]);
  assert.deepEqual(spans("10:30 (a: 1.5 )"), [
    ["10:30 ", 1],
    ["a", 1.5],
  ]);
  // Not a number: text.
  assert.deepEqual(spans("(a:1.2.3)"), [["a:1.2.3)", 1.1]]);
  assert.deepEqual(spans("(a:-1)"), [["a", -1]]);
  assert.deepEqual(spans("a ) b ]"), [["a ) b ]", 1]]);
  // What stays open runs to the end.
  assert.deepEqual(spans("a [b"), [
    ["a ", 1],
    ["b", 1 / 1.1],
  ]);
  assert.deepEqual(spans("[a [b"), [
    ["a ", 1 / 1.1],
    ["b", 1 / 1.1 / 1.1],
  ]);
  assert.deepEqual(spans("a \n BREAK  b, BREAKs"), [["a", 1], "BREAK", ["b, BREAKs", 1]]);
  assert.deepEqual(spans("(a BREAK b:1.2)"), [["a", 1.2], "BREAK", ["b", 1.2]]);
  assert.deepEqual(spans("BREAK"), [["", 1], "BREAK", ["", 1]]);
});

test("schedules: the published cases", () => {
  assert.deepEqual(moments("test"), [[10, "test"]]);
  const published: readonly (readonly [string, readonly (readonly [number, string])[]])[] = [
    [
      "a [b:3]",
      [
        [3, "a "],
        [10, "a b"],
      ],
    ],
    [
      "a [b: 3]",
      [
        [3, "a "],
        [10, "a b"],
      ],
    ],
    [
      "a [[[b]]:2]",
      [
        [2, "a "],
        [10, "a [[b]]"],
      ],
    ],
    [
      "[(a:2):3]",
      [
        [3, ""],
        [10, "(a:2)"],
      ],
    ],
    [
      "a [b : c : 1] d",
      [
        [1, "a b  d"],
        [10, "a  c  d"],
      ],
    ],
    [
      "a[b:[c:d:2]:1]e",
      [
        [1, "abe"],
        [2, "ace"],
        [10, "ade"],
      ],
    ],
    ["a [unbalanced", [[10, "a [unbalanced"]]],
    [
      "a [b:.5] c",
      [
        [5, "a  c"],
        [10, "a b c"],
      ],
    ],
    [
      "a [{b|d{:.5] c",
      [
        [5, "a  c"],
        [10, "a {b|d{ c"],
      ],
    ],
    [
      "((a][:b:c [d:3]",
      [
        [3, "((a][:b:c "],
        [10, "((a][:b:c d"],
      ],
    ],
  ];
  for (const [prompt, wanted] of published) assert.deepEqual(moments(prompt), wanted, prompt);
  const alternating = (texts: readonly string[]) =>
    Array.from({ length: 10 }, (_, i) => [i + 1, texts[i % texts.length]]);
  assert.deepEqual(moments("[a|(b:1.1)]"), alternating(["a", "(b:1.1)"]));
  assert.deepEqual(moments("[fe|]male"), alternating(["female", "male"]));
  assert.deepEqual(moments("[fe|||]male"), alternating(["female", "male", "male", "male"]));
  // Of a second pass of 10 steps after 10: 1.5 is half of it.
  assert.deepEqual(moments("a [b:.5] c", 10, 10), [[10, "a b c"]]);
  assert.deepEqual(moments("a [b:1.5] c", 10, 10), [
    [5, "a  c"],
    [10, "a b c"],
  ]);
  // Whole steps go on counting.
  assert.deepEqual(moments("[a:b:13]", 10, 10), [
    [3, "a"],
    [10, "b"],
  ]);
  assert.deepEqual(moments("[a:b:10]", 10, 10), [[10, "b"]]);
  assert.deepEqual(moments("[a:b:3]", 10, 10), [[10, "b"]]);
});

test("schedules: steps and fractions, ends, what is no schedule", () => {
  // 1.6 and later: with a point it is a fraction, also 1.0; without one it is a step.
  assert.deepEqual(moments("[a:b:1.0]", 20), [[20, "a"]]);
  assert.deepEqual(moments("[a:b:1]", 20), [
    [1, "a"],
    [20, "b"],
  ]);
  assert.deepEqual(moments("[a:b:0]"), [[10, "b"]]);
  assert.deepEqual(moments("[a:b:-2]"), [[10, "b"]]);
  assert.deepEqual(moments("[a:b:99]"), [[10, "a"]]);
  assert.deepEqual(moments("x [a::4] y"), [
    [4, "x a y"],
    [10, "x  y"],
  ]);
  assert.deepEqual(moments("[a|[b:c:5]]", 6), [
    [1, "a"],
    [2, "b"],
    [3, "a"],
    [4, "b"],
    [5, "a"],
    [6, "c"],
  ]);
  for (const text of [
    "[a:b]",
    "[a:b:c:3]",
    "a [less] b",
    "[x [a:b]:3]",
    "[(a:3]",
    String.raw`\[a:3]`,
    "a | b",
    "(a|b)",
  ])
    assert.deepEqual(moments(text), [[10, text]], text);
});

test("schedules: A1111's wiki example", () => {
  const prompt =
    "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]";
  const landscape = "fantasy landscape with a";
  assert.deepEqual(moments(prompt, 100), [
    [25, `${landscape} mountain and an oak in foreground shoddy`],
    [50, `${landscape} lake and an oak in foreground in background shoddy`],
    [60, `${landscape} lake and an oak in foreground in background masterful`],
    [75, `${landscape} lake and an oak in background masterful`],
    [100, `${landscape} lake and a christmas tree in background masterful`],
  ]);
});

test("AND: parts and their weights", () => {
  const parts = (prompt: string) => promptParts(prompt).map(({ text, weight }) => [text, weight]);
  assert.deepEqual(parts("a cat"), [["a cat", 1]]);
  assert.deepEqual(parts("a cat :1.2 AND a dog AND a penguin :2.2"), [
    ["a cat", 1.2],
    [" a dog", 1],
    [" a penguin", 2.2],
  ]);
  assert.deepEqual(parts("a cat:-.5"), [["a cat", -0.5]]);
  assert.deepEqual(parts("SAND ANDs (a:1.2) [b:c:0.5]"), [["SAND ANDs (a:1.2) [b:c:0.5]", 1]]);
  assert.deepEqual(parts(""), [["", 1]]);
  assert.equal(promptParts(new Array(64).fill("a").join(" AND ")).length, 64);
  assert.throws(() => promptParts(new Array(65).fill("a").join(" AND ")), isRefusal);
});

test("networks are taken out of the text and told", () => {
  assert.deepEqual(networkTags("a <lora:Style v2:0.8>cat<lora:x:te=0.8:unet=0.5:dyn=8> <3 <hypernet:h>"), {
    text: "a cat <3 ",
    networks: [
      { kind: "lora", name: "Style v2", values: ["0.8"], named: {} },
      { kind: "lora", name: "x", values: [], named: { te: "0.8", unet: "0.5", dyn: "8" } },
      { kind: "hypernet", name: "h", values: [], named: {} },
    ],
  });
  assert.deepEqual(networkTags("<LoRA:X:1:te=0.5:a=b=c>").networks, [
    { kind: "lora", name: "X", values: ["1"], named: { te: "0.5", a: "b=c" } },
  ]);
});

const isRefusal = (error: unknown) => error instanceof UsageError && error.code === "E_PROMPT";

test("nesting without end is refused, and length alone is no trouble", () => {
  const long = 200_000;
  for (const bracket of ["(", "[", "[a:", "[a|"]) {
    const prompt = bracket.repeat(long / bracket.length);
    assert.throws(() => attentionSpans(prompt), isRefusal);
    assert.throws(() => moments(prompt), isRefusal);
  }
  const harmless = [
    " ",
    "\\",
    ")",
    "]",
    ":",
    "BREAK ",
    "a:1 ",
    "(a)",
    "[a]",
    "((a:1.2)",
    "<lora:",
    "[a:3]",
    "[a:b] ",
    ":  ",
  ];
  for (const part of harmless) {
    const prompt = part.repeat(part === "((a:1.2)" ? 90 : long / part.length);
    assert.ok(attentionSpans(prompt).length > 0);
    assert.ok(moments(prompt).length > 0);
    networkTags(prompt);
    promptParts(prompt);
  }
});

test("any text is read, or refused in our words; plain text stays as it is", () => {
  const draw = seededRandom();
  const random = (limit: number) => Math.floor(draw() * limit);
  const letters = ["(", ")", "[", "]", ":", "|", "\\", "1", ".5", "a", " ", "BREAK", ",", "é", "AND"];
  for (let run = 0; run < 2000; run++) {
    const prompt = Array.from({ length: random(60) }, () => letters[random(letters.length)]).join("");
    try {
      for (const { untilStep, text } of promptMoments(prompt, { steps: 7 })) {
        assert.ok(untilStep >= 1 && untilStep <= 7);
        for (const span of attentionSpans(text)) if (span !== "BREAK") assert.ok(Number.isFinite(span.weight), prompt);
      }
    } catch (error) {
      assert.ok(isRefusal(error), prompt);
    }
    const plain = prompt.replace(/[()[\]:|\\]|BREAK/g, "");
    assert.deepEqual(moments(plain, 7), [[7, plain]]);
    assert.deepEqual(spans(plain), [[plain, 1]]);
  }
});

test("weights of nested brackets multiply", () => {
  const draw = seededRandom();
  const random = (limit: number) => Math.floor(draw() * limit);
  for (let run = 0; run < 200; run++) {
    const weights = Array.from({ length: 1 + random(8) }, () => (1 + random(30)) / 10);
    const prompt = weights.reduce((inner, weight) => `(${inner}:${weight})`, "word");
    const product = weights.reduce((sum, weight) => sum * weight, 1);
    assert.deepEqual(spans(prompt), product === 1 ? [["word", 1]] : [["word", product]]);
  }
});
