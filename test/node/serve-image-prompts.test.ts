/**
 * @file IP-Adapters behind a server: named without a folder, pictures and masks as data: URLs, kept as assets; the encoder that fits is found; a job whose
 * server was stopped on its way is drawn to its end by the next, to the pixels of one that was not. A1111's units of them.
 */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { IpAdapterUse } from "../../src/job/ip-adapter-use.ts";
import { readPicture } from "../../src/node/pictures.ts";
import type { Engine, GenerateJob } from "../../src/node.ts";
import { pretendingServer, serverFolder } from "../support/server.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

const pathOf = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
const MODEL = pathOf("golden/deep");
const ADAPTERS = pathOf("image-prompts");
const dataUrl = (name: string) => `data:image/png;base64,${readFileSync(pathOf(name)).toString("base64")}`;

const folder = await serverFolder();
after(() => rmSync(folder, { recursive: true, force: true }));

interface JobJson {
  readonly id: string;
  readonly state: string;
  readonly step: number;
  readonly url?: string;
  readonly job: { readonly ipAdapters: readonly IpAdapterUse[] };
  readonly error?: { readonly code: string; readonly message: string };
}

async function call<T>(url: string, body?: object): Promise<{ readonly status: number; readonly json: T }> {
  const sent = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(url, sent);
  return { status: answer.status, json: (await answer.json()) as T };
}

async function until(url: string, reached: (job: JobJson) => boolean): Promise<JobJson> {
  for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 20) {
    const { json } = await call<JobJson>(url);
    if (reached(json)) return json;
    await delay(20);
  }
  throw new Error(`${url}: it takes too long`);
}

async function rgbOf(bytes: ArrayBuffer | Uint8Array): Promise<Uint8Array> {
  return (await readPicture(new Uint8Array(bytes), { name: "x" })).rgb;
}

test("a job of two adapters with a mask: assets, the schema's names, refusals, a stop on its way, the same pixels", async () => {
  let engine: Engine | undefined;
  const open = () =>
    pretendingServer({
      ...{ folder, models: new Map([["deep", { model: MODEL, ipAdapterDir: ADAPTERS }]]) },
      async engine(options) {
        engine = await openThreadlessEngine({ ...options, backend: "cpu" });
        return engine;
      },
    });
  const first = await open();
  let base = first.url;
  const { json: schema } = await call<{ fields: { name: string; kind: { files?: string[]; parts?: unknown[] } }[] }>(
    `${base}/api/schema`,
  );
  const { kind } = schema.fields.find(({ name }) => name === "ipAdapters")!;
  assert.deepEqual(kind.files, ["base", "plus"]);
  assert.match(JSON.stringify(kind.parts), /"encoder","kind":\{"type":"choice","values":\["image_encoder"\]\}/);
  const { json: listed } = await call<{ model_list: string[]; module_list: string[] }>(`${base}/controlnet/model_list`);
  assert.deepEqual(listed.model_list, ["base", "plus"]);

  const uses: readonly IpAdapterUse[] = [
    {
      ...{ file: "plus", weight: 0.7 },
      ...{ images: [dataUrl("from-pictures/init.png")], masks: [dataUrl("image-prompts/left.png")] },
    },
    { file: "base", images: [dataUrl("from-pictures/soft.png")], weight: 0.9 },
  ];
  const job = { prompt: "a mill", seed: 3, steps: 12, guidance: 3, width: 64, height: 64, ipAdapters: uses };
  const ask = (ipAdapters: readonly object[]) =>
    call<{ error: { message: string } }>(`${base}/api/jobs`, { job: { ...job, ipAdapters } });
  for (const [wrong, words] of [
    [{ file: "../plus" }, /E_JOB ipAdapters: a server takes such files by their names alone/],
    [{ encoder: "/image_encoder" }, /E_JOB ipAdapters: a server takes such files by their names alone/],
    [{ images: ["/etc/passwd"] }, /E_PICTURE ipAdapters\.0\.images\.0: a server reads no files/],
    [{ masks: ["left.png"] }, /E_PICTURE ipAdapters\.0\.masks\.0: a server reads no files/],
    [{ masks: [...uses[0]!.masks!, ...uses[0]!.masks!] }, /E_JOB ipAdapters: number 1 .*found 2, allowed 0 or 1/],
    [{ images: [] }, /E_JOB ipAdapters: number 1 has no picture/],
  ] as const) {
    const { status, json } = await ask([{ ...uses[0], ...wrong }]);
    assert.deepEqual([status, words.test(json.error.message)], [400, true], json.error.message);
  }
  const { json: asked } = await call<{ jobs: JobJson[] }>(`${base}/api/jobs`, { job });
  const { id, job: kept } = asked.jobs[0]!;
  for (const { images = [], masks = [] } of kept.ipAdapters) {
    for (const each of [...images, ...masks]) assert.match(each, /^sha256:[0-9a-f]{64}$/);
  }
  await until(`${base}/api/jobs/${id}`, ({ step }) => step >= 1);
  await first[Symbol.asyncDispose]();

  await using second = await open();
  base = second.url;
  const done = await until(`${base}/api/jobs/${id}`, ({ state }) => ["done", "failed"].includes(state));
  assert.equal(done.state, "done", done.error?.message);
  const drawn = await rgbOf(await (await fetch(new URL(done.url!, base))).arrayBuffer());
  const unit = { module: "ip-adapter_clip_h", model: "plus", image: dataUrl("from-pictures/init.png").split(",")[1] };
  const sent = {
    prompt: "a mill",
    seed: 3,
    steps: 1,
    width: 64,
    height: 64,
    alwayson_scripts: { ControlNet: { args: [unit] } },
  };
  const webui = await call<{ images: string[]; info: string }>(`${base}/sdapi/v1/txt2img`, sent);
  assert.equal(webui.status, 200, JSON.stringify(webui.json));
  assert.match(webui.json.info, /IP-Adapter 0: .*Model: plus, Images: .*sha256:[0-9a-f]{64}/);

  // At once, by itself.
  for await (const event of engine!.generate(job as GenerateJob)) {
    if (event.type === "image") return assert.deepEqual(await rgbOf(event.bytes), drawn);
  }
  throw new Error("the job ended without a picture");
});
