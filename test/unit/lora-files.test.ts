/** @file The LoRAs of a job, by flag and in its prompts: which count in which pass, how strong, how many, and how long their files are open. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { LoraFiles } from "../../src/engine/lora-files.ts";
import { MAX_LORAS } from "../../src/job/lora-use.ts";
import { memorySource } from "../../src/source/memory.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { openSdxlFolder } from "../sdxl-folder.ts";

const checkpoint = await openSdxlFolder(fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url)));
const KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q";

/** A file of this name, as it is after so many changes; counted while it is open. */
function bench() {
  const asked: [name: string, byName: boolean][] = [];
  const open = new Map<string, number>();
  let stamp = 1;
  const provided: unknown[] = [];
  const runtime = { checkpoint, adapters: { provide: (set: unknown) => void provided.push(set) } };
  const files = new LoraFiles(runtime as never, async (name, byName) => {
    asked.push([name, byName]);
    const tensors = [
      { name: `${KEY}.lora_down.weight`, shape: [2, 24], bytes: new Uint8Array(4 * 48).fill(stamp) },
      { name: `${KEY}.lora_up.weight`, shape: [24, 2], bytes: new Uint8Array(4 * 48).fill(name.length) },
    ].map((tensor) => ({ ...tensor, dtype: "f32" as const }));
    const source = memorySource(`${name}.safetensors`, encodeSafetensors(tensors, { title: name }));
    open.set(name, (open.get(name) ?? 0) + 1);
    const dispose = async () => void open.set(name, open.get(name)! - 1);
    return { ...source, file: { path: `/${name}`, stamp: `${name} ${stamp}` }, [Symbol.asyncDispose]: dispose };
  });
  const job = { prompt: "", promptSyntax: "a1111", sampler: "euler", schedule: "default", steps: 20, guidance: 7 };
  return {
    ...{ asked, open, files, provided },
    change: () => {
      stamp++;
    },
    ofJob: (fields: object) => files.ofJob({ ...job, ...fields } as never),
  };
}

const weights = (uses: readonly { readonly file: string; readonly weight?: number }[] | undefined) =>
  uses?.map(({ file, weight }) => [file, weight]);

test("by flag first, then by the prompt, where its syntax has tags; none is none", async () => {
  const { ofJob, asked } = bench();
  const prompt = "a fox <lora:b:0.5>";
  const loras = [{ file: "a", weight: 0.8 }];
  assert.deepEqual(weights((await ofJob({ loras, prompt }))!.adapters.uses), [
    ["a", 0.8],
    ["b", 0.5],
  ]);
  assert.deepEqual(asked, [
    ["a", false],
    ["b", true],
  ]);
  assert.deepEqual(weights((await ofJob({ loras, prompt, promptSyntax: "plain" }))!.adapters.uses), [["a", 0.8]]);
  assert.equal(await ofJob({ prompt, promptSyntax: "plain" }), undefined);
  assert.equal(await ofJob({}), undefined);
});

test("a second pass with others: each denoises with its own, the encoders read both prompts with all, each at its pass's strength", async () => {
  const { ofJob } = bench();
  const loras = [{ file: "a", weight: 0.5 }];
  const hiresLoras = [
    { file: "b", weight: 0.7 },
    { file: "a", weight: 0.2 },
  ];
  const found = (await ofJob({ loras, hiresLoras, hiresScale: 2 }))!;
  assert.deepEqual(weights(found.adapters.uses), [["a", 0.5]]);
  assert.deepEqual(weights(found.hiresAdapters?.uses), [
    ["b", 0.7],
    ["a", 0.2],
  ]);
  assert.deepEqual(weights(found.adapters.encoders?.uses), [
    ["a", 0.5],
    ["b", 0],
  ]);
  assert.deepEqual(weights(found.hiresAdapters?.encoders?.uses), [
    ["a", 0.2],
    ["b", 0.7],
  ]);
  assert.equal(found.adapters.encoders!.set, found.hiresAdapters!.encoders!.set);
  // An empty list is one; the first pass's stand where nothing is said, and without a second pass.
  assert.deepEqual((await ofJob({ loras, hiresLoras: [], hiresScale: 2 }))!.hiresAdapters?.uses, []);
  assert.equal((await ofJob({ loras, hiresScale: 2 }))!.hiresAdapters, undefined);
  assert.equal((await ofJob({ loras, hiresLoras }))!.hiresAdapters, undefined);
  const prompts = { prompt: "<lora:a:1>", hiresPrompt: "<lora:b:1>", hiresScale: 2 };
  assert.deepEqual(weights((await ofJob(prompts))!.hiresAdapters?.uses), [["b", 1]]);
});

test("too many are refused before one is opened, whichever pass and wherever they stand", async () => {
  const { ofJob, asked } = bench();
  const many = Array.from({ length: MAX_LORAS }, () => ({ file: "a" }));
  const prompt = "<lora:b:1>";
  for (const fields of [
    { loras: many, prompt },
    { loras: [...many, { file: "a" }] },
    { hiresLoras: many, hiresPrompt: prompt, hiresScale: 2 },
    { hiresLoras: [...many, { file: "a" }], hiresScale: 2 },
  ]) {
    await assert.rejects(ofJob(fields), { code: "E_LORA", message: /found 33, allowed 32/ });
  }
  assert.deepEqual(asked, []);
  assert.equal((await ofJob({ loras: many }))!.adapters.uses.length, MAX_LORAS);
  const closed = new LoraFiles({ checkpoint } as never, undefined);
  await assert.rejects(closed.ofJob({ loras: [{ file: "a" }], prompt: "" } as never), { code: "E_LORA" });
});

test("a file is open once, as long as the engine; one that was changed is another, with a hash of its own", async () => {
  const { ofJob, open, files, change } = bench();
  const loras = [{ file: "a" }];
  const first = (await ofJob({ loras }))!;
  const again = (await ofJob({ loras }))!;
  assert.equal(open.get("a"), 1);
  assert.deepEqual([again.hashes, again.adapters.set], [first.hashes, first.adapters.set]);
  assert.match(first.hashes, /^a: [0-9a-f]{12}$/);
  change();
  const changed = (await ofJob({ loras }))!;
  assert.notEqual(changed.hashes, first.hashes);
  assert.notEqual(changed.adapters.set, first.adapters.set);
  assert.equal(open.get("a"), 2);
  await files[Symbol.asyncDispose]();
  assert.equal(open.get("a"), 0);
});

test("sets that were used last are kept: a thirteenth takes the place of the one that is out of use longest", async () => {
  const { ofJob } = bench();
  const setOf = async (i: number) => (await ofJob({ loras: [{ file: "x".repeat(i + 1) }] }))!.adapters.set;
  const first = await setOf(0);
  const second = await setOf(1);
  for (let i = 2; i < 12; i++) await setOf(i);
  assert.equal(await setOf(0), first);
  await setOf(12);
  assert.equal(await setOf(0), first);
  assert.notEqual(await setOf(1), second);
});

test("how one for few steps wants to be sampled is told where a job doesn't do so", async () => {
  const { ofJob } = bench();
  const told = async (fields: object) => (await ofJob({ loras: [{ file: "my dmd2" }], ...fields }))!.notes;
  assert.match(
    (await told({})).join(),
    /^DMD2: it draws in few steps, with --sampler lcm --schedule trailing --steps 4/,
  );
  assert.deepEqual(await told({ sampler: "lcm", schedule: "trailing", steps: 4, guidance: 1 }), []);
});
