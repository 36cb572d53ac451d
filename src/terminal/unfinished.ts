/** @file What an unfinished picture depends on in this machine's files: the request by absolute paths, and what its files hold. */
import path from "node:path";
import { sha256Hex } from "#hash";
import { ArtifactError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import { namedPictures } from "../job/named-pictures.ts";
import { pictureReference } from "../job/picture.ts";
import type { GenerateJob } from "../job/types.ts";
import type { LibraryHost } from "../library/host.ts";
import { locateModel } from "../library/locate.ts";
import { contentOf } from "../node/model-content.ts";
import { readPictureBytes } from "../node/picture-files.ts";

/** Parts of a request that name files. */
const PLACES = ["model", "vae", "config", "base", "artifact", "refiner"] as const;
/** Those that the model does not depend on. */
const FOLDERS = [
  ...(["previewModel", "wildcardsDir", "loraDir", "embeddingsDir", "controlDir", "ipAdapterDir"] as const),
  "upscalerDir",
] as const;

/** One of a picture's files, where it would be half of one and half of another. `picture`: its unfinished file. */
export function changedSince(picture: string, what: string): ArtifactError {
  const problem = `${what} is not what it was when the picture was begun`;
  return new ArtifactError({ code: "E_RESUME_CHANGED", subject: picture, problem, next: "put it back, or begin anew" });
}

/** The request as it means the same from any folder. */
export async function anchored(host: LibraryHost, request: OpenRequest): Promise<OpenRequest> {
  const paths: Record<string, string> = {};
  for (const name of [...PLACES, ...FOLDERS] as const) {
    const value = request[name];
    if (value !== undefined && (await host.kindOf(host.absolute(value)))) paths[name] = host.absolute(value);
  }
  if (request.store !== undefined) paths.store = host.absolute(request.store);
  return { ...request, ...paths };
}

/** A text that differs where another model would be opened. Rejects where one of its files isn't there. */
export async function modelContent(host: LibraryHost, request: OpenRequest): Promise<string> {
  const { model, store } = request;
  const place = await locateModel(host, model, store);
  const others = PLACES.filter((name) => name !== "model" && request[name] !== undefined);
  const places = [place, ...(await Promise.all(others.map((name) => locateModel(host, request[name]!, store))))];
  // A stored model's id is its content's hash.
  const stored = places.flatMap((each) => (each.kind === "stored" ? [`store:${each.id} `] : []));
  return stored.join("") + (await contentOf(places.flatMap((each) => (each.kind === "stored" ? [] : [each.path]))));
}

/** Files of the job's ControlNets, IP-Adapters and their image encoders, as it names them; for jobs of one form in one order. */
export function networkFilesOf({
  controls = [],
  ipAdapters = [],
}: GenerateJob): readonly (readonly [string, string])[] {
  return [
    ...controls.map(({ file }) => ["control", file] as const),
    ...ipAdapters.flatMap(({ file, encoder }) => [
      ["ipAdapter", file] as const,
      ...(encoder === undefined ? [] : [["imageEncoder", encoder] as const]),
    ]),
  ];
}

/** sha256 of each picture that the job begins with, and what its ControlNets' files hold. */
export async function pictureContents(job: GenerateJob, cwd: string): Promise<Readonly<Record<string, string>>> {
  const contents: Record<string, string> = {};
  for (const { name: field, reference: text } of namedPictures(job)) {
    if (pictureReference(field, text).kind !== "file") continue;
    contents[field] = sha256Hex((await readPictureBytes(field, text, { cwd })).bytes);
  }
  for (const [what, file] of networkFilesOf(job)) {
    // One that is named otherwise than by its path is not looked at.
    const content = await contentOf([path.resolve(cwd, file)]).catch(() => undefined);
    if (content !== undefined) contents[`${what} ${file}`] = content;
  }
  return contents;
}
