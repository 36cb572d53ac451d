/** @file Embeddings (textual inversions): which files are some, how their names are found in texts and cut into chunks, and what is refused. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { readEmbedding } from "../../src/adapters/embedding-file.ts";
import { runCli } from "../../src/cli/program.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { learnedJob } from "../../src/engine/embedding-files.ts";
import type { LearnedWord } from "../../src/models/conditioning.ts";
import { promptChunks, tokenChunks } from "../../src/models/sdxl/conditioning.ts";
import { embeddingFiles } from "../../src/node/embedding-files.ts";
import { memorySource } from "../../src/source/memory.ts";
import { DTYPE_BYTES, type DType, elementCount } from "../../src/tensor/dtype.ts";
import { loadClipTokenizer } from "../../src/tokenizer/clip.ts";
import { wordSplitter } from "../../src/tokenizer/learned-words.ts";
import { fakeContext } from "../node/fake-context.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";
import { tensorOf } from "../support/adapters.ts";

const SDXL = [
  { folder: "text_encoder", width: 768 },
  { folder: "text_encoder_2", width: 1280 },
];
const NOWHERE = memorySource("fox.safetensors", new Uint8Array(0));

function tablesOf(
  shapes: Readonly<Record<string, readonly number[]>>,
  { dtype = "f16", path = "" }: { readonly dtype?: DType; readonly path?: string } = {},
): ReadonlyMap<string, TensorTable> {
  const entries = Object.entries(shapes).map(([name, shape]): [string, TensorEntry] => [
    name,
    { name, dtype, shape, source: NOWHERE, startByte: 0, endByte: DTYPE_BYTES[dtype] * elementCount(shape) },
  ]);
  return new Map([[path, new Map(entries)]]);
}

test("vectors for both encoders, by kohya's and diffusers' names", () => {
  for (const names of [
    ["clip_l", "clip_g"],
    ["text_encoders_0", "text_encoders_1"],
  ] as const) {
    const { count, vectors } = readEmbedding(tablesOf({ [names[0]]: [3, 768], [names[1]]: [3, 1280] }), SDXL, "fox");
    assert.equal(count, 3);
    assert.deepEqual(
      [...vectors].map(([folder, { name, shape }]) => [folder, name, shape]),
      [
        ["text_encoder", names[0], [3, 768]],
        ["text_encoder_2", names[1], [3, 1280]],
      ],
    );
  }
  assert.equal(readEmbedding(tablesOf({ clip_l: [75, 768], clip_g: [75, 1280] }), SDXL, "fox").count, 75);
  const flat = readEmbedding(tablesOf({ clip_l: [768], clip_g: [1280] }, { dtype: "bf16" }), SDXL, "fox");
  assert.deepEqual([flat.count, flat.vectors.get("text_encoder")!.shape], [1, [1, 768]]);
});

test("E_EMBEDDING: files of one encoder by what they are for, and vectors that don't fit", () => {
  const cases: readonly (readonly [ReadonlyMap<string, TensorTable>, RegExp])[] = [
    [tablesOf({ emb_params: [2, 768] }), /vectors for one text encoder, of Stable Diffusion 1\.5, .* and no clip_l/],
    [tablesOf({ "*": [2, 768] }, { path: "string_to_param" }), /one text encoder, of Stable Diffusion 1\.5/],
    [tablesOf({ "<cat-toy>": [1024] }), /one text encoder, of Stable Diffusion 2,/],
    [tablesOf({ clip_l: [1, 768] }), /SDXL's first text encoder alone, and no clip_g/],
    [tablesOf({ clip_g: [1, 1280] }), /SDXL's second text encoder alone, and no clip_l/],
    [tablesOf({ "lora_unet_x.lora_down.weight": [4, 8] }), /no textual inversion of two text encoders/],
    [new Map(), /no textual inversion/],
    [
      tablesOf({ clip_l: [1, 768], clip_g: [1, 768] }),
      /its clip_g does not fit .* \(found f16 \[1,768\], allowed \[1 to 75, 1280\]/,
    ],
    [tablesOf({ clip_l: [0, 768], clip_g: [0, 1280] }), /clip_l does not fit/],
    [tablesOf({ clip_l: [76, 768], clip_g: [76, 1280] }), /\[76,768\], allowed \[1 to 75, 768\]/],
    [tablesOf({ clip_l: [1, 1, 768], clip_g: [1, 1280] }), /clip_l does not fit/],
    [tablesOf({ clip_l: [1, 768], clip_g: [2, 1280] }), /different numbers of vectors \(found 1 and 2\)/],
    [tablesOf({ clip_l: [1, 768], clip_g: [1, 1280] }, { dtype: "i32" }), /found i32/],
  ];
  for (const [tables, expected] of cases) {
    assert.throws(
      () => readEmbedding(tables, SDXL, "fox.pt"),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, "E_EMBEDDING", error.message);
        assert.match(error.message, expected);
        return /^E_EMBEDDING fox\.pt: .* Next: (use an embedding that was made for SDXL|give it with --lora)/.test(
          error.message,
        );
      },
    );
  }
});

test("words are found whole, whatever their capitals, the longer first", () => {
  const split = wordSplitter([
    { name: "Fox", ids: [-1] },
    { name: "fox-fur", ids: [-2, -3] },
    { name: "(odd).+", ids: [-4] },
    { name: "", ids: [-9] },
  ])!;
  assert.deepEqual(split("a FOX, fox-fur foxes the_fox fox"), ["a ", [-1], ", ", [-2, -3], " foxes the_fox ", [-1]]);
  assert.deepEqual(split("embedding:fox an Embedding:fox-fur"), [[-1], " an ", [-2, -3]]);
  assert.deepEqual(split("x (odd).+ y"), ["x ", [-4], " y"]);
  assert.deepEqual(split("none"), ["none"]);
  assert.equal(wordSplitter([]), undefined);
});

const DEMO = fileURLToPath(new URL("../../models/demo/tokenizer", import.meta.url));
const tokenizer = loadClipTokenizer({ tokenizerJson: readFileSync(join(DEMO, "tokenizer.json"), "utf8") }, "tokenizer");
const word = (name: string, count: number): LearnedWord => ({ name, id: `id of ${name}`, count, vectors: new Map() });

test("chunks: vectors stand in the tokens' places, and no word is cut in two", () => {
  const words = [word("fox", 3), word("owl", 1)];
  const [plain] = tokenChunks("a fox, owl fox", "plain", tokenizer, words);
  const text = tokenizer.textIds("a");
  const comma = tokenizer.textIds(",");
  const ids = [tokenizer.bosId, ...text, -1, -2, -3, ...comma, -4, -5, -6, -7, tokenizer.eosId];
  assert.deepEqual(plain!.ids.slice(0, ids.length), ids);
  assert.equal(plain!.ids.length, tokenizer.modelMaxLength);
  const fox = [0, 1, 2].map((row) => ["id of fox", row]);
  assert.deepEqual(plain!.learned, [...fox, ["id of owl", 0], ...fox]);
  assert.equal(tokenChunks("a", "plain", tokenizer, words)[0]!.learned, undefined);

  // 74 tokens leave room for one of the word's three vectors: it goes over as a whole.
  const filler = Array.from({ length: 74 }, () => "a").join(" ");
  const chunks = tokenChunks(`${filler} (fox:1.5)`, "a1111", tokenizer, words);
  assert.deepEqual(
    chunks.map(({ learned = [] }) => learned.length),
    [0, 3],
  );
  assert.deepEqual(chunks[1]!.weights!.slice(0, 5), [1, 1.5, 1.5, 1.5, 1]);
  // The word that follows has its vectors apart from it.
  const both = tokenChunks(`${filler} owl fox`, "a1111", tokenizer, words);
  assert.deepEqual(
    both.map(({ learned = [] }) => learned.length),
    [1, 3],
  );
  // 72 tokens leave room for the three of the first word: the one that follows is none of them.
  const apart = tokenChunks(`${filler.slice(4)} fox owl`, "a1111", tokenizer, words);
  assert.deepEqual(
    apart.map(({ learned = [] }) => learned.length),
    [3, 1],
  );
});

test("prompts: where the two texts make not as many chunks, the shorter goes on with empty ones, whichever it is", () => {
  const long = Array.from({ length: 80 }, () => "a").join(" ");
  const tokenizers = { tokenizer, tokenizer2: tokenizer };
  const empty = { ids: tokenizer.encode("") };
  for (const [text, second, short, other] of [
    ["a", long, "tokenizer", "tokenizer_2"],
    [long, "a", "tokenizer_2", "tokenizer"],
  ] as const) {
    const chunks = promptChunks(tokenizers, { text, second, syntax: "a1111", clipSkip: 1 });
    assert.equal(chunks.length, 2);
    assert.deepEqual(chunks[1]!.tokens[short], empty);
    assert.deepEqual(
      chunks.map(({ tokens }) => tokens[other]),
      tokenChunks(long, "a1111", tokenizer),
    );
    assert.deepEqual(
      chunks.map(({ clipSkip }) => clipSkip),
      [1, 1],
    );
  }
});

test("prompts: chunks of both tokenizers name the same vectors, and are plain JSON", () => {
  const words = [word("fox", 2)];
  const [prompt] = promptChunks(
    { tokenizer, tokenizer2: tokenizer },
    { text: "fox", syntax: "plain", clipSkip: 0, words },
  );
  assert.deepEqual(JSON.parse(JSON.stringify(prompt)), prompt);
  for (const chunk of Object.values(prompt!.tokens))
    assert.deepEqual(chunk.learned, [
      ["id of fox", 0],
      ["id of fox", 1],
    ]);
});

test("E_EMBEDDING_NAME: names that no file has, or two; paths are files; a folder that isn't there", async () => {
  const dir = mkdtempSync(join(tmpdir(), "solvay-embeddings-"));
  for (const name of ["a", "b"]) mkdirSync(join(dir, name));
  const bytes = encodeSafetensors([{ name: "clip_l", dtype: "f16", shape: [1, 1], bytes: new Uint8Array(2) }]);
  for (const file of [
    "a/fox.safetensors",
    "b/fox.safetensors",
    "b/owl.safetensors",
    "b/notes.txt",
    "a/Lynx-XL.SAFETENSORS",
  ]) {
    writeFileSync(join(dir, file), bytes);
  }
  const files = embeddingFiles(dir, (file) => join(dir, file));
  assert.deepEqual([...(await files.names())].sort(), ["Lynx-XL", "fox", "fox", "owl"]);
  for (const reference of ["lynx-xl", "LYNX-XL", "Lynx-XL", "lynx-xl.safetensors"]) {
    const { source, name } = await files.open(reference);
    await source[Symbol.asyncDispose]();
    assert.equal(name, "Lynx-XL", reference);
  }
  for (const reference of ["Owl", "owl.safetensors", "b/owl.safetensors"]) {
    const { source, name, tables } = await files.open(reference);
    await source[Symbol.asyncDispose]();
    assert.deepEqual([name, [...tables.get("")!.keys()]], ["owl", ["clip_l"]]);
  }
  const refused = async (reference: string, code: string, words: RegExp, from = files) =>
    await assert.rejects(from.open(reference), (error: Error & { code?: string }) => {
      assert.equal(error.code, code, error.message);
      return words.test(error.message);
    });
  await refused(
    "fox",
    "E_EMBEDDING_NAME",
    /more than one file is called so: a\/fox\.safetensors and b\/fox\.safetensors/,
  );
  await refused(
    "bear",
    "E_EMBEDDING_NAME",
    /^E_EMBEDDING_NAME bear: there is no such file in the folder of embeddings/,
  );
  const gone = embeddingFiles(join(dir, "gone"), (file) => join(dir, file));
  await assert.rejects(gone.names(), { code: "E_EMBEDDING_NAME" });
  await refused(
    "bear",
    "E_MISSING",
    /bear/,
    embeddingFiles(undefined, (file) => join(dir, file)),
  );
  assert.deepEqual(await embeddingFiles(undefined, (file) => file).names(), []);
});

test("inspect tells an embedding by its vectors", async () => {
  const cwd = mkdtempSync(join(tmpdir(), "solvay-embeddings-"));
  const tensor = (name: string, shape: readonly number[]) =>
    ({ name, dtype: "f16", shape, bytes: new Uint8Array(2 * elementCount(shape)) }) as const;
  for (const [tensors, line] of [
    [
      [tensor("clip_g", [2, 1280]), tensor("clip_l", [2, 768])],
      "this is a textual inversion of two text encoders (SDXL): 2 vectors",
    ],
    [[tensor("emb_params", [1, 768])], "this is a textual inversion of one text encoder (768 wide): 1 vector"],
  ] as const) {
    writeFileSync(join(cwd, "fox.safetensors"), encodeSafetensors(tensors));
    const fake = fakeContext({ cwd });
    assert.equal(await runCli(["inspect", "fox.safetensors"], fake.context), 0, fake.err());
    assert.equal(fake.out().split("\n").at(-3), line);
  }
});

test("names of the folder are found in each of a job's prompts, and told by the job", async () => {
  const prompts = ["prompt", "prompt2", "negativePrompt", "negativePrompt2", "hiresPrompt", "hiresNegativePrompt"];
  const checkpoint = { family: { encoderWidths: () => [{ folder: "text_encoder", width: 2 }] } };
  const files = {
    names: async () => [...prompts.map((name) => `w-${name}`), "w-other"],
    open: async (name: string) => {
      const vectors = tensorOf("clip_l", [1, 2], [1, 2]);
      return { source: vectors.source, tables: new Map([["", new Map([["clip_l", vectors]])]]), name };
    },
  };
  const job = Object.fromEntries(prompts.map((name) => [name, `a w-${name}`]));
  const { full, words } = await learnedJob(checkpoint as never, job as never, files as never);
  assert.deepEqual(
    full.embeddings,
    prompts.map((name) => `w-${name}`),
  );
  assert.deepEqual(
    words.map(({ name }) => name),
    full.embeddings,
  );
});

test("a word is another one where any of its vectors' values is another: chunks of it are never taken for those of a namesake", async () => {
  const width = 5;
  const checkpoint = { family: { encoderWidths: () => [{ folder: "text_encoder", width }] } };
  const idOf = async (values: readonly number[]) => {
    const vectors = tensorOf("clip_l", [2, width], values);
    const tables = new Map([["", new Map([["clip_l", vectors]])]]);
    const files = { names: async () => [], open: async () => ({ source: vectors.source, tables, name: "fox" }) };
    const job = { prompt: "fox", embeddings: ["fox"] };
    return (await learnedJob(checkpoint as never, job as never, files as never)).words[0]!.id;
  };
  const values = Array.from({ length: 2 * width }, (_, i) => i / 8);
  const ids = [await idOf(values)];
  for (const at of values.keys()) ids.push(await idOf(values.with(at, 9)));
  assert.equal(new Set(ids).size, 1 + values.length);
  assert.equal(await idOf(values), ids[0]);
});
