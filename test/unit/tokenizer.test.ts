/** @file CLIP's tokenizer against transformers' CLIPTokenizer, for several vocabularies, configurations and texts. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { ArtifactError } from "../../src/errors.ts";
import { cutNote, cutPrompts } from "../../src/job/cut-text.ts";
import { splitAtTokens } from "../../src/tokenizer/added-tokens.ts";
import { mergePairs, pairKey } from "../../src/tokenizer/byte-pairs.ts";
import { type ClipTokenizer, type ClipTokenizerFiles, loadClipTokenizer } from "../../src/tokenizer/clip.ts";
import { characterClass } from "../../src/tokenizer/unicode.ts";
import { vocabularyOf } from "../../src/tokenizer/vocabulary.ts";

interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly map?: Record<string, unknown>;
  readonly file?: Record<string, number>;
  readonly added?: readonly unknown[];
  readonly json?: boolean;
  readonly bos: number;
  readonly eos: number;
  readonly pad: number;
  readonly ids: readonly (readonly number[])[];
}

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const golden = JSON.parse(read("fixtures/tokenizer/golden.json")) as {
  prompts: string[];
  cases: Case[];
  demo: Record<string, number[][]>;
};
const vocabJson = read("fixtures/tokenizer/vocab.json");
const mergesTxt = read("fixtures/tokenizer/merges.txt");
const vocab = JSON.parse(vocabJson) as Record<string, number>;

function filesOf(given: Case): ClipTokenizerFiles {
  const common = {
    tokenizerConfigJson: JSON.stringify(given.config),
    specialTokensMapJson: given.map && JSON.stringify(given.map),
    addedTokensJson: given.file && JSON.stringify(given.file),
  };
  if (!given.json) return { ...common, vocabJson, mergesTxt };
  const merges = mergesTxt.trimEnd().split("\n").slice(1);
  const model = { type: "BPE", vocab, merges };
  return { ...common, tokenizerJson: JSON.stringify({ added_tokens: given.added, model }), vocabJson: "{}" };
}

function checkIds(tokenizer: ClipTokenizer, expected: readonly (readonly number[])[]): void {
  golden.prompts.forEach((prompt, index) => {
    const wanted = [...expected[index]!];
    while (wanted.length < tokenizer.modelMaxLength) wanted.push(tokenizer.padId);
    assert.deepEqual(tokenizer.encode(prompt), wanted, JSON.stringify(prompt));
    assert.ok(Math.max(...wanted) < tokenizer.idLimit);
  });
}

for (const given of golden.cases) {
  test(`${given.name}: ids equal transformers'`, () => {
    const tokenizer = loadClipTokenizer(filesOf(given), "tokenizer");
    assert.deepEqual([tokenizer.bosId, tokenizer.eosId, tokenizer.padId], [given.bos, given.eos, given.pad]);
    checkIds(tokenizer, given.ids);
    // Words of one's own leave all others what they are.
    if (given.name === "odd tokens") checkIds(tokenizer.withWords([{ name: "<own-word>", ids: [5] }]), given.ids);
  });
}

for (const name of ["tokenizer", "tokenizer_2"]) {
  const folder = `models/demo/${name}`;
  const tokenizerConfigJson = read(`${folder}/tokenizer_config.json`);
  test(`the demo model's ${name}: ids equal transformers', from either form`, () => {
    const fast = loadClipTokenizer({ tokenizerJson: read(`${folder}/tokenizer.json`), tokenizerConfigJson }, name);
    checkIds(fast, golden.demo[name]!);
    const pair = { vocabJson: read(`${folder}/vocab.json`), mergesTxt: read(`${folder}/merges.txt`) };
    checkIds(loadClipTokenizer({ ...pair, tokenizerConfigJson }, name), golden.demo[name]!);
  });
}

const sdxl = loadClipTokenizer(filesOf(golden.cases[0]!), "tokenizer");

test("every code point falls in the class that tokenizers gives it", (context) => {
  if (process.versions.unicode !== "17.0") {
    context.skip(`skipped: this Node has Unicode ${process.versions.unicode}, the table is for 17.0`);
    return;
  }
  const ranges = JSON.parse(read("fixtures/tokenizer/unicode.json")) as Record<string, [number, number][]>;
  const classes = new Array<string>(0x110000).fill("other");
  for (const [name, list] of Object.entries(ranges)) for (const [from, to] of list) classes.fill(name, from, to + 1);
  const wrong: string[] = [];
  for (let point = 0; point < 0x110000; point++) {
    if (point >= 0xd800 && point < 0xe000) continue;
    if (characterClass(String.fromCodePoint(point)) !== classes[point]) wrong.push(point.toString(16));
  }
  assert.deepEqual(wrong, []);
});

test("lone surrogates count as the replacement character", () => {
  assert.deepEqual(sdxl.encode("a\ud800b \udc00"), sdxl.encode("a\ufffdb \ufffd"));
});

test("a vocabulary follows from its merges: the demo model's whole file, and CLIP's known ids", () => {
  const made = (folder: string) => JSON.parse(vocabularyOf(read(`${folder}/merges.txt`), "merges.txt"));
  assert.deepEqual(made("models/demo/tokenizer"), JSON.parse(read("models/demo/tokenizer/vocab.json")));
  // Of openai/clip-vit-large-patch14's vocab.json, which transformers reads.
  const known = { "!": 0, ÿ: 187, Ā: 188, Ń: 255, "!</w>": 256, "a</w>": 320, "photo</w>": 1125 };
  const clip = made("models/clip");
  for (const [token, id] of Object.entries(known)) assert.equal(clip[token], id, token);
  assert.deepEqual([clip["<|startoftext|>"], clip["<|endoftext|>"]], [49_406, 49_407]);
});

test("any string gives bos, the text, eos and padding, all below idLimit", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      const ids = sdxl.encode(text);
      assert.equal(ids.length, 77);
      assert.equal(ids[0], sdxl.bosId);
      assert.ok(ids.includes(sdxl.eosId));
      assert.ok(ids.every((id) => Number.isInteger(id) && id >= 0 && id < sdxl.idLimit));
    }),
  );
});

test("a merge goes one pair at a time, lowest rank first, then leftmost", () => {
  const table = new Map([
    [pairKey(0, 0), { rank: 1, newId: 1 }],
    [pairKey(1, 0), { rank: 0, newId: 2 }],
  ]);
  assert.deepEqual(mergePairs([0, 0, 0, 0], table), [2, 0]);
  assert.deepEqual(mergePairs([0, 0, 3, 0, 0], table), [1, 3, 1]);
  assert.deepEqual(mergePairs([], table), []);
});

test("added tokens: leftmost, then longest, alone where they are words, with the space that they take", () => {
  const token = { content: "", normalized: false, singleWord: false, lstrip: false, rstrip: false };
  const needles = [
    { pattern: "<a>", id: 0, token },
    { pattern: "<a>b", id: 1, token },
    { pattern: "<l>", id: 2, token: { ...token, lstrip: true } },
    { pattern: "<r>", id: 3, token: { ...token, rstrip: true } },
    { pattern: "<lr>", id: 4, token: { ...token, lstrip: true, rstrip: true } },
    { pattern: "<w>", id: 5, token: { ...token, singleWord: true } },
  ];
  // Tokenizer(WordLevel) of tokenizers 0.23 with these as AddedToken: its ids and offsets.
  for (const [text, parts] of [
    ["x<a>by", ["x", 1, "y"]],
    ["<a><a>b<a>", [0, 1, 0]],
    ["x  <l>  y", ["x", 2, "  y"]],
    ["x  <r> \t\n y", ["x  ", 3, "y"]],
    ["x  <lr>  y", ["x", 4, "y"]],
    ["<r>  <l>", [3, 2]],
    ["<r>  <a>  <l>", [3, 0, 2]],
    ["<l> <l>", [2, 2]],
    ["<r>  ", [3]],
    ["<w> a<w>b <w>. _<w> <w>", [5, " a<w>b ", 5, ". _<w> ", 5]],
    ["é<w>é", ["é<w>é"]],
    ["<w>-<w>", [5, "-", 5]],
  ] as const) {
    const found = splitAtTokens(text, needles).map((part) => ("id" in part ? part.id : part.text));
    assert.deepEqual(found, parts, JSON.stringify(text));
    assert.deepEqual(splitAtTokens(text, needles.toReversed()), splitAtTokens(text, needles), "in any order");
  }
});

test("malformed files name the file and the fault", () => {
  const bad: [ClipTokenizerFiles, RegExp][] = [
    [{}, /E_TOKENIZER t\/vocab\.json: missing, and so is tokenizer\.json/],
    [{ vocabJson }, /t\/merges\.txt: missing/],
    [{ vocabJson: "{", mergesTxt }, /t\/vocab\.json: not JSON/],
    [{ vocabJson: "[]", mergesTxt }, /t\/vocab\.json: the root is not a JSON object/],
    [{ vocabJson: "{}", mergesTxt }, /t\/vocab\.json: no vocabulary/],
    [{ vocabJson: '{"a":-1}', mergesTxt }, /token "a" has no usable id \(found -1/],
    [{ vocabJson: '{"a":"x"}', mergesTxt }, /token "a" has no usable id/],
    [{ vocabJson, mergesTxt: "#version: 0.2\na b c\n" }, /t\/merges\.txt: line 2 is not two symbols/],
    [{ vocabJson, mergesTxt: "\n\n" }, /t\/merges\.txt: line 1 is not two symbols/],
    [{ vocabJson, mergesTxt: "zzqq x\n" }, /merge 0 needs "zzqq", which the vocabulary lacks/],
    [{ tokenizerJson: "{}" }, /t\/tokenizer\.json: it has no model/],
    [{ tokenizerJson: '{"model":{"type":"Unigram"}}' }, /not byte-pair encoding \(found model type "Unigram"/],
    [{ tokenizerJson: '{"model":{"vocab":{"a":0},"merges":[["a"]]}}' }, /merge 0 is not a pair of strings/],
    [{ tokenizerJson: '{"model":{"vocab":{"a":0},"merges":{}}}' }, /model\.merges is not a list/],
    [
      { tokenizerJson: '{"model":{"vocab":{"a":0},"merges":[]},"added_tokens":[{}]}' },
      /added_tokens\[0\] has no usable/,
    ],
    [{ vocabJson, mergesTxt, tokenizerConfigJson: '{"pad_token":7}' }, /pad_token is neither a string nor/],
    [
      { vocabJson, mergesTxt, tokenizerConfigJson: '{"pad_token":null}' },
      /t\/tokenizer_config\.json: pad_token is null or empty\. Next: take the field out/,
    ],
    [
      {
        vocabJson,
        mergesTxt,
        tokenizerConfigJson: '{"bos_token":"<|startoftext|>"}',
        specialTokensMapJson: '{"bos_token":null}',
      },
      /t\/special_tokens_map\.json: bos_token is null or empty/,
    ],
    [{ vocabJson, mergesTxt, tokenizerConfigJson: '{"model_max_length":1}' }, /model_max_length is not usable/],
    [{ vocabJson, mergesTxt, specialTokensMapJson: "null" }, /special_tokens_map\.json: the root is not/],
  ];
  for (const [files, message] of bad) {
    assert.throws(
      () => loadClipTokenizer(files, "t"),
      (error: unknown) => {
        assert.ok(error instanceof ArtifactError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("a length that stands for not known is CLIP's own", () => {
  const lengthOf = (length: number | null) =>
    loadClipTokenizer(
      { vocabJson, mergesTxt, tokenizerConfigJson: JSON.stringify({ model_max_length: length }) },
      "tokenizer",
    ).modelMaxLength;
  // transformers writes 1e30.
  assert.deepEqual([1e30, null, 65_536, 65_537, 50].map(lengthOf), [77, 77, 65_536, 77, 50]);
});

test("a vocabulary without some byte uses the unknown token, or says what it lacks", () => {
  const small = { "a</w>": 0, "<|endoftext|>": 1, "<|startoftext|>": 2 };
  const config = JSON.stringify({ model_max_length: 6 });
  const files = { vocabJson: JSON.stringify(small), mergesTxt: "", tokenizerConfigJson: config };
  assert.deepEqual(loadClipTokenizer(files, "").encode("a ba"), [2, 0, 1, 0, 1, 1]);
  // What the table of embeddings must have rows for: added tokens' too.
  const added = loadClipTokenizer({ ...files, addedTokensJson: '{"<new>":7}' }, "");
  assert.deepEqual([loadClipTokenizer(files, "").idLimit, added.idLimit], [3, 4]);
  assert.equal(added.encode("<new>")[1], 3, "the next that is free, as transformers gives it");
  const unknown = JSON.stringify({ unk_token: null });
  assert.throws(
    () => loadClipTokenizer({ ...files, tokenizerConfigJson: unknown }, "").encode("b"),
    /lacks both "b<\/w>"/,
  );
});

test("what does not fit is told as text: with what is kept it is the whole prompt, by each tokenizer's own length", () => {
  const kinds = [{}, { truncation_side: "left" }, { model_max_length: 9 }];
  for (const [i, more] of kinds.entries()) {
    const given = { ...golden.cases[0]!, config: { ...golden.cases[0]!.config, ...more } };
    const tokenizer = loadClipTokenizer(filesOf(given), "tokenizer");
    const room = tokenizer.modelMaxLength - 2;
    const all = loadClipTokenizer(filesOf({ ...given, config: { ...given.config, model_max_length: 4000 } }), "t");
    const text = "A lake at dawn, with Mist & pines; çà et là 湖 ".repeat(20).trim();
    const ids = all
      .encode(text)
      .slice(1)
      .filter((id) => id !== all.padId && id !== all.eosId);
    const cut = tokenizer.cut(text)!;
    assert.equal(cut.limit, room);
    assert.equal(cut.tokens, ids.length - room);
    assert.ok(
      i === 1 ? cut.text.startsWith("a lake at dawn , with") : cut.text.endsWith(" pines ; çà et là 湖"),
      cut.text,
    );
    assert.equal(tokenizer.cut("a lake"), undefined);
  }
});

test("the note on a cut prompt says which tokenizers left out what; nothing cut is no note", () => {
  const same = { limit: 75, tokens: 2, text: "dawn mist" };
  assert.equal(
    cutNote("prompt", { tokenizer: same, tokenizer_2: same }),
    'The prompt is too long for tokenizer and tokenizer_2 (75 tokens): 2 are left out, "dawn mist"',
  );
  const other = { limit: 77, tokens: 1, text: "mist" };
  assert.match(
    cutNote("negative prompt", { a: same, b: other })!,
    /^The negative .* for a \(75 .*; for b \(77 .*1 is left/,
  );
  assert.equal(cutNote("prompt", {}), undefined);
});

test("prompts that may be cut: both encoders' and both passes', negative ones where they are read, none of A1111's", () => {
  const job = { prompt: "a", prompt2: "b", negativePrompt: "c", negativePrompt2: "", hiresPrompt: "d" };
  const said = (cut: ReturnType<typeof cutPrompts>) => cut.map(({ what, text, second }) => [what, text, second]);
  assert.deepEqual(said(cutPrompts({ ...job, hiresScale: 2 }, true)), [
    ["prompt", "a", "b"],
    ["second pass's prompt", "d", "b"],
    ["negative prompt", "c", undefined],
  ]);
  assert.deepEqual(said(cutPrompts(job, false)), [["prompt", "a", "b"]]);
  assert.deepEqual(cutPrompts({ ...job, promptSyntax: "a1111" }, true), []);
});
