/** @file Opens a test's SDXL folder as what it is. */
import { openSdxl, type SdxlCheckpoint } from "../src/models/sdxl/checkpoint.ts";
import { SDXL } from "../src/models/sdxl/family.ts";
import { openFileFolder } from "../src/node/files/file-folder.ts";
import { memorySource } from "../src/source/memory.ts";

export async function openSdxlFolder(path: string): Promise<SdxlCheckpoint> {
  return await openSdxl(SDXL, await openFileFolder(path));
}

/** With its files read at once: to draw with a small model again and again is to read its tensors, for the most part. */
export async function openSdxlInMemory(path: string): Promise<SdxlCheckpoint> {
  const folder = await openFileFolder(path);
  return await openSdxl(SDXL, {
    ...folder,
    async open(relativePath) {
      await using source = await folder.open(relativePath);
      if (source === undefined) return undefined;
      const bytes = new Uint8Array(source.byteLength);
      await source.read(0, bytes);
      return memorySource(source.name, bytes);
    },
  });
}
