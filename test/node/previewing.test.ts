/** @file Previews by a tiny decoder: against diffusers, under the plan, with the same picture; and which files are one. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { HostData } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { PREVIEWER_COMPONENT, Previewing } from "../../src/models/previewing.ts";
import { nodeLibraryHost } from "../../src/node/library-host.ts";
import { openPreviewer, previewerBeside } from "../../src/node/previewer-files.ts";
import { TableBlocks } from "../../src/stream/blocks.ts";
import type { PhaseRun } from "../../src/stream/phase.ts";
import { runGraph } from "../graph-run.ts";
import { sameBytes } from "../support/same.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures/", import.meta.url));
const FOLDER = path.join(FIXTURES, "previews", "taesdxl");
const FILE = path.join(FIXTURES, "previews", "taesdxl_decoder.pth");
const host = nodeLibraryHost((name) => path.resolve(FIXTURES, name), {});
/** By diffusers 0.42 (scripts/golden/preview_golden.py). */
const golden = JSON.parse(readFileSync(path.join(FIXTURES, "previews", "golden.json"), "utf8")) as {
  readonly height: number;
  readonly width: number;
  readonly everyRow: number;
  readonly latent: string;
  readonly rows: string;
};

for (const named of [FOLDER, FILE]) {
  test(`${path.basename(named)}: a preview of two tiles is diffusers' whole picture within 1 of 255`, async () => {
    const { config, table, source } = await openPreviewer(host, named);
    await using _ = source;
    assert.deepEqual(config, { latentChannels: 4, channels: 4, blocks: [3, 3, 3, 1] });
    const device = new HostDevice(createReferenceBackend());
    const reader = new TableBlocks(PREVIEWER_COMPONENT, table);
    const size = { channels: 4, height: golden.height, width: golden.width };
    const step = { segments: [] } as never;
    const previewing = new Previewing({ component: PREVIEWER_COMPONENT, config }, size, step, "");
    const passes = previewing.passes(1);
    const runs: string[] = [];
    const phase = {
      run: (id: string, inputs: ReadonlyMap<string, HostData>) => {
        runs.push(id);
        return runGraph(device, reader, passes.find((pass) => pass.id === id)!.graph, inputs);
      },
    };
    const latent = new Float32Array(new Uint8Array(Buffer.from(golden.latent, "base64")).buffer);
    const { width, height, rgb } = await previewing.decode(phase as unknown as PhaseRun, latent);
    assert.deepEqual(runs, ["preview", "preview.tile", "preview.tile"]);
    assert.deepEqual([width, height], [8 * golden.width, 8 * golden.height]);
    const expected = Buffer.from(golden.rows, "base64");
    for (const [at, value] of expected.entries()) {
      const row = Math.floor(at / (3 * width)) * golden.everyRow;
      const found = rgb[row * 3 * width + (at % (3 * width))]!;
      assert.ok(Math.abs(found - value) <= 1, `row ${row}, ${at % (3 * width)}: ${found} for ${value}`);
    }
  });
}

test("an engine shows them seldom enough, planned, and draws the same picture as without", async () => {
  const job = { prompt: "a lake", seed: 3, steps: 3, width: 32, height: 16, sampler: "euler" } as const;
  await using engine = await openThreadlessEngine({ backend: "cpu", previewModel: FILE });
  const pictures: Uint8Array[] = [];
  for (const previews of [false, true]) {
    const steps: number[] = [];
    let plannedRam = 0;
    for await (const event of engine.generate(job, { previews })) {
      if (event.type === "preview") {
        assert.deepEqual([event.width, event.height, event.rgb.length], [32, 16, 3 * 32 * 16]);
        steps.push(event.step);
      }
      if (event.type === "plan") {
        plannedRam = event.plan.peak.ramBytes;
        const passes = event.plan.phases.find(({ id }) => id === "denoise")!.passes.map(({ id }) => id);
        assert.equal(passes.includes("preview.tile"), previews);
      }
      if (event.type !== "image") continue;
      pictures.push(event.bytes);
      assert.ok(event.peakRamBytes <= plannedRam, `${event.peakRamBytes} of ${plannedRam}`);
    }
    if (!previews) assert.deepEqual(steps, []);
    else assert.equal(steps.at(-1), 3);
  }
  for (const bytes of pictures) sameBytes(bytes, pictures[0]!);
});

test("a decoder of other latents than the model's is refused before anything is drawn", async () => {
  await using engine = await openThreadlessEngine({
    backend: "reference",
    model: path.join(FIXTURES, "golden", "flat"),
    previewModel: FOLDER,
  });
  const events = engine.generate({ prompt: "x", steps: 1, width: 16, height: 16 }, { previews: true });
  await assert.rejects(async () => {
    for await (const event of events) assert.ok(event.type === "start" || event.type === "note", event.type);
  }, /E_PREVIEWER --preview-model: it decodes latents of 4 channels \(the model's have 8\)/);
});

test("what is no tiny decoder is refused by name; what lies beside a model or in ComfyUI's folder is found", async () => {
  for (const [named, about] of [
    [
      "upscalers/x4.pth",
      /^E_PREVIEWER upscalers\/x4\.pth: no decoder of a tiny autoencoder: it is an upscaler\. Next: give it with --hires-upscaler/,
    ],
    ["golden/flat", /^E_PREVIEWER golden\/flat: the folder holds no decoder/],
    ["previews/none.pth", /^E_NOT_CACHED/],
  ] as const) {
    await assert.rejects(openPreviewer(host, named), (error: Error & { code: string; subject: string }) => {
      assert.match(`${error.code} ${error.subject}: ${error.message.split(": ").slice(1).join(": ")}`, about);
      return true;
    });
  }
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-preview-"));
  for (const name of ["checkpoints", "vae_approx"]) mkdirSync(path.join(folder, name));
  const model = path.join(folder, "checkpoints", "m.safetensors");
  writeFileSync(model, "");
  assert.equal(await previewerBeside(host, model), undefined);
  copyFileSync(FILE, path.join(folder, "vae_approx", "taesdxl_decoder.pth"));
  const found = await previewerBeside(host, model);
  assert.equal(found?.name, "taesdxl_decoder.pth");
  await found?.source[Symbol.asyncDispose]();
});
