/** @file A prompt through both text encoders (diffusers encode_prompt). S text tokens, D = C1 + C2 channels. */
import type { Component, SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import { ArtifactError } from "../errors.ts";
import type { ClipConfig } from "../model/config.ts";
import type { ClipTokenizer } from "../tokenizer/clip.ts";
import type { SdxlRuntime } from "./runtime.ts";

export interface PromptEmbedding {
  readonly tokens: number;
  /** Penultimate hidden states of both encoders side by side, [S, D]. */
  readonly hidden: Float32Array<ArrayBuffer>;
  /** Projected end-of-text state of the second encoder, [P]. */
  readonly pooled: Float32Array<ArrayBuffer>;
}

export async function encodePrompt(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  prompt: string,
): Promise<PromptEmbedding> {
  const known = runtime.promptCache.get(prompt);
  if (known) return known;
  const first = await encode(runtime, "textEncoder", checkpoint.textEncoder, checkpoint.tokenizer, prompt);
  const second = await encode(runtime, "textEncoder2", checkpoint.textEncoder2, checkpoint.tokenizer2, prompt);
  const tokens = first.ids.length;
  const [width1, width2] = [checkpoint.textEncoder.config.hiddenSize, checkpoint.textEncoder2.config.hiddenSize];
  const hidden = new Float32Array(tokens * (width1 + width2));
  for (let t = 0; t < tokens; t++) {
    hidden.set(first.hidden.subarray(t * width1, (t + 1) * width1), t * (width1 + width2));
    hidden.set(second.hidden.subarray(t * width2, (t + 1) * width2), t * (width1 + width2) + width1);
  }
  const embedding = { tokens, hidden, pooled: second.pooled! };
  runtime.promptCache.set(prompt, embedding);
  return embedding;
}

/** What SDXL base takes for a negative prompt that was not given. */
export function zeroEmbedding(like: PromptEmbedding): PromptEmbedding {
  return {
    tokens: like.tokens,
    hidden: new Float32Array(like.hidden.length),
    pooled: new Float32Array(like.pooled.length),
  };
}

async function encode(
  runtime: SdxlRuntime,
  component: "textEncoder" | "textEncoder2",
  { config }: Component<ClipConfig>,
  tokenizer: ClipTokenizer,
  prompt: string,
): Promise<{ ids: readonly number[]; hidden: Float32Array; pooled?: Float32Array<ArrayBuffer> }> {
  const ids = tokenizer.encode(prompt);
  const foreign = ids.find((id) => id >= config.vocabSize);
  if (foreign !== undefined) {
    throw new ArtifactError({
      code: "E_TOKENIZER",
      problem: `the prompt has token ${foreign}, which the text encoder's vocabulary of ${config.vocabSize} lacks`,
      next: "take tokenizers and text encoders from one model",
    });
  }
  const pooled = component === "textEncoder2";
  const graph = runtime.graphs.clip(component, config, { batch: 1, tokens: ids.length, pooled });
  const inputs = new Map([
    ["ids", Int32Array.from(ids)],
    ["positions", Int32Array.from(ids, (_, i) => i)],
    ...(pooled ? [["eos_rows", Int32Array.of(eosPosition(ids, config.eosTokenId))] as const] : []),
  ]);
  const outputs = await runtime.run(component, graph, inputs);
  const pooledOutput = outputs.get("pooled");
  return { ids, hidden: outputs.get("hidden")!, ...(pooledOutput ? { pooled: pooledOutput } : {}) };
}

/** transformers: with the legacy eos_token_id 2 the highest id, else the first end-of-text token (0 if there is none). */
export function eosPosition(ids: readonly number[], eosTokenId: number): number {
  if (eosTokenId === 2) return ids.indexOf(ids.reduce((max, id) => Math.max(max, id), 0));
  return Math.max(0, ids.indexOf(eosTokenId));
}
