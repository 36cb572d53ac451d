/** @file What composeEngine needs, from this machine. */
import { WebGpuSizes } from "../backend/webgpu/lower/sizes.ts";
import type { EngineParts, Host } from "../engine/engine.ts";
import type { OpenRequest } from "../job/checked.ts";
import { findModel } from "../library/open.ts";
import { openCompute } from "./compute.ts";
import { machineNamed, PROCESS_BYTES, resolveBudgets } from "./host-machine.ts";
import { nodeLibraryHost } from "./library-host.ts";
import { loraOpener } from "./lora-files.ts";
import { readPictureBytes } from "./picture-files.ts";
import { openPictureWriter } from "./picture-writer.ts";
import { readPicture as readPictureFile } from "./pictures.ts";
import { openUpscaler } from "./upscaler-files.ts";
import { wildcardReader } from "./wildcard-files.ts";

/** `toAbsolute`: of a path as the user wrote it. Rejects with ArtifactError, UsageError or DeviceError. */
export async function openNodeParts(request: OpenRequest, toAbsolute: (path: string) => string): Promise<EngineParts> {
  const model = await findModel(nodeLibraryHost(toAbsolute, process.env), request);
  // Last: what is missing is said before a card or a runtime is woken.
  const compute = await openCompute(request);
  const readPicture: Host["readPicture"] = async (field, reference, signal) => {
    const { name, bytes } = await readPictureBytes(field, reference, {
      cwd: toAbsolute("."),
      ...(signal && { signal }),
    });
    return await readPictureFile(bytes, { name, ...(signal && { signal }) });
  };
  const open: Host["openUpscaler"] = (reference, signal) => openUpscaler(toAbsolute(reference), reference, signal);
  const { wildcardsDir, loraDir, budgets = {} } = request;
  const openLora = loraOpener(loraDir === undefined ? undefined : toAbsolute(loraDir), toAbsolute);
  const readWildcard = wildcardsDir === undefined ? undefined : wildcardReader(toAbsolute(wildcardsDir));
  return { compute, model, host: { ...NODE_HOST, readPicture, readWildcard, openUpscaler: open, openLora }, budgets };
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
  described: (name) => ({ machine: machineNamed(name), device: new WebGpuSizes() }),
};
