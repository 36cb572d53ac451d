/** @file A model's folder in the cache: blobs by content, snapshots by commit that link to them, refs from names to commits. */
import { randomUUID } from "node:crypto";
import { copyFile, lstat, mkdir, readFile, readlink, stat, symlink, unlink } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { renamePatiently, replaceFile, syncFolder } from "../disk/atomic-file.ts";
import { isCommit } from "./cache.ts";
import type { Blob } from "./download.ts";

export class Snapshot {
  readonly #repo: string;
  readonly #symlinks: boolean;
  readonly #changed = new Set<string>();
  /** The folder that diffusers, and we, open. */
  readonly path: string;

  constructor(repo: string, commit: string, symlinks: boolean) {
    this.#repo = repo;
    this.#symlinks = symlinks;
    this.path = join(repo, "snapshots", commit);
  }

  blobPath(blob: Blob): string {
    return join(this.#repo, "blobs", blob.id);
  }

  filePath(name: string): string {
    return join(this.path, ...name.split("/"));
  }

  /** Bytes of `blob` that need not be fetched: all, or those of an unfinished download. */
  async haveBytes(blob: Blob): Promise<number> {
    if ((await this.isPublished(blob)) || (await sizeOf(this.blobPath(blob))) === blob.sizeBytes) return blob.sizeBytes;
    const part = (await sizeOf(`${this.blobPath(blob)}.incomplete`)) ?? 0;
    return part <= blob.sizeBytes ? part : 0;
  }

  /** Puts a blob that is there into the snapshot. False: it has to be fetched first. */
  async publish(blob: Blob, fresh: boolean): Promise<boolean> {
    if (await this.isPublished(blob)) return true;
    const source = this.blobPath(blob);
    if ((await sizeOf(source)) !== blob.sizeBytes) return false;
    const target = this.filePath(blob.name);
    await mkdir(dirname(target), { recursive: true });
    const temporary = `${target}.${randomUUID()}.incomplete`;
    try {
      const linked = await this.#link(source, temporary, target);
      // Without links the file itself goes there; one that was there before may serve another snapshot.
      if (!linked && !fresh) await copyFile(source, temporary);
      await renamePatiently(!linked && fresh ? source : temporary, target);
    } finally {
      await unlink(temporary).catch(() => {});
    }
    this.#changed.add(dirname(target));
    return true;
  }

  async #link(source: string, temporary: string, target: string): Promise<boolean> {
    if (!this.#symlinks) return false;
    try {
      await symlink(relative(dirname(target), source), temporary, "file");
      return true;
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL"].includes(code)) return false;
      throw error;
    }
  }

  /** A link to this blob, or a file in its place; of the right size either way. */
  async isPublished(blob: Blob): Promise<boolean> {
    const path = this.filePath(blob.name);
    if ((await sizeOf(path)) !== blob.sizeBytes) return false;
    const isLink = (await lstat(path)).isSymbolicLink();
    return !isLink || basename(await readlink(path)) === blob.id;
  }

  /** Whether `revision` means this commit already. */
  async isSealed(revision: string): Promise<boolean> {
    if (isCommit(revision)) return true;
    const commit = await readFile(this.#refPath(revision), "utf8").catch(() => "");
    return commit.trim() === basename(this.path);
  }

  /** Makes `revision` (a branch or tag) mean this commit: last of all, so that a name never leads to half a model. */
  async seal(revision: string): Promise<void> {
    for (const folder of [join(this.#repo, "blobs"), this.path, ...this.#changed]) await syncFolder(folder);
    if (await this.isSealed(revision)) return;
    const ref = this.#refPath(revision);
    await mkdir(dirname(ref), { recursive: true });
    await replaceFile(ref, (file) => file.writeFile(basename(this.path)));
  }

  #refPath(revision: string): string {
    return join(this.#repo, "refs", ...revision.split("/"));
  }
}

/** Undefined if there is no such file. Follows links. */
async function sizeOf(path: string): Promise<number | undefined> {
  const info = await stat(path).catch(() => undefined);
  return info?.isFile() ? info.size : undefined;
}
