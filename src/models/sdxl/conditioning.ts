/** @file A prompt through both text encoders (diffusers encode_prompt). S text tokens, D = C1 + C2 channels, P projected ones. */
import { ArtifactError } from "../../errors.ts";
import type { Graph } from "../../ir/graph.ts";
import type { PhaseRun } from "../../stream/phase.ts";
import type { ClipTokenizer } from "../../tokenizer/clip.ts";
import type { ClipConfig } from "../clip.ts";
import type { Conditioning, Prompt } from "../family.ts";
import type { SdxlParts } from "./config.ts";
import { PASS, type TextGraphs } from "./graphs.ts";

/** "context" [S, D]: penultimate hidden states side by side. "pooled" [P]: the second encoder's projected end-of-text state. */
export async function encodePrompt(
  { configs, tokenizer, tokenizer2 }: SdxlParts,
  { clip, clip2 }: TextGraphs,
  phase: PhaseRun,
  { text }: Prompt,
  signal: AbortSignal | undefined,
): Promise<Conditioning> {
  const { textEncoder, textEncoder2 } = configs;
  const firstInputs = clipInputs(clip, textEncoder, tokenizer, text);
  const first = await phase.run(PASS.clip, firstInputs, { signal, upcoming: [PASS.clip2] });
  const second = await phase.run(PASS.clip2, clipInputs(clip2, textEncoder2, tokenizer2, text), { signal });
  const tokens = firstInputs.get("ids")!.length;
  const [width1, width2] = [textEncoder.hiddenSize, textEncoder2.hiddenSize];
  const [hidden1, hidden2] = [first.get("hidden")!, second.get("hidden")!]; // [1, S, C1], [1, S, C2]
  const context = new Float32Array(tokens * (width1 + width2));
  for (let t = 0; t < tokens; t++) {
    context.set(hidden1.subarray(t * width1, (t + 1) * width1), t * (width1 + width2));
    context.set(hidden2.subarray(t * width2, (t + 1) * width2), t * (width1 + width2) + width1);
  }
  return { sequences: new Map([["context", context]]), vectors: new Map([["pooled", second.get("pooled")!]]) };
}

/** For a refiner, by the second encoder alone: "context" [S, C2], "pooled" [P]. `passId`: of its run. */
export async function encodeRefinerPrompt(
  { textEncoder2, tokenizer2 }: { readonly textEncoder2: ClipConfig; readonly tokenizer2: ClipTokenizer },
  clip2: Graph,
  phase: PhaseRun,
  passId: string,
  { text }: Prompt,
  signal: AbortSignal | undefined,
): Promise<Conditioning> {
  const states = await phase.run(passId, clipInputs(clip2, textEncoder2, tokenizer2, text), { signal });
  return {
    sequences: new Map([["context", states.get("hidden")!]]),
    vectors: new Map([["pooled", states.get("pooled")!]]),
  };
}

function clipInputs(
  graph: Graph,
  config: ClipConfig,
  tokenizer: ClipTokenizer,
  prompt: string,
): ReadonlyMap<string, Int32Array> {
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
  ]);
  if (graph.inputs.has("eos_rows")) inputs.set("eos_rows", Int32Array.of(eosPosition(ids, config.eosTokenId)));
  return inputs;
}

/** transformers: with the legacy eos_token_id 2 the highest id, else the first end-of-text token (0 if there is none). */
function eosPosition(ids: readonly number[], eosTokenId: number): number {
  if (eosTokenId === 2) return ids.indexOf(ids.reduce((max, id) => Math.max(max, id), 0));
  return Math.max(0, ids.indexOf(eosTokenId));
}
