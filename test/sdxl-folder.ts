/** @file Opens a test's SDXL folder as what it is. */
import { openSdxl, type SdxlCheckpoint } from "../src/models/sdxl/checkpoint.ts";
import { SDXL } from "../src/models/sdxl/family.ts";
import { openFileFolder } from "../src/node/files/file-folder.ts";

export async function openSdxlFolder(path: string): Promise<SdxlCheckpoint> {
  return await openSdxl(SDXL, await openFileFolder(path));
}
