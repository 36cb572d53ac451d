/** @file The embedded database's folder: made once, by a process of its own, whose 0.5 GB end with it. Whole, or not there. */
import { execFile } from "node:child_process";
import { mkdir, rename, rm, rmdir, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { DeviceError } from "../../errors.ts";
import { siblingModule } from "../../node/installation.ts";

/** Makes the database where there is none. Rejects with DeviceError `E_DATABASE`. */
export async function makeDatabaseFolder(folder: string): Promise<void> {
  if (await stat(path.join(folder, "PG_VERSION")).catch(() => undefined)) return;
  const made = `${folder}.new`;
  try {
    await mkdir(path.dirname(folder), { recursive: true });
    await rm(made, { recursive: true, force: true });
    const program = fileURLToPath(siblingModule(import.meta.url, "./database-maker"));
    await promisify(execFile)(process.execPath, [program, made]);
    // Empty, as somebody may have made it.
    await rmdir(folder).catch(() => {});
    await rename(made, folder);
  } catch (cause) {
    const { stderr, message } = cause as { readonly stderr?: string; readonly message: string };
    const said = (stderr || message).split("\n").find((line) => /error/i.test(line)) ?? message;
    const problem = `the database can't be made (${said.trim().slice(0, 200)})`;
    const next = "make sure that the folder can be written and the disk has 100 MB free";
    throw new DeviceError({ code: "E_DATABASE", subject: folder, problem, next, cause });
  }
}
