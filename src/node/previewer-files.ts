/** @file Where the decoder of a tiny autoencoder lies that previews are made with: as the user names it, or beside the model under its usual name. */
import path from "node:path";
import { tensorTables } from "../checkpoint/tensor-file.ts";
import type { PreviewerFile } from "../engine/engine.ts";
import { ArtifactError } from "../errors.ts";
import type { LibraryHost } from "../library/host.ts";
import { locateFiles } from "../library/locate.ts";
import { recogniseTinyDecoder } from "../models/tiny-decoder-file.ts";
import { openFileSource } from "./files/file.ts";

/** SDXL's, as its author, ComfyUI and A1111's web UI name it. */
const FILES = ["taesdxl_decoder.safetensors", "taesdxl_decoder.pth"];
/** From the model's file or folder: beside it, and where ComfyUI and A1111's web UI keep such files. */
const FOLDERS = [".", "vae_approx", "VAE-approx", "../vae_approx", "../VAE-approx"];
const HUB_ID = "madebyollin/taesdxl";
/** In diffusers' folder. */
const FOLDER_FILES = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors", ...FILES];

/** `named`: a file, a folder or a Hugging Face id in the local cache. Rejects with ArtifactError `E_MISSING`, `E_PREVIEWER`, `E_PICKLE` ... */
export async function openPreviewer(host: LibraryHost, named: string, signal?: AbortSignal): Promise<PreviewerFile> {
  const found = await locateFiles(host, named);
  const file = (await host.kindOf(found)) === "file" ? found : await firstFile(host, found, FOLDER_FILES);
  if (file === undefined) {
    const problem = `the folder holds no decoder (looked for ${FOLDER_FILES.join(", ")})`;
    throw new ArtifactError({ code: "E_PREVIEWER", subject: named, problem, next: "name the file itself" });
  }
  return await opened(file, named, signal);
}

/** Undefined where there is none. `model`: path of the model's file or folder. */
export async function previewerBeside(
  host: LibraryHost,
  model: string,
  signal?: AbortSignal,
): Promise<PreviewerFile | undefined> {
  const folder = (await host.kindOf(model)) === "file" ? path.dirname(model) : model;
  for (const name of FOLDERS) {
    const file = await firstFile(host, path.join(folder, name), FILES);
    if (file !== undefined) return await opened(file, file, signal);
  }
  const cached = await host.hub.resolve(HUB_ID).catch(() => undefined);
  const file = cached === undefined ? undefined : await firstFile(host, cached, FOLDER_FILES);
  return file === undefined ? undefined : await opened(file, HUB_ID, signal);
}

async function firstFile(host: LibraryHost, folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const file = path.join(folder, name);
    if ((await host.kindOf(file)) === "file") return file;
  }
  return undefined;
}

async function opened(file: string, shown: string, signal?: AbortSignal): Promise<PreviewerFile> {
  await using sources = new AsyncDisposableStack();
  const source = sources.use(await openFileSource(file, shown, shown));
  const [table] = (await tensorTables(source, signal)).values();
  const recognised = recogniseTinyDecoder(table ?? new Map(), shown);
  sources.move();
  return { ...recognised, name: path.basename(file), source };
}
