/** @file A second server for views that need much: thousands of pictures, a plan of some blocks, an engine whose blocks come and go, adapters and a cache. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { UsageError } from "../../../src/errors.ts";
import type { PlanOptions, PlanReport, ResidencyEvent } from "../../../src/job/types.ts";
import { fillGallery } from "../../support/gallery.ts";
import { libraryFolder, loraOfWidth } from "../../support/library-folder.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../../support/server.ts";

const DEEP = fileURLToPath(new URL("../../../fixtures/golden/deep", import.meta.url));
const PICTURES = 5000;
/** A name that a file may have: of a model, a LoRA with its words, a ControlNet. */
export const EVIL_NAME = '"><img src=x onerror=window.hacked=1><svg onload=window.hacked=1>';
const PROMPTS = [
  "a lighthouse at dusk",
  "a red fox",
  "an old sailor <img src=x onerror=document.title=1>",
  "a mountain lake",
];
const BLOCK_BYTES = 2 ** 28;
const KEYS = ["unet/a", "unet/b", "unet/c", "vae/a"];

interface Filled {
  readonly folder: string;
  readonly server: RunningServer;
}

let filled: Promise<Filled> | undefined;

/** Opened once, for all files of tests. */
export async function filledServer(): Promise<RunningServer> {
  filled ??= open();
  return (await filled).server;
}

export async function closeFilledServer(): Promise<void> {
  if (!filled) return;
  const { folder, server } = await filled;
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
}

async function open(): Promise<Filled> {
  const folder = await serverFolder();
  const picture = (i: number) => ({
    prompt: PROMPTS[i % PROMPTS.length]!,
    job: { steps: i % 30 },
    createdAt: new Date(Date.UTC(2026, 0, 1) + i * 3_600_000).toISOString(),
  });
  await fillGallery(
    folder,
    Array.from({ length: PICTURES }, (_, i) => picture(i)),
    3,
  );
  const { loras, home } = await libraryFolder(folder);
  // Listed by its name; nobody opens it.
  const controls = `${folder}/controls`;
  mkdirSync(controls);
  writeFileSync(`${controls}/edges.safetensors`, "");
  writeFileSync(`${controls}/${EVIL_NAME}.safetensors`, "");
  const adapters = `${folder}/adapters`;
  mkdirSync(`${adapters}/vit-h`, { recursive: true });
  writeFileSync(`${adapters}/plus.safetensors`, "");
  writeFileSync(`${adapters}/vit-h/config.json`, '{"model_type":"clip_vision_model"}');
  const words = { "modelspec.trigger_phrase": EVIL_NAME, "modelspec.title": EVIL_NAME };
  writeFileSync(`${loras}/${EVIL_NAME}.safetensors`, loraOfWidth(2048, words));
  const server = await pretendingServer({
    ...{ home, env: { HOME: home }, queueLimit: 12 },
    models: new Map([
      ["pretence", { loraDir: loras, controlDir: controls, ipAdapterDir: adapters, store: `${folder}/store` }],
      // As --models-dir finds one.
      ["deep", { model: DEEP, store: `${folder}/store` }],
      [EVIL_NAME, {}],
    ]),
    ...{ folder, studio: true, moments: [moment(1, KEYS.slice(0, 2)), moment(2, KEYS.slice(1, 3))] },
    plan: async (_, options) => planFor(options),
  });
  return { folder, server };
}

function moment(atMs: number, resident: readonly string[]): ResidencyEvent {
  return {
    ...{ atMs: 250 * atMs, pass: "step", segment: "c", resident, loading: ["vae/a"] },
    ...{ deviceBytes: resident.length * BLOCK_BYTES, ramBytes: BLOCK_BYTES, rssBytes: BLOCK_BYTES },
    ...{ readBytes: atMs * 1e8, loadedBytes: atMs * 1e9, waitMs: 50 * atMs },
  };
}

/** As many blocks stay as fit; below one it refuses, as the planner does. */
function planFor({ as, budgets }: PlanOptions = {}): PlanReport {
  const { bytes: deviceBytes } = (budgets?.vram ?? { bytes: 3 * BLOCK_BYTES }) as { bytes: number };
  if (deviceBytes < BLOCK_BYTES)
    throw new UsageError({ code: "E_VRAM", problem: "a block needs 256 MiB", next: "give --vram 256M or more" });
  const pinned = Math.min(KEYS.length, Math.floor(deviceBytes / BLOCK_BYTES));
  const map = KEYS.map((key, i) => {
    const [owner = "", segment = ""] = key.split("/");
    return { key, owner, segment, bytes: BLOCK_BYTES, place: i < pinned ? "pinned" : "streamed" };
  });
  const pass = { id: "step", repeats: 10, predictedMs: 1000 - 200 * pinned, predictedWaitMs: 0, map };
  const tiers = { deviceBytes, ramBytes: BLOCK_BYTES };
  return {
    ...{
      machine: as ?? "here",
      basis: "pretended",
      budgets: tiers,
      peak: tiers,
      weightBytes: 4 * BLOCK_BYTES,
      lanes: 1,
    },
    ...{ loadedBytes: 10 * BLOCK_BYTES, predictedMs: 10 * pass.predictedMs },
    phases: [{ id: "denoise", title: "denoise", reasons: [`${pinned} of 4 blocks stay`], passes: [pass] }],
  } as unknown as PlanReport;
}
