/** @file A server reads pictures back: its own to the byte or with every reason why not, A1111's and ComfyUI's, and what is none. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { recordTexts } from "../../src/engine/picture-record.ts";
import { encodePng, type PngText } from "../../src/image/png.ts";
import type { ImageRecord } from "../../src/job/infotext.ts";
import { SOLVAY_VERSION } from "../../src/version.ts";
import { exifBlock, webpOf } from "../support/picture-files.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

interface Recalled {
  readonly tool?: string;
  readonly model?: string;
  readonly job?: Readonly<Record<string, unknown>>;
  readonly templates?: Readonly<Record<string, string>>;
  readonly texts?: readonly string[];
  readonly notes: readonly string[];
  readonly remake?: { readonly exact: boolean; readonly reasons: readonly string[] };
}

let folder: string;
let server: RunningServer;
before(async () => {
  folder = await serverFolder();
  const models = new Map([
    ["pretence", {}],
    ["other-xl.safetensors", { model: "/models/other-xl.safetensors" }],
  ]);
  server = await pretendingServer({ folder, models });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** As the pretending engine would record it. */
const RECORD: ImageRecord = {
  ...{ prompt: "a red boat", negativePrompt: "blurry", seed: 9, steps: 4, guidance: 7, width: 64, height: 64 },
  ...{ sampler: "euler", samplerName: "Euler", scheduleType: "Automatic", model: "pretence" },
  ...{ backend: "cpu", precision: "fp32", version: SOLVAY_VERSION },
};
const PIXELS = { width: 4, height: 4, rgb: new Uint8Array(48) };

async function read(bytes: Uint8Array, type = "image/png"): Promise<{ status: number; json: Recalled }> {
  const body = Uint8Array.from(bytes);
  const answer = await fetch(`${server.url}/api/pictures/read`, {
    ...{ method: "POST", headers: { "content-type": type }, body },
  });
  return { status: answer.status, json: (await answer.json()) as Recalled };
}

async function readRecord(changes: Partial<ImageRecord>): Promise<Recalled> {
  return (await read(await encodePng({ ...PIXELS, text: recordTexts({ ...RECORD, ...changes }) }))).json;
}

test("a picture of the open engine's is remade byte for byte", async () => {
  const { job, remake, tool, templates } = await readRecord({});
  assert.deepEqual(remake, { exact: true, reasons: [] });
  assert.equal(tool, `Solvay ${SOLVAY_VERSION}`);
  assert.deepEqual(
    { prompt: job?.prompt, seed: job?.seed, steps: job?.steps, sampler: job?.sampler, templates },
    { prompt: "a red boat", seed: 9, steps: 4, sampler: "euler", templates: {} },
  );
});

test("a picture of another model that is served is remade by it", async () => {
  const answer = await readRecord({ model: "other-xl.safetensors" });
  assert.deepEqual([answer.model, answer.remake], ["other-xl.safetensors", { exact: true, reasons: [] }]);
  assert.equal((await readRecord({})).model, "pretence");
  assert.equal((await readRecord({ model: "unknown" })).model, undefined);
});

test("each difference is a reason", async () => {
  const missing = "0".repeat(64);
  for (const [changes, reason] of [
    [{ model: "another" }, /its model was another, the open one is pretence/],
    [{ model: "x/pretence", modelRevision: "1".repeat(40) }, /its model's commit was 1{40}, here it is another/],
    [{ version: "0.0.1" }, /Solvay 0\.0\.1 made it, this is/],
    [{ backend: "webgpu", adapter: "Card 7" }, /the backend webgpu, here it is cpu/],
    [{ precision: "fp16 (shader-f16)" }, /computed in fp16 \(shader-f16\), here it is fp32/],
    [{ retry: "NaN in step 3" }, /finished in fp32 \(NaN in step 3\)/],
    [{ vae: "other.safetensors" }, /its VAE was other\.safetensors, here it is the model's own/],
    [{ artifact: "a.lzr2" }, /its artifact was a\.lzr2/],
    [{ encoder: "sharp 0.0.1" }, /sharp 0\.0\.1 made its file/],
    [{ initImage: `sha256:${missing}` }, /its initImage, sha256:0+, is not among this server's pictures/],
    [{ initImage: "/etc/passwd" }, /its initImage, \/etc\/passwd, is not among/],
  ] as const) {
    const { remake, job } = await readRecord(changes);
    assert.equal(remake?.exact, false, JSON.stringify(changes));
    assert.match(remake.reasons.join("\n"), reason);
    assert.equal(job?.initImage, undefined);
  }
});

test("where a prompt was drawn from a template, the template stands beside it", async () => {
  const { job, templates } = await readRecord({ template: "a {red|blue} boat" });
  assert.equal(job?.prompt, "a red boat");
  assert.deepEqual(templates, { prompt: "a {red|blue} boat" });
});

test("files are named without their folders, as a server takes them", async () => {
  const { job } = await readRecord({ loras: [{ file: "C:\\loras\\fur.safetensors", weight: 0.5 }] });
  assert.deepEqual(job?.loras, [{ file: "fur.safetensors", weight: 0.5 }]);
});

test("a text that was copied is read as if it were in a picture; one that says nothing gives nothing", async () => {
  const ask = async (body: unknown) => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${server.url}/api/texts/read`, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: answer.status, json: (await answer.json()) as Recalled };
  };
  for (const { keyword, text } of recordTexts({ ...RECORD, template: "a {red|blue} boat" })) {
    const { job, templates, remake } = (await ask({ text })).json;
    assert.deepEqual([job?.prompt, job?.seed, job?.steps], ["a red boat", 9, 4], keyword);
    assert.deepEqual(templates, { prompt: "a {red|blue} boat" });
    // An infotext leaves out what our own record says.
    assert.equal(remake?.exact, keyword === "solvay", keyword);
  }
  assert.deepEqual(await ask({ text: "a boat, a red one" }), { status: 200, json: { format: "text", notes: [] } });
  assert.equal((await ask({ text: 7 })).status, 400);
});

test("A1111's infotext and ComfyUI's graph are read, and are never byte for byte", async () => {
  const infotext = "a boat\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 6.5, Seed: 7, Size: 512x768";
  const texts: PngText[] = [{ keyword: "parameters", text: infotext }];
  const a1111 = (await read(await encodePng({ ...PIXELS, text: texts }))).json;
  const { prompt, negativePrompt, steps, seed, width, height, guidance } = a1111.job ?? {};
  assert.deepEqual(
    { prompt, negativePrompt, steps, seed, width, height, guidance },
    { prompt: "a boat", negativePrompt: "fog", steps: 20, seed: 7, width: 512, height: 768, guidance: 6.5 },
  );
  assert.equal(a1111.remake?.exact, false);
  assert.match(a1111.remake.reasons[0]!, /other programs' arithmetic gives other pixels/);

  const graph = {
    "3": {
      class_type: "KSampler",
      inputs: {
        ...{ seed: 5, steps: 12, cfg: 4, sampler_name: "euler", scheduler: "normal", denoise: 1 },
        ...{ positive: ["6", 0], negative: ["7", 0], latent_image: ["5", 0], model: ["4", 0] },
      },
    },
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "sd_xl_base_1.0.safetensors" } },
    "5": { class_type: "EmptyLatentImage", inputs: { width: 1024, height: 832, batch_size: 1 } },
    "6": { class_type: "CLIPTextEncode", inputs: { text: "a lighthouse", clip: ["4", 1] } },
    "7": { class_type: "CLIPTextEncode", inputs: { text: "", clip: ["4", 1] } },
  };
  const camera = Buffer.from(`prompt:${JSON.stringify(graph)}\0`);
  const comfy = (await read(webpOf("EXIF", exifBlock(true, [[0x110, camera]])), "image/webp")).json;
  assert.equal(comfy.tool, "ComfyUI");
  assert.deepEqual([comfy.job?.prompt, comfy.job?.steps, comfy.job?.height], ["a lighthouse", 12, 832]);
});

test("a picture that says nothing has no job; what is no picture is refused", async () => {
  const plain = await read(await encodePng({ ...PIXELS, text: [{ keyword: "Title", text: "holiday" }] }));
  assert.deepEqual([plain.status, plain.json.job, plain.json.texts], [200, undefined, ["Title"]]);
  assert.equal((await read(Buffer.from("no picture at all"))).status, 400);
  assert.equal((await read(Buffer.from("{}"), "application/json")).status, 415);
});
