/** @file A machine's models for tests: adapters of several families with pictures beside them, and a Hugging Face cache of a small model. */
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { encodePng } from "../../src/image/png.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";

const FLAT = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
const COMMIT = "1".repeat(40);

/** A LoRA of one layer that reads a text so wide: 2048 is SDXL's, 768 Stable Diffusion 1.5's. */
export function loraOfWidth(width: number, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const root = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k";
  const tensor = (name: string, shape: readonly number[]) => {
    const bytes = new Uint8Array(2 * shape.reduce((a, b) => a * b, 1));
    return { name: `${root}.${name}`, dtype: "f16" as const, shape, bytes };
  };
  return encodeSafetensors([tensor("lora_down.weight", [4, width]), tensor("lora_up.weight", [640, 4])], metadata);
}

/** In `folder`: loras/, and a home whose cache holds org/flat, and one of another family. */
export async function libraryFolder(folder: string): Promise<{ readonly loras: string; readonly home: string }> {
  const loras = path.join(folder, "loras");
  mkdirSync(path.join(loras, "styles"), { recursive: true });
  const put = (name: string, bytes: Uint8Array) => writeFileSync(path.join(loras, name), bytes);
  const tags = JSON.stringify({ folder: { "fluffy fur": 20, outdoors: 3 } });
  put("fur.safetensors", loraOfWidth(2048, { "modelspec.trigger_phrase": "furry, soft", ss_tag_frequency: tags }));
  put("fur.preview.png", await encodePng({ width: 8, height: 6, rgb: new Uint8Array(144).fill(90) }));
  put("styles/ink.safetensors", loraOfWidth(2048));
  put("styles/ink.png", new TextEncoder().encode("<svg onload=alert(1)>"));
  put("old.safetensors", loraOfWidth(768));
  put("broken.safetensors", new Uint8Array(20));
  const home = path.join(folder, "home");
  const repo = (name: string) => path.join(home, ".cache/huggingface/hub", name);
  const put1 = (name: string, fill: (snapshot: string) => void) => {
    const snapshot = path.join(repo(name), "snapshots", COMMIT);
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(path.join(repo(name), "refs"), { recursive: true });
    writeFileSync(path.join(repo(name), "refs/main"), COMMIT);
    fill(snapshot);
  };
  put1("models--org--flat", (snapshot) => cpSync(FLAT, snapshot, { recursive: true }));
  put1("models--org--other", (snapshot) =>
    writeFileSync(path.join(snapshot, "model_index.json"), '{"_class_name": "FluxPipeline"}'),
  );
  return { loras, home };
}
