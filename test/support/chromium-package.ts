/**
 * @file What the npm package @sparticuz/chromium carries for Linux x64, unpacked once into node_modules/.cache: SwiftShader (a
 * software Vulkan driver with the loader it needs) and a Chromium with the libraries that a bare machine lacks. No network.
 */
import { createReadStream, createWriteStream, existsSync, mkdtempSync, readFileSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { createBrotliDecompress } from "node:zlib";
import { extract } from "tar-fs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PACKAGE = "@sparticuz/chromium";

/** Why the package is of no use here; undefined where it is. `platform`, `arch`: as `process` has them. */
export function chromiumPackageProblem(
  platform: string = process.platform,
  arch: string = process.arch,
): string | undefined {
  if (platform !== "linux" || arch !== "x64") {
    return `the software adapter of ${PACKAGE} is for Linux x64 alone (this is ${platform} ${arch})`;
  }
  return packageFolder() === undefined ? `${PACKAGE} is not installed (npm ci --include=dev)` : undefined;
}

function packageFolder(): string | undefined {
  try {
    return path.resolve(fileURLToPath(import.meta.resolve(PACKAGE)), "../..");
  } catch {
    return undefined;
  }
}

/** A folder with libvulkan.so.1, libvk_swiftshader.so and vk_swiftshader_icd.json. Needs `chromiumPackageProblem` to be none. */
export async function unpackSwiftShader(): Promise<string> {
  return await unpackOnce("swiftshader", async (archive, into) => {
    await unpackTar(archive("swiftshader.tar.br"), into);
  });
}

export interface UnpackedChromium {
  readonly executable: string;
  /** What its process needs in its environment. */
  readonly env: { readonly LD_LIBRARY_PATH: string; readonly FONTCONFIG_PATH: string };
}

/** 209 MB, five seconds at the first time. Needs `chromiumPackageProblem` to be none. */
export async function unpackChromium(): Promise<UnpackedChromium> {
  const folder = await unpackOnce("browser", async (archive, into) => {
    // Chromium looks for SwiftShader beside itself.
    await unpackTar(archive("swiftshader.tar.br"), into);
    await unpackTar(archive("al2023.tar.br"), into);
    await unpackTar(archive("fonts.tar.br"), path.join(into, "fonts"));
    const executable = createWriteStream(path.join(into, "chromium"), { mode: 0o755 });
    await pipeline(createReadStream(archive("chromium.br")), createBrotliDecompress(), executable);
  });
  // The package's own names folders of the cloud service that it is for: without fonts pages have no text, and Chromium ends at a list box.
  const fonts = await unpackOnce("fonts-conf", async (_, into) => {
    const text = `<fontconfig><dir>${path.join(folder, "fonts")}</dir><cachedir>${path.join(path.dirname(folder), "fonts-cache")}</cachedir></fontconfig>`;
    await writeFile(path.join(into, "fonts.conf"), text);
  });
  return {
    executable: path.join(folder, "chromium"),
    env: { LD_LIBRARY_PATH: path.join(folder, "lib"), FONTCONFIG_PATH: fonts },
  };
}

async function unpackTar(file: string, into: string): Promise<void> {
  await pipeline(createReadStream(file), createBrotliDecompress(), extract(into));
}

/**
 * The folder of what `unpack` makes. It gets its name when it is complete, so a process that is killed leaves nothing that is
 * taken for it, and of several at once one is first.
 */
async function unpackOnce(
  name: string,
  unpack: (archive: (name: string) => string, into: string) => Promise<void>,
): Promise<string> {
  const from = packageFolder()!;
  const { version } = JSON.parse(readFileSync(path.join(from, "package.json"), "utf8")) as { version: string };
  const cache = path.join(ROOT, "node_modules", ".cache", "solvay-tests", version);
  const target = path.join(cache, name);
  if (existsSync(target)) return target;
  await mkdir(cache, { recursive: true });
  const partial = mkdtempSync(path.join(cache, `${name}-partial-`));
  try {
    await unpack((file) => path.join(from, "bin", file), partial);
    await rename(partial, target);
  } catch (error) {
    if (!existsSync(target)) throw error;
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return target;
}
