/** @file How this copy of Solvay lies on the disk: as the clone's TypeScript, or as JavaScript in a package. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DeviceError } from "../errors.ts";

/** The Node that reads the clone's sources as they are. */
const SOURCES_NODE_MAJOR = 24;

/** TypeScript as it stands, not a package's JavaScript. */
export const inClone = /\.ts$/.test(import.meta.url);
const root = fileURLToPath(new URL("../..", import.meta.url));

/** Address of the module `name` (no extension) beside the one at `from` (its import.meta.url). */
export function siblingModule(from: string, name: string): URL {
  return new URL(`${name}${path.posix.extname(new URL(from).pathname)}`, from);
}

/** What brings a package back that Solvay needs. */
export function installAdvice(name: string): string {
  return inClone ? `run npm ci --include=optional in ${root}` : `run npm install ${name}`;
}

/**
 * For a copy that npm linked from a clone: npm installs no packages for it, and the program's own Node runs it. Throws DeviceError
 * `E_NODE` or `E_INSTALL`.
 */
export function requireInstalled(): void {
  if (inClone && Number(process.versions.node.split(".")[0]) < SOURCES_NODE_MAJOR) {
    throw new DeviceError({
      code: "E_NODE",
      problem: `the sources in a clone run on Node ${SOURCES_NODE_MAJOR} or newer (found ${process.versions.node})`,
      next: `run npm pack in ${root} and install the file it makes`,
    });
  }
  try {
    import.meta.resolve("zod");
  } catch (cause) {
    throw new DeviceError({
      code: "E_INSTALL",
      problem: "the packages that Solvay needs are not installed",
      next: inClone ? `run npm ci in ${root}` : "install solvay again",
      cause,
    });
  }
}
