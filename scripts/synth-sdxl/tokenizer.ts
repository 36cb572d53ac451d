/** @file CLIP's vocabulary by its size and special ids alone: bytes, and as many merges of them as make 49,408 entries. */

const VOCAB = 49408;
const BYTES = 256;

/** GPT-2's printable stand-ins for bytes. */
function byteSymbols(): string[] {
  const symbols: string[] = [];
  let next = BYTES;
  for (let byte = 0; byte < BYTES; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    symbols.push(String.fromCodePoint(printable ? byte : next++));
  }
  // CLIP orders them with the printable ones first: "!" has id 0.
  return symbols.toSorted((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
}

/** [path, text] of both tokenizers' files. */
export function* tokenizerFiles(): Generator<readonly [string, string | object]> {
  const symbols = byteSymbols();
  const vocab = [...symbols, ...symbols.map((symbol) => `${symbol}</w>`)];
  const merges: string[] = [];
  for (const left of symbols) {
    for (const right of symbols) {
      if (vocab.length === VOCAB - 2) break;
      merges.push(`${left} ${right}</w>`);
      vocab.push(`${left}${right}</w>`);
    }
  }
  vocab.push("<|startoftext|>", "<|endoftext|>");
  const vocabJson = JSON.stringify(Object.fromEntries(vocab.map((token, id) => [token, id])));
  const mergesTxt = `#version: 0.2\n${merges.join("\n")}\n`;
  for (const [folder, padToken] of [
    ["tokenizer", "<|endoftext|>"],
    ["tokenizer_2", "!"],
  ] as const) {
    yield [`${folder}/vocab.json`, vocabJson];
    yield [`${folder}/merges.txt`, mergesTxt];
    yield [
      `${folder}/tokenizer_config.json`,
      {
        bos_token: "<|startoftext|>",
        eos_token: "<|endoftext|>",
        unk_token: "<|endoftext|>",
        pad_token: padToken,
        model_max_length: 77,
        tokenizer_class: "CLIPTokenizer",
      },
    ];
  }
}
