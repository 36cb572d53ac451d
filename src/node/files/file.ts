/** @file Bytes of a regular file on this machine's disk. */
import { fstatSync } from "node:fs";
import { constants, type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { ArtifactError } from "../../errors.ts";
import { diskFailure } from "../../source/disk-failure.ts";
import type { ByteSource } from "../../source/source.ts";

/** One read call stays below this, so that libuv's threads share the work and an abort is noticed. */
const MAX_READ_BYTES = 64 * 1024 ** 2;

/**
 * Opens a regular, non-empty file. Rejects with ArtifactError: `E_MISSING`, `E_NOT_A_FILE` (folder, pipe, device),
 * `E_EMPTY`; reads reject with `E_TRUNCATED` and `E_CHANGED_DURING_READ`, or DeviceError `E_DISK`.
 * @param name of the source, in messages about its content
 * @param shown the file in messages about the file itself; a path that led here through links
 */
export async function openFileSource(path: string, name = basename(path), shown = path): Promise<ByteSource> {
  const handle = await openHandle(path, shown);
  try {
    const opened = await handle.stat();
    const { mtimeNs, ino } = await handle.stat({ bigint: true });
    if (!opened.isFile()) throw refusal("E_NOT_A_FILE", shown, "not a regular file", "name the file itself");
    if (opened.size === 0) throw refusal("E_EMPTY", shown, "the file is empty (0 bytes)", "fetch it again");
    const checkUnchanged = () => {
      // An open file's size and time are at hand: by a thread of libuv's, asking took longer than most reads.
      const now = fstatSync(handle.fd);
      if (now.size === opened.size && now.mtimeMs === opened.mtimeMs) return;
      throw refusal(
        "E_CHANGED_DURING_READ",
        shown,
        "the file changed while it was read",
        "let the writer finish and try again",
      );
    };
    return {
      name,
      byteLength: opened.size,
      file: { path, stamp: `${opened.size}-${mtimeNs}-${ino}` },
      async read(startByte, into, signal) {
        let done = 0;
        while (done < into.byteLength) {
          signal?.throwIfAborted();
          const lengthBytes = Math.min(MAX_READ_BYTES, into.byteLength - done);
          const { bytesRead } = await handle
            .read(into, done, lengthBytes, startByte + done)
            .catch((cause: unknown) => refuseRead(cause, shown, startByte + done));
          if (bytesRead === 0) {
            checkUnchanged();
            const needed = startByte + into.byteLength;
            const problem = `ends too soon (found ${opened.size} bytes, needs ${needed}) at byte ${startByte + done}`;
            throw refusal("E_TRUNCATED", shown, problem, "fetch the file again");
          }
          done += bytesRead;
        }
        checkUnchanged();
      },
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openHandle(path: string, shown: string): Promise<FileHandle> {
  try {
    // Non-blocking: opening a pipe must not wait for its writer.
    return await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "ENOENT") throw refusal("E_MISSING", shown, "there is no such file", "check the path", cause);
    if (code === "EISDIR") throw refusal("E_NOT_A_FILE", shown, "not a regular file", "name the file itself", cause);
    const next = code === "EACCES" || code === "EPERM" ? "check its permissions" : "check the path";
    throw refusal("E_UNREADABLE", shown, `can't be opened (${code ?? "unknown reason"})`, next, cause);
  }
}

/** A call with wrong arguments is no matter of the disk. */
function refuseRead(cause: unknown, shown: string, startByte: number): never {
  const code = cause instanceof Error && "syscall" in cause && "code" in cause ? cause.code : undefined;
  if (code === undefined) throw cause;
  throw diskFailure(shown, `(${code}) at byte ${startByte}`, cause);
}

function refusal(code: string, subject: string, problem: string, next: string, cause?: unknown): ArtifactError {
  return new ArtifactError({ code, subject, problem, next, cause });
}
