/**
 * @file Whether Vulkan's loader is on this machine. Asked before Dawn is, which tells stderr of its absence with places in its
 * own source, and can't say afterwards what was missing.
 */
import { constants } from "node:os";

/** The names that Dawn tries. */
const LINUX_NAMES = ["libvulkan.so.1", "libvulkan.so"];

/** Why Vulkan can't be used, in words; undefined where it may be. `open` loads a library and throws: for tests. */
export function vulkanLoaderProblem(
  platform: NodeJS.Platform = process.platform,
  open: (name: string) => void = openLibrary,
): string | undefined {
  if (platform !== "linux") return undefined;
  const problems: string[] = [];
  for (const name of LINUX_NAMES) {
    try {
      open(name);
      return undefined;
    } catch (error) {
      const text = error instanceof Error ? error.message.split("\n")[0]! : String(error);
      // It was found and loaded: it is only no addon of Node's.
      if (text.includes("did not self-register")) return undefined;
      problems.push(text);
    }
  }
  return `Vulkan's loader is missing: ${problems[0]}`;
}

function openLibrary(name: string): void {
  process.dlopen({ exports: {} }, name, constants.dlopen.RTLD_LAZY);
}
