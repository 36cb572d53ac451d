/** @file A prompt as SDXL's tokenizers cut it, and a chunk of it through both text encoders (diffusers encode_prompt). S text tokens, D = C1 + C2 channels, P projected ones. */
import { ArtifactError } from "../../errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { type TokenChunk, weightedChunks } from "../../prompt/chunks.ts";
import { emphasise } from "../../prompt/emphasis.ts";
import type { PromptSyntax } from "../../prompt/syntax.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import type { ClipTokenizer } from "../../tokenizer/clip.ts";
import { type ClipConfig, hiddenName } from "../clip.ts";
import type { Conditioning, Prompt, PromptText } from "../conditioning.ts";
import { withStrengths } from "../layer-builder.ts";
import type { SdxlParts } from "./config.ts";
import { PASS, type TextGraphs } from "./graphs.ts";

export function tokenChunks(text: string, syntax: PromptSyntax, tokenizer: ClipTokenizer): readonly TokenChunk[] {
  return syntax === "plain" ? [{ ids: tokenizer.encode(text) }] : weightedChunks(text, tokenizer);
}

/** See Checkpoint.promptChunks. Where the tokenizers make not as many chunks, the fewer are filled up with empty ones. */
export function promptChunks(
  { tokenizer, tokenizer2 }: Pick<SdxlParts, "tokenizer" | "tokenizer2">,
  { text, second = text, syntax, clipSkip }: PromptText,
): readonly Prompt[] {
  const [chunks, chunks2] = [tokenChunks(text, syntax, tokenizer), tokenChunks(second, syntax, tokenizer2)];
  return Array.from({ length: Math.max(chunks.length, chunks2.length) }, (_, i) => ({
    tokens: {
      tokenizer: chunks[i] ?? { ids: tokenizer.encode("") },
      tokenizer_2: chunks2[i] ?? { ids: tokenizer2.encode("") },
    },
    clipSkip,
  }));
}

/**
 * "context" [S, D]: hidden states side by side, by their tokens' weights. "pooled" [P]: the second encoder's projected end-of-text
 * state.
 */
export async function encodePrompt(
  { textEncoder, textEncoder2 }: SdxlParts["configs"],
  { clip, clip2 }: TextGraphs,
  phase: PhaseRun,
  { tokens, clipSkip, adapters }: Prompt,
  signal: AbortSignal | undefined,
): Promise<Conditioning> {
  const strengths = adapters?.strengths ?? [];
  const [chunk, chunk2] = [tokens.tokenizer!, tokens.tokenizer_2!];
  const inputs = withStrengths(clip, clipInputs(clip, textEncoder, chunk.ids), strengths);
  const first = await phase.run(PASS.clip, inputs, { signal, upcoming: [PASS.clip2] });
  const inputs2 = withStrengths(clip2, clipInputs(clip2, textEncoder2, chunk2.ids), strengths);
  const second = await phase.run(PASS.clip2, inputs2, { signal });
  const hidden = hiddenName(clipSkip);
  const [states1, states2] = [first.get(hidden)!, second.get(hidden)!]; // [1, S, C1], [1, S, C2]
  if (chunk.weights) emphasise(states1, chunk.weights);
  if (chunk2.weights) emphasise(states2, chunk2.weights);
  const [width1, width2] = [textEncoder.hiddenSize, textEncoder2.hiddenSize];
  const context = new Float32Array(chunk.ids.length * (width1 + width2));
  for (let t = 0; t < chunk.ids.length; t++) {
    context.set(states1.subarray(t * width1, (t + 1) * width1), t * (width1 + width2));
    context.set(states2.subarray(t * width2, (t + 1) * width2), t * (width1 + width2) + width1);
  }
  return { sequences: new Map([["context", context]]), vectors: new Map([["pooled", second.get("pooled")!]]) };
}

/** For a refiner, by the second encoder alone: "context" [S, C2], "pooled" [P]. `passId`: of its run. */
export async function encodeRefinerPrompt(
  textEncoder2: ClipConfig,
  clip2: Graph,
  phase: PhaseRun,
  passId: string,
  { tokens }: Prompt,
  signal: AbortSignal | undefined,
): Promise<Conditioning> {
  const chunk = tokens.tokenizer_2!;
  const states = await phase.run(passId, clipInputs(clip2, textEncoder2, chunk.ids), { signal });
  const hidden = states.get(hiddenName(0))!; // [1, S, C2]
  if (chunk.weights) emphasise(hidden, chunk.weights);
  return {
    sequences: new Map([["context", hidden]]),
    vectors: new Map([["pooled", states.get("pooled")!]]),
  };
}

function clipInputs(graph: Graph, config: ClipConfig, ids: readonly number[]): ReadonlyMap<string, Int32Array> {
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
  ]);
  if (graph.inputs.has("eos_rows")) inputs.set("eos_rows", Int32Array.of(eosPosition(ids, config.eosTokenId)));
  return inputs;
}

/** transformers: with the legacy eos_token_id 2 the highest id, else the first end-of-text token (0 if there is none). */
function eosPosition(ids: readonly number[], eosTokenId: number): number {
  if (eosTokenId === 2) return ids.indexOf(ids.reduce((max, id) => Math.max(max, id), 0));
  return Math.max(0, ids.indexOf(eosTokenId));
}
