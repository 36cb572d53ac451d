/** @file What jobs name on this machine, networks and pictures: where only names count, nothing outside the folders is opened, whatever is written; by path, all of it is. */
import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { EngineParts } from "../../src/engine/engine.ts";
import { encodePng } from "../../src/image/png.ts";
import { embeddingFiles } from "../../src/node/embedding-files.ts";
import { openNodeParts } from "../../src/node/engine-parts.ts";
import { sha256Hex } from "../../src/node/hash.ts";
import { adapterNamed } from "../../src/node/image-prompt-files.ts";
import { loraOpener } from "../../src/node/lora-files.ts";
import { upscalerOpener } from "../../src/node/upscaler-files.ts";
import { encodeSafetensors } from "../safetensors-writer.ts";

const root = mkdtempSync(path.join(tmpdir(), "solvay-named-"));
after(() => rmSync(root, { recursive: true, force: true }));
const FILE = encodeSafetensors([{ name: "x", dtype: "f16", shape: [1], bytes: new Uint8Array(2) }]);
for (const name of ["inside/known", "inside/deep/down", "inside/.hidden", "secret", "other/secret"]) {
  mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
  writeFileSync(path.join(root, `${name}.safetensors`), FILE);
}
const FLAT = fileURLToPath(new URL("../../fixtures/golden/flat", import.meta.url));
mkdirSync(path.join(root, "folder"));
copyFileSync(path.join(FLAT, "unet/config.json"), path.join(root, "folder/config.json"));

async function partsOf(dir: string | undefined, onlyNames: boolean): Promise<EngineParts & AsyncDisposable> {
  const dirs = { loraDir: dir, embeddingsDir: dir, controlDir: dir, ipAdapterDir: dir, upscalerDir: dir };
  const request = { model: FLAT, backend: "reference", onlyNames, ...(dir !== undefined && dirs) } as const;
  const parts = await openNodeParts(request as never, (file) => path.resolve(root, file));
  const dispose = () => parts.compute.device[Symbol.asyncDispose]();
  return Object.assign(parts, { [Symbol.asyncDispose]: dispose });
}

/** Each opens what a job names so, and lets go of it. By the code that it refuses with. */
const OPENERS: Readonly<Record<string, (host: EngineParts["host"], name: string) => Promise<void>>> = {
  E_LORA: async ({ openLora }, name) => {
    await using _ = await openLora!(name, false);
  },
  E_EMBEDDING_NAME: async ({ embeddings }, name) => {
    await using _ = (await embeddings!.open(name)).source;
  },
  E_CONTROL: async ({ openControl }, name) => {
    await using owned = new AsyncDisposableStack();
    await openControl!(name, owned);
  },
  E_IP_ADAPTER: async ({ openImagePrompt }, name) => {
    await using owned = new AsyncDisposableStack();
    await openImagePrompt!(name, undefined, owned);
  },
  "E_IP_ADAPTER of an encoder": async ({ openImagePrompt }, name) => {
    await using owned = new AsyncDisposableStack();
    await openImagePrompt!("known", name, owned);
  },
  E_UPSCALER: async ({ openUpscaler }, name) => {
    await using _ = (await openUpscaler!(name)).source;
  },
};

const OUTSIDE = [
  ...[path.join(root, "secret.safetensors"), path.join(root, "folder")],
  ...["secret.safetensors", "../secret.safetensors", "../secret", "../folder", "..", ".", "./", "", "/"],
  ...["deep/../../secret.safetensors", "..\\secret.safetensors", "../other/secret", "known/../../secret", "known\0"],
];

for (const [code, open] of Object.entries(OPENERS)) {
  test(`${code}: where only names count no path leads out of the folder; without a folder there are none`, async () => {
    await using parts = await partsOf("inside", true);
    for (const name of OUTSIDE) {
      const what = JSON.stringify(name);
      await assert.rejects(open(parts.host, name), { code: code.split(" ")[0] }, what);
    }
    await using none = await partsOf(undefined, true);
    for (const name of ["known", path.join(root, "secret.safetensors"), "secret.safetensors", "folder"]) {
      // Without its own folder an encoder's adapter is refused first.
      await assert.rejects(open(none.host, name), { code: code.split(" ")[0] }, name);
    }
  });
}

test("by name, with its ending or without, in the folder or below it; by path where paths count, and then before names", async () => {
  await using named = await partsOf("inside", true);
  await using free = await partsOf("inside", false);
  const { E_LORA: lora, E_CONTROL: control } = OPENERS;
  for (const { host } of [named, free]) {
    for (const name of ["known", "known.safetensors", "down", "deep/down"]) await lora!(host, name);
    for (const name of ["known", "known.safetensors"]) await control!(host, name);
    // Hidden files and those of folders within are no ControlNets.
    await assert.rejects(control!(host, "down"));
  }
  await assert.rejects(control!(named.host, ".hidden"), { code: "E_CONTROL" });
  for (const open of [lora!, control!]) {
    for (const file of ["secret.safetensors", path.join(root, "secret.safetensors")]) await open(free.host, file);
  }
  await control!(free.host, "folder");
  // What stands in a prompt is a name whatever it looks like.
  await assert.rejects(free.host.openLora!(path.join(root, "secret.safetensors"), true), { code: "E_LORA" });
});

test("of files of one name: the safe format before torch's; of two of one format none; else the name that its training gave it", async (t) => {
  const folder = path.join(root, "twins");
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const trained = encodeSafetensors([{ name: "x", dtype: "f16", shape: [1], bytes: new Uint8Array(2) }], {
    ss_output_name: "snow",
  });
  const files = ["a/twin.ckpt", "b/twin.safetensors", "c/twin.pt", "a/only.bin", "a/two.pt", "b/two.pt", "b/junk.pt"];
  for (const name of [...files, "z/v3.safetensors"]) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), name.startsWith("z") ? trained : "no file of tensors");
  }
  const open = loraOpener(folder);
  for (const [name, file] of [
    ["twin", "twin.safetensors"],
    ["only", "only.bin"],
    ["c/twin", "twin.pt"],
    ["b/two", "two.pt"],
    ["snow", "v3.safetensors"],
  ] as const) {
    await using source = await open(name, true);
    assert.equal(source.name, file);
  }
  await assert.rejects(open("two", true), /more than one file is called so: .*two\.pt and .*two\.pt/);
  // Of two of one name none is taken, by any of those who look for them.
  for (const name of ["a/two.pth", "b/two.pth", "a/two.bin", "b/TWO.BIN"]) {
    writeFileSync(path.join(folder, name), "no file of tensors");
  }
  await assert.rejects(upscalerOpener(folder)("two.pth"), { code: "E_UPSCALER" });
  await assert.rejects(embeddingFiles(folder).open("two.bin"), { code: "E_EMBEDDING_NAME" });
  // Endings as Windows writes them, and links to files elsewhere.
  writeFileSync(path.join(folder, "LOUD.SAFETENSORS"), "no file of tensors");
  const names = ["LOUD"];
  if (process.platform !== "win32") {
    symlinkSync(path.join(root, "secret.safetensors"), path.join(folder, "linked.safetensors"));
    names.push("linked");
  }
  for (const name of names) await (await open(name, true))[Symbol.asyncDispose]();
  const adapters = ["/n/a/ip.bin", "/n/b/ip.safetensors", "/n/b/only.bin"];
  const named = (name: string) => adapterNamed({ adapters, encoders: [] }, name);
  assert.deepEqual(["ip", "ip.bin", "only", "b/ip", ".ip"].map(named), [
    adapters[1],
    adapters[0],
    adapters[2],
    undefined,
    undefined,
  ]);
});

test("files that can't be used are let go of", {
  skip: process.platform !== "linux" && "only Linux lists open files",
}, async () => {
  writeFileSync(path.join(root, "inside/damaged.safetensors"), "no file of tensors");
  await using parts = await partsOf("inside", true);
  const openFiles = () => readdirSync("/proc/self/fd").length;
  const before = openFiles();
  for (const open of Object.values(OPENERS).filter((each) => each !== OPENERS.E_LORA)) {
    for (const name of ["damaged", "damaged.safetensors"]) await open(parts.host, name).catch(() => undefined);
  }
  writeFileSync(path.join(root, "inside/empty.safetensors"), "");
  for (const open of Object.values(OPENERS)) {
    for (const name of ["empty", "empty.safetensors"]) await open(parts.host, name).catch(() => undefined);
  }
  assert.ok(openFiles() <= before, `${openFiles()} files are open, ${before} were`);
});

test("a picture that is named by its file is recorded with its hash; one in the job itself needs none", async () => {
  await using parts = await partsOf(undefined, true);
  const bytes = await encodePng({ width: 1, height: 1, rgb: Uint8Array.of(1, 2, 3), text: [] } as never);
  writeFileSync(path.join(root, "dot.png"), bytes);
  const file = await parts.host.readPicture!("initImage", "dot.png");
  assert.deepEqual([[...file.rgb], file.sha256], [[1, 2, 3], sha256Hex(bytes)]);
  const data = await parts.host.readPicture!(
    "initImage",
    `data:image/png;base64,${Buffer.from(bytes).toString("base64")}`,
  );
  assert.deepEqual([[...data.rgb], data.sha256], [[1, 2, 3], undefined]);
});

test("a damaged file for previews beside the model costs the previews alone, unless it was asked for", async () => {
  const model = path.join(root, "model");
  cpSync(FLAT, model, { recursive: true });
  writeFileSync(path.join(model, "taesdxl_decoder.safetensors"), "no file of tensors");
  const request = { model, backend: "reference" } as const;
  const absolute = (file: string) => path.resolve(root, file);
  const { compute, previewer } = await openNodeParts(request as never, absolute);
  await compute.device[Symbol.asyncDispose]();
  assert.equal(previewer, undefined);
  const asked = { ...request, previewModel: path.join(model, "taesdxl_decoder.safetensors") };
  await assert.rejects(openNodeParts(asked as never, absolute), { name: "ArtifactError" });
});
