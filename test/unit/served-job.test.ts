/** @file What a server takes for a job: no field names a file of the server's, whatever fields the table has. */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Field, Kind } from "../../src/job/field-type.ts";
import { JOB_FIELDS } from "../../src/job/fields.ts";
import { checkJob } from "../../src/job/schema.ts";
import { embeddingFiles } from "../../src/node/embedding-files.ts";
import { loraOpener } from "../../src/node/lora-files.ts";
import { upscalerNames, upscalerOpener } from "../../src/node/upscaler-files.ts";
import { checkServed, newJobs, SERVED_LIMITS } from "../../src/server/work/served-job.ts";

/** Texts that are only read as texts. */
const PLAIN_TEXTS = [
  ...["prompt", "negativePrompt", "prompt2", "negativePrompt2"],
  ...["template", "negativeTemplate", "template2", "negativeTemplate2", "outpaint", "detail"],
  ...["hiresPrompt", "hiresNegativePrompt", "hiresTemplate", "hiresNegativeTemplate"],
];
const PATHS = [
  "/etc/passwd",
  "../secret.safetensors",
  "loras/fur.safetensors",
  "C:\\fur.safetensors",
  "fur:stream",
  ".fur",
];

/** How a value of the kind names a file; undefined: it can't. A kind that isn't here fails the test. */
const NAMING: { readonly [Type in Kind["type"]]: ((file: string) => unknown) | undefined } = {
  text: (file) => file,
  picture: (file) => file,
  loras: (file) => [{ file }],
  controls: (file) => [{ file, image: `sha256:${"0".repeat(64)}` }],
  ipAdapters: (file) => [{ file, images: [`sha256:${"0".repeat(64)}`] }],
  files: (file) => [file],
  pictures: (file) => [file],
  ...{ whole: undefined, decimal: undefined, choice: undefined, named: undefined, switch: undefined },
  ...{ seed: undefined, pair: undefined, amount: undefined },
};

test("every field that could name a file refuses paths from a client (E_JOB, E_PICTURE)", () => {
  let tried = 0;
  for (const [name, { kind }] of Object.entries<Field>(JOB_FIELDS)) {
    assert.ok(Object.hasOwn(NAMING, kind.type), `${name}: what is a ${kind.type} for a server?`);
    const naming = NAMING[kind.type];
    if (!naming || PLAIN_TEXTS.includes(name)) continue;
    for (const file of PATHS) {
      const beside =
        name === "hiresUpscaler"
          ? { hiresScale: 2 }
          : name === "maskImage"
            ? { initImage: `sha256:${"0".repeat(64)}` }
            : {};
      const job = { prompt: "a lake", ...beside, [name]: naming(file) };
      // The job's own check has nothing against it.
      checkJob(job);
      assert.throws(
        () => checkServed(job),
        { message: new RegExp(`^E_(JOB|PICTURE) ${name}(\\.\\d+)?: `) },
        `${name}: ${file}`,
      );
      tried++;
    }
  }
  assert.ok(tried >= 5 * PATHS.length, `${tried}`);
});

test("where only names count, a file of that name in the working folder is none (E_LORA, E_EMBEDDING_NAME)", async () => {
  const [cwd, empty] = ["../..", "../../.ci"].map((to) => fileURLToPath(new URL(to, import.meta.url))) as [
    string,
    string,
  ];
  const toAbsolute = (file: string) => path.resolve(cwd, file);
  await using source = await loraOpener(empty, toAbsolute)("package.json", false);
  assert.equal(source.name, "package.json");
  for (const folder of [empty, undefined]) {
    await assert.rejects(loraOpener(folder)("package.json", false), { code: "E_LORA" });
    await assert.rejects(embeddingFiles(folder).open("package.json"), { code: "E_EMBEDDING_NAME" });
    await assert.rejects(upscalerOpener(folder)("x4.pth"), { code: "E_UPSCALER" });
  }
  const upscalers = path.join(cwd, "fixtures");
  await using network = (await upscalerOpener(upscalers)("x4.pth")).source;
  assert.equal(network.name, "x4.pth");
  assert.ok((await upscalerNames(upscalers)).includes("x4.safetensors"));
  for (const away of ["../x4.pth", "upscalers/x4.pth", "x4"])
    await assert.rejects(upscalerOpener(upscalers)(away), { code: "E_UPSCALER" });
});

test("a job has the same hash under other budgets, in which it is the same picture, and another one where anything else differs", async () => {
  const hashOf = async (job: Parameters<typeof newJobs>[0], request: object) =>
    (
      await newJobs(job, 1, { assets: undefined as never, model: "m", content: undefined, request: request as never })
    )[0]!.hash;
  const job = { prompt: "a lake", seed: 1 };
  const hash = await hashOf(job, { model: "m", budgets: { vram: "6G" } });
  assert.equal(await hashOf(job, { budgets: { vram: "4G" }, model: "m" }), hash);
  assert.notEqual(await hashOf({ ...job, seed: 2 }, { model: "m" }), hash);
  assert.notEqual(await hashOf(job, { model: "n" }), hash);
});

test("a server's limits are inclusive, and what lies beyond them is refused by its field (E_JOB)", () => {
  for (const [name, { min, max }] of Object.entries(SERVED_LIMITS)) {
    const isText = JOB_FIELDS[name as keyof typeof SERVED_LIMITS].kind.type === "text";
    const jobOf = (size: number) => ({ prompt: "x", hiresScale: 2, [name]: isText ? "x".repeat(size) : size });
    checkServed(jobOf(min));
    checkServed(jobOf(max));
    assert.throws(() => checkServed(jobOf(max + 8)), new RegExp(`^UsageError: E_JOB ${name}: `), name);
  }
});

test("a picture gives the sides that a job doesn't name: too large a one is refused (E_PICTURE)", async () => {
  const initImage = `sha256:${"0".repeat(64)}`;
  const ask = async (size: object, width: number, height: number) => {
    const assets = { find: async () => ({ sha256: "0".repeat(64), width, height }) };
    return await newJobs({ prompt: "x", seed: 1, initImage, ...size }, 1, { assets, model: "m", request: {} } as never);
  };
  for (const [size, width, height] of [
    [{}, 64, 2056],
    [{ width: 512 }, 64, 2056],
    [{ height: 512 }, 2056, 64],
  ] as const) {
    await assert.rejects(ask(size, width, height), /^UsageError: E_PICTURE initImage: .*found 2056 pixels/);
  }
  assert.equal((await ask({ width: 512, height: 512 }, 2056, 2056)).length, 1);
  assert.equal((await ask({ width: 512 }, 4096, 2048)).length, 1);
});

test("texts that no database holds are refused, in whatever field and however deep", () => {
  for (const bad of ["a \0 b", "\ud800", "x\udc00y"]) {
    for (const [field, value] of [
      ["prompt", bad],
      ["negativePrompt", bad],
      ["hiresPrompt", bad],
      ["embeddings", ["fine", bad]],
    ] as const) {
      const job = { prompt: "a", ...(field === "hiresPrompt" && { hiresScale: 2 }), [field]: value };
      assert.throws(() => checkServed(job), { code: "E_JOB", subject: field }, `${field} ${JSON.stringify(bad)}`);
    }
  }
  assert.equal(checkServed({ prompt: "a \u{1f98a} fox\n" }).prompt, "a \u{1f98a} fox\n");
});
