/** @file How prompts may be written. */

/** "plain": every character is text, as diffusers reads it. "a1111": the web UI's syntax. */
export const PROMPT_SYNTAXES = ["plain", "a1111"] as const;

export type PromptSyntax = (typeof PROMPT_SYNTAXES)[number];
