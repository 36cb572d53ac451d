/** @file Files of IP-Adapters (.safetensors, .bin by a reader that runs nothing) and folders of their image encoders on this machine. */
import type { OpenImagePrompt } from "../engine/image-prompt-files.ts";
import type { LibraryHost } from "../library/host.ts";
import { locateFiles } from "../library/locate.ts";
import { openPlace } from "../library/model-files.ts";
import { tensorTables } from "./tensor-file.ts";

/** By path, or for the encoder a Hugging Face id in the local cache. */
export function imagePromptOpener(host: LibraryHost): OpenImagePrompt {
  return async (adapter, encoder, owned, signal) => {
    const source = owned.use(await host.openFile(host.absolute(adapter), adapter));
    const tables = await tensorTables(source, signal);
    return { tables, encoder: await openPlace(host, await locateFiles(host, encoder), owned) };
  };
}
