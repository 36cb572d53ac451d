/** @file A job that was asked for in one working folder and goes on in another: what its files are called here. */
import { existsSync } from "node:fs";
import path from "node:path";
import { namedPictures, withNamedPictures } from "../job/named-pictures.ts";
import { pictureReference } from "../job/picture.ts";
import type { ReadUnfinished } from "../job/resume-file.ts";
import type { GenerateJob } from "../job/types.ts";
import { networkFilesOf } from "./unfinished.ts";

/** Files that the job names lie where they lay; one whose path means another file here is named by its whole path. */
export function jobHere(job: GenerateJob, then: string, now: string): GenerateJob {
  const moved = new Map<string, string>();
  for (const { name, reference: text } of namedPictures(job)) {
    if (pictureReference(name, text).kind !== "file") continue;
    if (path.resolve(then, text) !== path.resolve(now, text)) moved.set(name, path.resolve(then, text));
  }
  // What is no file there is a name, which means the same everywhere.
  const whole = (file: string) => {
    const there = path.resolve(then, file);
    return there !== path.resolve(now, file) && existsSync(there) ? there : file;
  };
  const files = <Use extends { readonly file: string }>(uses: readonly Use[] | undefined) =>
    uses?.map((use) => ({ ...use, file: whole(use.file) }));
  const { loras, hiresLoras, controls, ipAdapters, embeddings, hiresUpscaler } = job;
  const own = {
    ...(loras && { loras: files(loras) }),
    ...(hiresLoras && { hiresLoras: files(hiresLoras) }),
    ...(controls && { controls: files(controls) }),
    ...(ipAdapters && {
      ipAdapters: files(ipAdapters)!.map((use) => ({
        ...use,
        ...(use.encoder !== undefined && { encoder: whole(use.encoder) }),
      })),
    }),
    ...(embeddings && { embeddings: embeddings.map(whole) }),
    ...(hiresUpscaler !== undefined && { hiresUpscaler: whole(hiresUpscaler) }),
  };
  return withNamedPictures({ ...job, ...own } as GenerateJob, moved);
}

/** What its files held, by the names that they have now. */
export function hashesHere(
  { pictures }: Pick<ReadUnfinished, "pictures">,
  then: GenerateJob,
  now: GenerateJob,
): ReadUnfinished["pictures"] {
  const hashes: Record<string, string> = { ...pictures };
  const names = filesOf(now);
  for (const [i, [what, file]] of filesOf(then).entries()) {
    const hash = pictures[`${what} ${file}`];
    if (hash !== undefined) hashes[`${what} ${names[i]![1]}`] = hash;
  }
  return hashes;
}

/** All that `pictures` of an unfinished picture knows by their names. */
function filesOf(job: GenerateJob): readonly (readonly [string, string])[] {
  const { loras = [], hiresLoras = [] } = job;
  return [...[...loras, ...hiresLoras].map(({ file }) => ["lora", file] as const), ...networkFilesOf(job)];
}
