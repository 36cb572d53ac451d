/** @file CLIP's vocabulary, which follows from its merges (OpenAI's CLIP, clip/simple_tokenizer.py): its file is made, not kept. */
import { readMergeLines } from "./files.ts";

const WORD_END = "</w>";
const SPECIAL = ["<|startoftext|>", "<|endoftext|>"];

/** vocab.json: the 256 bytes' letters, the same at a word's end, what the pairs merge to, and the two special tokens. */
export function vocabularyOf(mergesTxt: string, file: string): string {
  const letters = byteLetters();
  const tokens = [
    ...letters,
    ...letters.map((letter) => letter + WORD_END),
    ...readMergeLines(mergesTxt, file).map(([left, right]) => left + right),
    ...SPECIAL,
  ];
  return JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id])));
}

/** GPT-2's letters for bytes, in the order of their ids: printable Latin-1 as it is, then the others as letters from 256 on. */
function byteLetters(): string[] {
  const isPrintable = (code: number) =>
    (code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255);
  const codes = Array.from({ length: 256 }, (_, code) => code);
  const others = codes.filter((code) => !isPrintable(code)).map((_, i) => 256 + i);
  return [...codes.filter(isPrintable), ...others].map((code) => String.fromCharCode(code));
}
