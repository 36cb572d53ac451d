/** @file SDXL's two tokenizers, and whether the text encoders know their tokens. */
import { MAX_TEXT_BYTES } from "../../checkpoint/weight-folder.ts";
import { ArtifactError } from "../../errors.ts";
import type { Folder } from "../../source/folder.ts";
import { type ClipTokenizer, type ClipTokenizerFiles, loadClipTokenizer } from "../../tokenizer/clip.ts";
import type { ClipConfig } from "../clip.ts";
import { TOKENIZER_TEXTS } from "./files.ts";

export interface Tokenizers {
  readonly tokenizer: ClipTokenizer;
  readonly tokenizer2: ClipTokenizer;
}

/** Rejects with ArtifactError `E_MISSING` or `E_TOKENIZER`. */
export async function openTokenizers(folder: Folder): Promise<Tokenizers> {
  return {
    tokenizer: await openTokenizer(folder, "tokenizer"),
    tokenizer2: await openTokenizer(folder, "tokenizer_2"),
  };
}

/** One of them, by its folder. Rejects with ArtifactError `E_MISSING` or `E_TOKENIZER`. */
export async function openTokenizer(folder: Folder, dir: string): Promise<ClipTokenizer> {
  const files: { -readonly [Part in keyof ClipTokenizerFiles]: string | undefined } = {};
  for (const [part, file] of Object.entries(TOKENIZER_TEXTS) as [keyof ClipTokenizerFiles, string][]) {
    files[part] = await folder.readText(`${dir}/${file}`, MAX_TEXT_BYTES);
  }
  if (files.tokenizerJson === undefined && (files.vocabJson === undefined || files.mergesTxt === undefined)) {
    throw new ArtifactError({
      code: "E_MISSING",
      subject: `${folder.name}/${dir}/vocab.json and merges.txt (or tokenizer.json)`,
      problem: "not there",
      next: "fetch the model's tokenizer files",
    });
  }
  return loadClipTokenizer(files, `${folder.name}/${dir}`);
}

/** What every prompt uses must be in the text encoders' tables; rarer ids are checked when a prompt has them. */
export function requireMatchingTokens(
  folder: Folder,
  { tokenizer, tokenizer2 }: Tokenizers,
  { textEncoder, textEncoder2 }: { readonly textEncoder: ClipConfig; readonly textEncoder2: ClipConfig },
): void {
  const refuse = (dir: string, problem: string) =>
    new ArtifactError({
      code: "E_TOKENIZER",
      subject: `${folder.name}/${dir}`,
      problem,
      next: "take tokenizers and text encoders from one model",
    });
  for (const [dir, { bosId, eosId, padId, modelMaxLength }, { vocabSize, maxPositions }] of [
    ["tokenizer", tokenizer, textEncoder],
    ["tokenizer_2", tokenizer2, textEncoder2],
  ] as const) {
    const largest = Math.max(bosId, eosId, padId);
    if (largest >= vocabSize) {
      throw refuse(dir, `its special token ${largest} is not in the text encoder's vocabulary of ${vocabSize}`);
    }
    if (modelMaxLength > maxPositions) {
      throw refuse(dir, `prompts of ${modelMaxLength} tokens don't fit the text encoder's ${maxPositions} positions`);
    }
  }
  if (tokenizer.modelMaxLength === tokenizer2.modelMaxLength) return;
  throw refuse(
    "tokenizer_2",
    `it gives ${tokenizer2.modelMaxLength} tokens, the first tokenizer ${tokenizer.modelMaxLength}`,
  );
}
