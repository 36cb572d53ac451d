/**
 * @file The Unicode of Hugging Face `tokenizers` 0.23: normalisation and word splitting as CLIP has them.
 * Its letter classes are those of Unicode 16 and its NFC is older still, while JavaScript follows its engine, so the
 * differences are written out here. fixtures/tokenizer/unicode.json holds its answer for every code point.
 */

/** `\p{L}` of Unicode 17 that Unicode 16 does not know. */
const LATER_LETTERS =
  String.raw`\u{88f}\u{c5c}\u{cdc}\u{a7ce}-\u{a7cf}\u{a7d2}\u{a7d4}\u{a7f1}\u{10940}-\u{10959}\u{10ec5}-` +
  String.raw`\u{10ec7}\u{11db0}-\u{11ddb}\u{16ea0}-\u{16eb8}\u{16ebb}-\u{16ed3}\u{16ff2}-\u{16ff3}\u{187f8}-` +
  String.raw`\u{187ff}\u{18d09}-\u{18d1e}\u{18d80}-\u{18df2}\u{1e6c0}-\u{1e6de}\u{1e6e0}-\u{1e6e2}\u{1e6e4}-` +
  String.raw`\u{1e6e5}\u{1e6e7}-\u{1e6ed}\u{1e6f0}-\u{1e6f4}\u{1e6fe}-\u{1e6ff}\u{2b73a}-\u{2b73f}\u{2cea2}-` +
  String.raw`\u{2cead}\u{323b0}-\u{33479}`;

/** `\p{N}` of Unicode 17 that Unicode 16 does not know. */
const LATER_NUMBERS = String.raw`\u{11de0}-\u{11de9}\u{16ff4}-\u{16ff6}`;

/**
 * Marks that `tokenizers` does not reorder and letters that it does not compose: its NFC is older than the rest of it.
 * Each of them parts the text into pieces that are normalised alone.
 */
const NFC_BARRIERS =
  String.raw`\u{7fd}\u{897}-\u{89f}\u{8ca}-\u{8d3}\u{9fe}\u{c3c}\u{d3b}-\u{d3c}\u{eba}\u{1715}\u{1abf}-\u{1add}` +
  String.raw`\u{1ae0}-\u{1aeb}\u{1df6}-\u{1dfa}\u{a82c}\u{105d2}\u{105da}\u{10d24}-\u{10d27}\u{10d69}-\u{10d6d}` +
  String.raw`\u{10eab}-\u{10eac}\u{10efa}-\u{10efb}\u{10efd}-\u{10eff}\u{10f46}-\u{10f50}\u{10f82}-\u{10f85}` +
  String.raw`\u{11070}\u{1133b}\u{11382}\u{11384}\u{1138b}\u{11390}\u{113b8}\u{113bb}\u{113c2}\u{113c9}` +
  String.raw`\u{113ce}-\u{113d0}\u{1145e}\u{11839}-\u{1183a}\u{11930}\u{11935}\u{1193d}-\u{1193e}\u{11943}` +
  String.raw`\u{119e0}\u{11a34}\u{11a47}\u{11a99}\u{11d42}\u{11d44}-\u{11d45}\u{11d97}\u{11f41}-\u{11f42}` +
  String.raw`\u{1611e}-\u{16120}\u{16129}\u{1612f}\u{16d63}\u{16d67}\u{16ff0}-\u{16ff1}\u{1e08f}\u{1e130}-` +
  String.raw`\u{1e136}\u{1e2ae}\u{1e2ec}-\u{1e2ef}\u{1e4ec}-\u{1e4ef}\u{1e5ee}-\u{1e5ef}\u{1e6e3}\u{1e6e6}` +
  String.raw`\u{1e6ee}-\u{1e6ef}\u{1e6f5}`;

/** White space as in Unicode's `White_Space`, which JavaScript's `\s` is not (it lacks U+0085 and adds U+FEFF). */
export const WHITE_SPACE = String.raw`\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;

const LETTER = String.raw`[\p{L}--[${LATER_LETTERS}]]`;
const NUMBER = String.raw`[\p{N}--[${LATER_NUMBERS}]]`;
const OTHER = `[^${WHITE_SPACE}${LETTER}${NUMBER}]`;

const NOT_PLAIN = /[^\x20-\x7e]/u;
const SPACES = new RegExp(`[${WHITE_SPACE}]+`, "gu");
const BARRIER = new RegExp(`([${NFC_BARRIERS}])`, "u");
const PIECE = new RegExp(
  String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|${LETTER}+|${NUMBER}|${OTHER}+`,
  "gv",
);
/** What byte-level splitting cuts further: the two names above, when they were not taken as special tokens. */
const NAME = /^(<\|)(startoftext|endoftext)(\|>)$/;

/** NFC, runs of white space to one space, lower case (each character by itself: a final sigma is not special). */
export function normalizeText(text: string): string {
  if (!NOT_PLAIN.test(text)) return text.replace(SPACES, " ").toLowerCase();
  const composed = text
    .toWellFormed()
    .split(BARRIER)
    .map((part) => part.normalize("NFC"))
    .join("");
  let lower = "";
  for (const character of composed.replace(SPACES, " ")) lower += character.toLowerCase();
  return lower;
}

/** CLIP's pieces of a normalised text: letters, single digits, contractions, runs of anything else but space. */
export function splitPieces(normalized: string): string[] {
  const pieces: string[] = [];
  for (const [piece] of normalized.matchAll(PIECE)) {
    const name = NAME.exec(piece);
    if (name) pieces.push(...name.slice(1));
    else pieces.push(piece);
  }
  return pieces;
}

/** "letter", "number", "space" or "other": the class in which `splitPieces` sees a character. */
export function characterClass(character: string): "letter" | "number" | "space" | "other" {
  if (IS_LETTER.test(character)) return "letter";
  if (IS_NUMBER.test(character)) return "number";
  return IS_SPACE.test(character) ? "space" : "other";
}

const IS_LETTER = new RegExp(`^${LETTER}$`, "v");
const IS_NUMBER = new RegExp(`^${NUMBER}$`, "v");
const IS_SPACE = new RegExp(`^[${WHITE_SPACE}]$`, "u");
