/** @file What a tokenizer leaves out of a prompt that is too long. */

export interface CutText {
  /** Tokens that a prompt may have. */
  readonly limit: number;
  /** Tokens that are left out. */
  readonly tokens: number;
  /** Their text, in lower case as the tokenizer reads it; words may be cut. */
  readonly text: string;
}

/** By the tokenizer's name; those that take all of the prompt aren't there. */
export type CutTexts = Readonly<Record<string, CutText>>;
