/**
 * @file The studio's pages as files: in the package they lie built beside the program, in a clone they are built when the server starts,
 * in a process of their own, unless they have been built from the same sources before.
 */
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DeviceError } from "../../errors.ts";
import { inClone } from "../../node/installation.ts";

/** As scripts/build-studio.ts writes it. */
interface ServedFile {
  readonly type: string;
  readonly hashed: boolean;
  readonly packed: readonly ("br" | "gz")[];
}

const BUILDER = fileURLToPath(new URL("../../../scripts/build-studio.ts", import.meta.url));
const BUILT = fileURLToPath(new URL("../../studio", import.meta.url));
/** Of what the builder says when it fails. */
const MAX_SAID_CHARS = 2000;

/** Built files, by their paths in addresses. */
export class StudioFiles {
  readonly #folder: string;
  readonly #files: ReadonlyMap<string, ServedFile>;

  private constructor(folder: string, files: ReadonlyMap<string, ServedFile>) {
    this.#folder = folder;
    this.#files = files;
  }

  /** `builder`: the script that builds them in a clone. Rejects with DeviceError `E_STUDIO`. */
  static async open(signal: AbortSignal, builder: string = BUILDER): Promise<StudioFiles> {
    const folder = inClone ? await build(builder, signal) : BUILT;
    const text = await readFile(path.join(folder, "files.json"), "utf8");
    return new StudioFiles(folder, new Map(Object.entries(JSON.parse(text) as Record<string, ServedFile>)));
  }

  /** The answer to a GET; undefined: no file of the studio's. `accepts`: the request's Accept-Encoding. */
  async answer(address: string, accepts: string): Promise<Response | undefined> {
    const file = this.#files.get(address);
    if (!file) return undefined;
    const name = address === "/" ? "index.html" : address.slice(1);
    const encoding = file.packed.find((each) => new RegExp(`\\b${each === "gz" ? "gzip" : each}\\b`).test(accepts));
    const bytes = await readFile(path.join(this.#folder, encoding ? `${name}.${encoding}` : name));
    return new Response(bytes, {
      headers: {
        "content-type": file.type,
        "cache-control": file.hashed ? "private, max-age=31536000, immutable" : "no-cache",
        vary: "accept-encoding",
        ...(encoding && { "content-encoding": encoding === "gz" ? "gzip" : encoding }),
      },
    });
  }
}

/** Resolves to the folder that the builder names. */
async function build(builder: string, signal: AbortSignal): Promise<string> {
  const child = spawn(process.execPath, [builder], { stdio: ["ignore", "pipe", "pipe"], signal });
  let out = "";
  let said = "";
  child.stdout.on("data", (text: Buffer) => {
    out += String(text);
  });
  child.stderr.on("data", (text: Buffer) => {
    said = (said + String(text)).slice(-MAX_SAID_CHARS);
  });
  const code = await new Promise((resolve) => {
    child.once("error", (error) => {
      said ||= error.message;
      resolve(1);
    });
    child.once("close", resolve);
  });
  if (code === 0) return out.trim();
  throw new DeviceError({
    code: "E_STUDIO",
    problem: `the studio's pages can't be built (${said.trim().split("\n")[0] || `exit code ${code}`})`,
    next: "run npm ci --include=dev; the API works without them",
  });
}
