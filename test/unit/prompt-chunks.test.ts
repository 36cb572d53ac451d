/** @file Long prompts in chunks by A1111's rules (modules/sd_hijack_clip.py, tokenize_line): full ones, commas near their end, BREAK, learned words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { weightedChunks } from "../../src/prompt/chunks.ts";

const [BOS, EOS, PAD, COMMA] = [900, 901, 902, 1];
/** Room for 30 tokens. A number is its own token, L3 a learned word of three vectors. */
const TOKENIZER = {
  ...{ bosId: BOS, eosId: EOS, padId: PAD, modelMaxLength: 32 },
  textIds: (text: string) =>
    text.split(" ").flatMap((word) => {
      if (word === "") return [];
      if (word === ",") return [COMMA];
      const [, vectors] = /^L(\d+)$/.exec(word) ?? [];
      return vectors === undefined ? [Number(word)] : Array.from({ length: Number(vectors) }, (_, i) => -1 - i);
    }),
};
const words = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

/** The tokens of each chunk between its start and its end. */
function chunksOf(...tokens: readonly (number | string)[]): number[][] {
  const text = tokens.map((token) => (token === COMMA ? "," : token)).join(" ");
  return weightedChunks(text, TOKENIZER).map(({ ids }) => {
    assert.equal(ids.length, 32);
    const end = ids.indexOf(EOS);
    assert.deepEqual([ids[0], [...new Set(ids.slice(end + 1))]], [BOS, end === 31 ? [] : [PAD]]);
    return ids.slice(1, end);
  });
}

test("a chunk takes as many as it has room for; of nothing there is one", () => {
  assert.deepEqual(chunksOf(), [[]]);
  assert.deepEqual(chunksOf(...words(10, 30)), [words(10, 30)]);
  assert.deepEqual(chunksOf(...words(10, 31)), [words(10, 30), [40]]);
  assert.deepEqual(chunksOf(...words(10, 61)), [words(10, 30), words(40, 30), [70]]);
});

test("what follows a comma among the last twenty of a full chunk goes over into the next", () => {
  const withComma = (at: number) => [...words(10, at), COMMA, ...words(50, 31 - at)];
  for (const at of [10, 15, 28]) {
    assert.deepEqual(chunksOf(...withComma(at)), [[...words(10, at), COMMA], words(50, 31 - at)], `comma at ${at}`);
  }
  // Its last: nothing follows that could move. Further back than twenty: nothing moves.
  assert.deepEqual(chunksOf(...withComma(29)), [
    [...words(10, 29), COMMA],
    [50, 51],
  ]);
  assert.deepEqual(chunksOf(...withComma(9)), [
    [...words(10, 9), COMMA, ...words(50, 20)],
    [70, 71],
  ]);
  // The last comma counts; a comma that finds the chunk full begins the next one, and takes nothing along.
  const two = [...words(10, 12), COMMA, ...words(30, 7), COMMA, ...words(50, 10)];
  assert.deepEqual(chunksOf(...two), [[...words(10, 12), COMMA, ...words(30, 7), COMMA], words(50, 10)]);
  const next = [...words(10, 20), COMMA, ...words(40, 9), COMMA, 60];
  assert.deepEqual(chunksOf(...next), [
    [...words(10, 20), COMMA, ...words(40, 9)],
    [COMMA, 60],
  ]);
  // A comma of the chunk before is none of this one's.
  const third = [...words(10, 29), COMMA, ...words(50, 31)];
  assert.deepEqual(chunksOf(...third), [[...words(10, 29), COMMA], words(50, 30), [80]]);
});

test("BREAK ends a chunk early", () => {
  assert.deepEqual(chunksOf(10, "BREAK", 11), [[10], [11]]);
  assert.deepEqual(chunksOf(10, COMMA, "BREAK", ...words(20, 31)), [[10, COMMA], words(20, 30), [50]]);
  assert.deepEqual(chunksOf(10, "BREAK"), [[10]]);
  assert.deepEqual(chunksOf("BREAK", 10), [[], [10]]);
});

test("a learned word is not cut in two, where it fits into a chunk at all", () => {
  assert.deepEqual(chunksOf(...words(10, 27), "L3"), [[...words(10, 27), -1, -2, -3]]);
  assert.deepEqual(chunksOf(...words(10, 28), "L3"), [words(10, 28), [-1, -2, -3]]);
  assert.deepEqual(chunksOf(...words(10, 26), "L3", "L3"), [
    [...words(10, 26), -1, -2, -3],
    [-1, -2, -3],
  ]);
  assert.deepEqual(
    chunksOf("L31").map((chunk) => chunk.length),
    [30, 1],
  );
});

test("weights go with their tokens, also into the next chunk; start, end and padding have 1", () => {
  const text = `${words(10, 27).join(" ")} , (51 52:1.5) (53:0.5)`;
  const [first, second, ...more] = weightedChunks(text, TOKENIZER);
  assert.deepEqual([first!.weights, more], [undefined, []]);
  assert.deepEqual(second!.ids.slice(0, 5), [BOS, 51, 52, 53, EOS]);
  assert.deepEqual(second!.weights, [1, 1.5, 1.5, 0.5, ...new Array<number>(28).fill(1)]);
});
