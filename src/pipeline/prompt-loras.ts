/** @file The LoRAs that a prompt of A1111's syntax asks for: `<lora:name:0.8>`, `<lora:name:te=0.8:unet=0.5>`. Pure. */
import { UsageError } from "../errors.ts";
import type { LoraUse } from "../job/lora-use.ts";
import { MAX_LORA_WEIGHT } from "../job/lora-use.ts";
import { type NetworkTag, networkTags } from "../prompt/networks.ts";

const KINDS = ["lora", "lyco"];
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)$/;
const NAMED = ["te", "unet"];

/** In their order, `file` a name without ending. Throws UsageError `E_LORA` for networks of other kinds, and what is no weight. */
export function lorasOfPrompt(prompt: string): readonly LoraUse[] {
  return networkTags(prompt).networks.map(loraOf);
}

/** As A1111 reads it: weights of the text encoders, of the UNet; what is not given is the one before, at first 1. */
function loraOf(tag: NetworkTag): LoraUse {
  const { kind, name, values, named } = tag;
  if (!KINDS.includes(kind)) {
    throw refusal(tag, `there are no networks of that kind (allowed ${KINDS.join(", ")})`, "take it out of the prompt");
  }
  if (named.dyn !== undefined) {
    const problem = "a cut of its rank (dyn=) is not computed here: the picture would be another one";
    throw refusal(tag, problem, "leave dyn= out, or use a LoRA that was resized to that rank");
  }
  const stray = Object.keys(named).find((key) => !NAMED.includes(key)) ?? (values.length > 2 ? values[2] : undefined);
  if (name === "" || stray !== undefined) {
    const found = name === "" ? "it has no name" : `${JSON.stringify(stray)} is not understood`;
    throw refusal(tag, found, "write <lora:name:0.8>, or <lora:name:te=0.8:unet=0.5>");
  }
  const te = weightOf(tag, named.te ?? values[0]) ?? 1;
  const unet = weightOf(tag, named.unet ?? values[1]) ?? te;
  return te === unet ? { file: name, weight: te } : { file: name, te, unet };
}

function weightOf(tag: NetworkTag, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (NUMBER.test(text.trim()) && Math.abs(value) <= MAX_LORA_WEIGHT) return value;
  const range = `from -${MAX_LORA_WEIGHT} to ${MAX_LORA_WEIGHT}`;
  throw refusal(
    tag,
    `a weight is a number (found ${JSON.stringify(text.slice(0, 60))}, allowed ${range})`,
    "correct it",
  );
}

function refusal({ kind, name }: NetworkTag, problem: string, next: string): UsageError {
  return new UsageError({ code: "E_LORA", subject: `<${kind}:${name}>`, problem, next });
}
