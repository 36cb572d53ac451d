/** @file Files of weights in the wrong place: each option refuses them by what they are, and says where they belong. */
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { kindOfTables } from "../../src/checkpoint/file-kind.ts";
import { tensorTables } from "../../src/checkpoint/tensor-file.ts";
import { runCli } from "../../src/cli/program.ts";
import { openFileSource } from "../../src/node/files/file.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { small } from "../support/single-file.ts";
import { searched } from "../support/thorough.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const at = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const FLAT = at("golden/flat");
const cwd = mkdtempSync(path.join(tmpdir(), "solvay-misplaced-"));

/** With tensors of these names, of one number each. */
function written(name: string, ...tensors: string[]): string {
  const file = path.join(cwd, `${name}.safetensors`);
  writeFileSync(file, encodeSafetensors(tensors.map((tensor) => small(tensor, [1]))));
  return file;
}

interface Kind {
  readonly file: string;
  readonly words: RegExp;
  /** Where it belongs, if anywhere. */
  readonly next?: RegExp;
  /** Options that take it. */
  readonly taken?: readonly string[];
}

const KINDS: readonly Kind[] = [
  { file: at("adapters/lora.safetensors"), words: /a LoRA or another adapter/, next: /--lora/, taken: ["--lora"] },
  { file: at("golden/flat/vae/diffusion_pytorch_model.safetensors"), words: /a VAE/, next: /--vae/, taken: ["--vae"] },
  { file: at("upscalers/x4.safetensors"), words: /an upscaler/, next: /--hires-upscaler/, taken: ["--hires-upscaler"] },
  {
    file: at("previews/taesdxl/diffusion_pytorch_model.safetensors"),
    words: /a tiny autoencoder/,
    next: /--preview-model/,
    taken: ["--preview-model"],
  },
  {
    file: written("words", "clip_l", "clip_g"),
    words: /a textual inversion embedding/,
    next: /--embedding/,
    taken: ["--embedding"],
  },
  { file: written("steers", "controlnet_cond_embedding.conv_in.weight"), words: /a ControlNet/ },
  { file: at("controls/sketch.safetensors"), words: /a Control-LoRA/, next: /--control/ },
  { file: written("looks", "image_proj.proj.weight"), words: /an IP-Adapter/ },
  { file: written("sees", "vision_model.post_layernorm.weight"), words: /an image encoder/ },
  { file: at("golden/flat/text_encoder/model.safetensors"), words: /a text encoder by itself/ },
];

const SMALL = ["--model", FLAT, "--backend", "reference", "--width", "16", "--height", "16", "--steps", "1"];
const OPTIONS: readonly (readonly [option: string, ...more: string[]])[] = [
  ["--model"],
  ["--vae"],
  ["--refiner"],
  ["--preview-model"],
  ["--lora"],
  ["--embedding"],
  ["--hires-upscaler", "--hires-scale", "2"],
];
/** So many of the kinds are tried on each option; what tells them apart is one table. */
const TRIED = 1;

test("each kind is told by its names", async () => {
  for (const { file, words } of KINDS) {
    await using source = await openFileSource(file);
    assert.match(kindOfTables(await tensorTables(source))?.words ?? "", words, file);
  }
});

for (const [i, [option, ...more]] of OPTIONS.entries()) {
  test(`${option} with files of other kinds`, async () => {
    const others = KINDS.filter(({ taken }) => !taken?.includes(option));
    const tried = searched(
      Array.from({ length: TRIED }, (_, j) => others[(i + 3 * j) % others.length]!),
      others,
    );
    for (const { file, words, next } of tried) {
      const fake = fakeContext({ cwd });
      const rc = await runCli(["generate", "x", ...SMALL, ...more, option, file], {
        ...fake.context,
        openEngine: openThreadlessEngine,
      });
      const said = fake.err().trimEnd().split("\n").at(-1)!;
      assert.notEqual(rc, 0, said);
      assert.match(said, words);
      if (next) assert.match(said, next);
      assert.ok(said.includes(path.basename(file)), said);
    }
  });
}
