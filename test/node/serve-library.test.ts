/** @file What a server finds on its machine: adapters by their headers, with words and pictures, those of other families with the reason; imports. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { readPictureHeader } from "../../src/image/picture-header.ts";
import { adapterFolderIn } from "../../src/node/adapter-files.ts";
import { libraryFolder, loraOfWidth } from "../support/library-folder.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

interface Library {
  readonly models: readonly { readonly name: string; readonly served: boolean; readonly problem?: string }[];
  readonly adapters: readonly {
    readonly id: string;
    readonly name: string;
    readonly folder: string;
    readonly what: string;
    readonly triggers: readonly string[];
    readonly tags: readonly string[];
    readonly pictured: boolean;
    readonly problem?: string;
  }[];
  readonly imports: readonly Imported[];
}

interface Imported {
  readonly id: string;
  readonly state: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly result?: string;
}

let folder: string;
let loras: string;
let server: RunningServer;
before(async () => {
  folder = await serverFolder();
  const made = await libraryFolder(folder);
  loras = made.loras;
  server = await pretendingServer({
    ...{ folder, env: { HOME: made.home }, home: made.home },
    models: new Map([["pretence", { loraDir: loras, store: path.join(folder, "store") }]]),
  });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const library = async () => (await (await fetch(`${server.url}/api/library`)).json()) as Library;

async function post<T>(route: string, body?: object): Promise<{ status: number; json: T }> {
  const answer = await fetch(`${server.url}/api/library/${route}`, {
    ...{ method: "POST", ...(body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }) },
  });
  return { status: answer.status, json: (await answer.json()) as T };
}

test("adapters by name, with what they are, their words, and why some can't be used", async () => {
  const { adapters } = await library();
  assert.deepEqual(
    adapters.map(({ name, folder: at, what, problem }) => [name, at, what, problem]),
    [
      ["broken", "", "", adapters[0]!.problem],
      ["fur", "", "LoRA of 1 layer", undefined],
      ["ink", "styles", "LoRA of 1 layer", undefined],
      ["old", "", "LoRA of 1 layer", "this is an adapter for Stable Diffusion 1.5"],
    ],
  );
  assert.ok(adapters[0]!.problem);
  const { triggers, tags, pictured } = adapters[1]!;
  assert.deepEqual(
    { triggers, tags, pictured },
    { triggers: ["furry", "soft"], tags: ["fluffy fur", "outdoors"], pictured: true },
  );
});

test("two files of one name can't be told apart by it; what changes is read again", async () => {
  writeFileSync(path.join(loras, "styles/fur.safetensors"), loraOfWidth(2048));
  const twins = (await library()).adapters.filter(({ name }) => name === "fur");
  assert.deepEqual(
    twins.map(({ problem }) => problem),
    Array(2).fill("another file has the same name"),
  );
  rmSync(path.join(loras, "styles/fur.safetensors"));
  // Beside a .safetensors file of its name, one of PyTorch's is not meant.
  writeFileSync(path.join(loras, "fur.pt"), "x");
  writeFileSync(path.join(loras, "old.safetensors"), loraOfWidth(2048, { changed: "yes" }));
  const now = (await library()).adapters;
  assert.equal(now.find(({ name }) => name === "old")!.problem, undefined);
  assert.deepEqual(
    now.filter(({ name }) => name === "fur").map(({ what, problem }) => [what, problem]),
    [["LoRA of 1 layer", undefined]],
  );
});

test("the picture beside a file is made small; what is no picture is refused, other files are out of reach", async () => {
  const { adapters } = await library();
  const look = async (id: string) => await fetch(`${server.url}/api/library/${id}/thumbnail`);
  const idOf = (wanted: string) => adapters.find(({ name }) => name === wanted)!.id;
  const picture = new Uint8Array(await (await look(idOf("fur"))).arrayBuffer());
  const { format, width, height } = readPictureHeader(picture, "thumbnail");
  assert.deepEqual({ format, width, height }, { format: "WebP", width: 8, height: 6 });
  assert.equal((await look(idOf("ink"))).status, 400);
  assert.equal((await look(idOf("broken"))).status, 404);
  assert.equal((await look("..%2f..%2fetc%2fpasswd")).status, 404);
});

test("models of the Hugging Face cache, those of other families with the reason", async () => {
  const { models } = await library();
  assert.deepEqual(models, [
    { name: "pretence", served: true, standing: true, open: true, importable: false },
    { name: "org/flat", served: false, importable: true },
    { name: "org/other", served: false, importable: false, problem: "this is FluxPipeline" },
  ]);
});

test("a model of the cache is imported with its progress; no path and no other family is", async () => {
  for (const model of ["org/other", "/etc", "../flat", "org/none", 7]) {
    assert.equal((await post("import", { model })).status, 404, String(model));
  }
  const { status, json: begun } = await post<Imported>("import", { model: "org/flat" });
  assert.equal(status, 202);
  const again = await post<Imported>("import", { model: "org/flat" });
  assert.equal(again.json.id, begun.id);
  let state = begun;
  while (state.state === "waiting" || state.state === "running") {
    [state = begun] = (await library()).imports;
  }
  assert.equal(state.state, "done", JSON.stringify(state));
  assert.ok(state.totalBytes > 0 && state.doneBytes === state.totalBytes);
  assert.match(state.result!, /^store:/);
  const cancelled = await post<Imported>(`imports/${begun.id}/cancel`);
  assert.deepEqual([cancelled.status, cancelled.json.state], [200, "done"]);
  assert.equal((await post("imports/none/cancel")).status, 404);
});

test("A1111's and ComfyUI's folders of adapters are found beside their models", async () => {
  for (const [root, models, lora, embedding] of [
    ["a1111", "models", "models/Lora", "embeddings"],
    ["comfy", "", "models/loras", "models/embeddings"],
  ] as const) {
    const at = (place: string) => path.join(folder, root, place);
    for (const place of [lora, embedding]) mkdirSync(at(place), { recursive: true });
    assert.equal(await adapterFolderIn(at(models), "lora"), path.join(folder, root, lora));
    assert.equal(await adapterFolderIn(at(models), "embedding"), path.join(folder, root, embedding));
  }
  assert.equal(await adapterFolderIn(path.join(folder, "nothing"), "lora"), undefined);
});
