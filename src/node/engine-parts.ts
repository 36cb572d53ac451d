/** @file What composeEngine needs, from this machine. */
import { WebGpuSizes } from "../backend/webgpu/lower/sizes.ts";
import type { EngineParts, Host } from "../engine/engine.ts";
import type { OpenPicture } from "../engine/upscale-job.ts";
import { ArtifactError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import { pictureReference } from "../job/picture.ts";
import type { LibraryHost } from "../library/host.ts";
import { findModel, type ModelSource } from "../library/open.ts";
import { openCompute } from "./compute.ts";
import { controlOpener } from "./control-files.ts";
import { embeddingFiles } from "./embedding-files.ts";
import { FileHashes } from "./file-hashes.ts";
import { sha256Hex } from "./hash.ts";
import { machineNamed, PROCESS_BYTES, resolveBudgets } from "./host-machine.ts";
import { imagePromptOpener } from "./image-prompt-files.ts";
import { nodeLibraryHost } from "./library-host.ts";
import { loraOpener } from "./lora-files.ts";
import { readPictureBytes } from "./picture-files.ts";
import { openPictureWriter } from "./picture-writer.ts";
import { readPicture as readPictureFile } from "./pictures.ts";
import { openPreviewer, previewerBeside } from "./previewer-files.ts";
import { defaultStateFolder } from "./state/folder.ts";
import { upscalerOpener } from "./upscaler-files.ts";
import { wildcardReader } from "./wildcard-files.ts";

/** `toAbsolute`: of a path as the user wrote it. Rejects with ArtifactError, UsageError or DeviceError. */
export async function openNodeParts(request: OpenRequest, toAbsolute: (path: string) => string): Promise<EngineParts> {
  const library = nodeLibraryHost(toAbsolute, process.env);
  const model = await findModel(library, request);
  await using opened = new AsyncDisposableStack();
  const previewer = await previewerOf(library, request, model);
  if (previewer) opened.use(previewer.source);
  // Last: what is missing is said before a card or a runtime is woken.
  const compute = await openCompute(request);
  const readPicture: Host["readPicture"] = async (field, reference, signal) => {
    const { name, bytes } = await readPictureBytes(field, reference, {
      cwd: toAbsolute("."),
      ...(signal && { signal }),
    });
    const picture = await readPictureFile(bytes, { name, ...(signal && { signal }) });
    return pictureReference(field, reference).kind === "file" ? { ...picture, sha256: sha256Hex(bytes) } : picture;
  };
  const openPicture = pictureOpener(toAbsolute("."));
  const { wildcardsDir, loraDir, embeddingsDir, controlDir, ipAdapterDir, upscalerDir, onlyNames } = request;
  const { budgets = {} } = request;
  const toPath = onlyNames ? undefined : toAbsolute;
  const embeddings = embeddingFiles(embeddingsDir === undefined ? undefined : toAbsolute(embeddingsDir), toPath);
  const openLora = loraOpener(loraDir === undefined ? undefined : toAbsolute(loraDir), toPath);
  const controls = controlDir === undefined ? undefined : toAbsolute(controlDir);
  const imagePrompts = ipAdapterDir === undefined ? undefined : toAbsolute(ipAdapterDir);
  const openImagePrompt = imagePromptOpener(library, imagePrompts, onlyNames === true);
  const openControl = controlOpener(library, controls, onlyNames === true);
  const upscalers = upscalerOpener(upscalerDir === undefined ? undefined : toAbsolute(upscalerDir), toPath);
  const readWildcard = wildcardsDir === undefined ? undefined : wildcardReader(toAbsolute(wildcardsDir));
  opened.move();
  const host = {
    ...NODE_HOST,
    readPicture,
    openPicture,
    readWildcard,
    openUpscaler: upscalers,
    openLora,
    openControl,
    openImagePrompt,
    embeddings,
  };
  return { compute, model, previewer, host, budgets };
}

/** As the user names it; else what is found, if it is one. */
async function previewerOf(library: LibraryHost, { previewModel }: OpenRequest, model: ModelSource) {
  if (previewModel !== undefined) return await openPreviewer(library, previewModel);
  if (model.demo) return undefined;
  try {
    return await previewerBeside(library, model.name);
  } catch (error) {
    // Nobody has asked for it: previews by colours need none.
    if (error instanceof ArtifactError) return undefined;
    throw error;
  }
}

/** `cwd`: what relative paths are relative to. */
export function pictureOpener(cwd: string): OpenPicture {
  return async (field, reference, signal) => {
    const { name, bytes } = await readPictureBytes(field, reference, { cwd, ...(signal && { signal }) });
    const decode = (stop?: AbortSignal) =>
      readPictureFile(bytes, { name, alpha: "apart", ...(stop && { signal: stop }) });
    return { name, bytes, decode };
  };
}

const NODE_HOST: Omit<Host, "readPicture"> = {
  now: () => performance.now(),
  memory: () => ({
    rssBytes: process.memoryUsage.rss(),
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  }),
  pause: () => new Promise<void>((resume) => setImmediate(resume)),
  processBytes: PROCESS_BYTES,
  resolveBudgets,
  openPictureWriter,
  fileHashes: new FileHashes(defaultStateFolder(process.env)),
  described: (name) => ({ machine: machineNamed(name), device: new WebGpuSizes() }),
};
