/** @file A prompt through both text encoders (diffusers encode_prompt). S text tokens, D = C1 + C2 channels. */
import type { Component, SdxlCheckpoint } from "../checkpoint/sdxl-folder.ts";
import { ArtifactError } from "../errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { ClipConfig } from "../model/config.ts";
import type { ClipTokenizer } from "../tokenizer/clip.ts";
import { requireFiniteValues } from "./guard.ts";
import type { OpenPhase } from "./open-phase.ts";
import type { PlannedJob, SdxlRuntime } from "./runtime.ts";

export interface PromptEmbedding {
  readonly tokens: number;
  /** Penultimate hidden states of both encoders side by side, [S, D]. */
  readonly hidden: Float32Array<ArrayBuffer>;
  /** Projected end-of-text state of the second encoder, [P]. */
  readonly pooled: Float32Array<ArrayBuffer>;
}

/** The embeddings of `prompts`, in their order; the phase is opened only if one of them is not known yet. */
export async function encodePrompts(
  checkpoint: SdxlCheckpoint,
  runtime: SdxlRuntime,
  job: PlannedJob,
  prompts: readonly string[],
  signal?: AbortSignal,
): Promise<PromptEmbedding[]> {
  const known = prompts.map((prompt) => runtime.promptCache.get(prompt));
  if (known.every((embedding) => embedding !== undefined)) return known;
  await using phase = await runtime.openPhase(job, "encode", signal);
  const embeddings: PromptEmbedding[] = [];
  for (const [i, prompt] of prompts.entries()) {
    const embedding =
      known[i] ?? runtime.promptCache.get(prompt) ?? (await encodePrompt(checkpoint, job, phase, prompt, signal));
    runtime.promptCache.set(prompt, embedding);
    embeddings.push(embedding);
  }
  return embeddings;
}

async function encodePrompt(
  checkpoint: SdxlCheckpoint,
  { graphs }: PlannedJob,
  phase: OpenPhase,
  prompt: string,
  signal: AbortSignal | undefined,
): Promise<PromptEmbedding> {
  const run = (graph: Graph, inputs: ReadonlyMap<string, Int32Array>) =>
    phase.run(graph, inputs, {
      ...(signal ? { signal } : {}),
      ...(graph === graphs.clip ? { upcoming: [graphs.clip2] } : {}),
    });
  const { textEncoder, textEncoder2, tokenizer, tokenizer2 } = checkpoint;
  const first = await encode(run, graphs.clip, textEncoder, tokenizer, prompt);
  const second = await encode(run, graphs.clip2, textEncoder2, tokenizer2, prompt);
  const tokens = first.ids.length;
  const [width1, width2] = [checkpoint.textEncoder.config.hiddenSize, checkpoint.textEncoder2.config.hiddenSize];
  const hidden = new Float32Array(tokens * (width1 + width2));
  for (let t = 0; t < tokens; t++) {
    hidden.set(first.hidden.subarray(t * width1, (t + 1) * width1), t * (width1 + width2));
    hidden.set(second.hidden.subarray(t * width2, (t + 1) * width2), t * (width1 + width2) + width1);
  }
  // Before it is remembered.
  for (const values of [hidden, second.pooled!]) requireFiniteValues(values, "the prompt's embedding");
  return { tokens, hidden, pooled: second.pooled! };
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
  run: (graph: Graph, inputs: ReadonlyMap<string, Int32Array>) => Promise<Map<string, Float32Array<ArrayBuffer>>>,
  graph: Graph,
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
  const inputs = new Map([
    ["ids", Int32Array.from(ids)],
    ["positions", Int32Array.from(ids, (_, i) => i)],
    ...(graph.inputs.has("eos_rows")
      ? [["eos_rows", Int32Array.of(eosPosition(ids, config.eosTokenId))] as const]
      : []),
  ]);
  const outputs = await run(graph, inputs);
  const pooledOutput = outputs.get("pooled");
  return { ids, hidden: outputs.get("hidden")!, ...(pooledOutput ? { pooled: pooledOutput } : {}) };
}

/** transformers: with the legacy eos_token_id 2 the highest id, else the first end-of-text token (0 if there is none). */
export function eosPosition(ids: readonly number[], eosTokenId: number): number {
  if (eosTokenId === 2) return ids.indexOf(ids.reduce((max, id) => Math.max(max, id), 0));
  return Math.max(0, ids.indexOf(eosTokenId));
}
