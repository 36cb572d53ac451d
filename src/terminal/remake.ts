/** @file Whether a picture can be made again here from what it says of itself, byte for byte, and why not. */
import { sha256Hex } from "#hash";
import { PRECISIONS } from "../backend/precision.ts";
import { SolvayError } from "../errors.ts";
import { MAX_PICTURE_BYTES } from "../image/picture-header.ts";
import { BACKENDS } from "../job/backends.ts";
import type { OpenRequest } from "../job/checked.ts";
import type { EngineInfo } from "../job/engine.ts";
import { namedPictures } from "../job/named-pictures.ts";
import type { PictureSettings } from "../job/picture-settings.ts";
import type { GenerateJob } from "../job/types.ts";
import { type FoundModel, findModelNamed } from "../library/find-model.ts";
import type { LibraryHost } from "../library/host.ts";
import { sharpName } from "../node/sharp.ts";
import { SOLVAY_VERSION } from "../version.ts";
import { networkReasons } from "./remake-networks.ts";
import { hashReasons, type ModelHashes, partsOf } from "./remake-parts.ts";

export interface Remake {
  /** What opens the model that made it, as far as that is known; the caller's own choices stand. */
  readonly request: OpenRequest;
  /** The model is here, or was named. */
  readonly modelFound: boolean;
  /** Why another picture may come of it; none: the same bytes, on the same machine. */
  readonly reasons: readonly string[];
}

/** What the open engine says of the same: the card is known no earlier. */
export function cardReason({ source, facts }: PictureSettings, { adapter, backend }: EngineInfo): string[] {
  if (source !== "solvay" || facts.backend !== backend || facts.adapter === adapter) return [];
  return [`it was computed by ${facts.adapter ?? "no graphics card"}, here computes ${adapter ?? "none"}`];
}

/** Another program, another version, and what was not understood of what it says. */
export function makerReasons({
  source,
  tool,
  facts,
  notes,
}: Pick<PictureSettings, "source" | "tool" | "facts" | "notes">): string[] {
  if (source !== "solvay") return [`${tool} made it, and other programs' arithmetic gives other pixels`, ...notes];
  const same = facts.version === SOLVAY_VERSION || tool === `Solvay ${SOLVAY_VERSION}`;
  return same ? [...notes] : [`${tool} made it, this is ${SOLVAY_VERSION}`, ...notes];
}

/** What makes other bytes of the same pixels. */
export async function encoderReasons({ encoder: wanted }: PictureSettings["facts"]): Promise<string[]> {
  if (wanted === undefined) return [];
  const encoder = await sharpName();
  if (encoder === wanted) return [];
  return [`${wanted} made its file, here is ${encoder ?? "none"}: other bytes may come of the same pixels`];
}

/** What a job draws or takes from the model where the picture does not say. */
export function unsaid(job: Partial<GenerateJob>): string[] {
  const needed = ["seed", "steps", "guidance", "width", "height"] as const;
  return needed.filter((name) => job[name] === undefined).map((name) => `it does not say its ${name}`);
}

/** `given`: what the user chose to open instead. Looks for the model; opens nothing. */
export async function remakeOf(
  host: LibraryHost,
  { source, tool, job, facts, notes }: PictureSettings,
  given: OpenRequest,
  hashes: ModelHashes,
): Promise<Remake> {
  const reasons = makerReasons({ source, tool, facts, notes });
  let { model } = given;
  let modelFound = true;
  if (model === undefined && facts.model !== undefined) {
    const wanted = { model: facts.model, modelRevision: facts.modelRevision };
    const named = await findModelNamed(host, wanted, given.store);
    const found = await withHash(host, hashes, named, facts.modelHash);
    modelFound = found !== undefined;
    model = found?.model;
    if (!found) reasons.push(`its model ${facts.model} is not here`);
    else if (wanted.modelRevision !== undefined && found.revision !== wanted.modelRevision) {
      reasons.push(`its model's commit was ${wanted.modelRevision}, here is ${found.revision ?? "another"}`);
    }
    if (found?.hash !== undefined && facts.modelHash !== undefined && found.hash !== facts.modelHash)
      reasons.push(`its model's hash was ${facts.modelHash}, that of ${found.model} here is ${found.hash}`);
    else if (found && source !== "solvay" && found.hash === undefined) {
      const hash = facts.modelHash === undefined ? "" : ` (its hash ${facts.modelHash} was not compared)`;
      reasons.push(`the model is taken by its name ${facts.model}${hash}`);
    }
  } else if (model === undefined) {
    modelFound = false;
    reasons.push("it does not say which model made it");
  } else {
    const why = await hashReasons(host, hashes, { what: "model", file: model, wanted: facts.modelHash });
    reasons.push(...(why ?? [`the model is ${model}, by your choice`]));
  }
  const parts = await partsOf(host, { source, facts }, { ...given, model }, hashes);
  reasons.push(...parts.reasons, ...(await pictureReasons(host, { job, facts })));
  const absolute = (file: string) => host.absolute(file);
  reasons.push(...(await networkReasons({ job, facts }, given, hashes, absolute)));

  const artifact = given.artifact ?? (await artifactOf(host, facts.artifact));
  if (facts.artifact !== undefined && artifact === undefined && !model?.startsWith("store:")) {
    reasons.push(`the artifact ${facts.artifact} that was laid over its model is not in this folder`);
  }
  const backend = given.backend ?? BACKENDS.find((name) => name === facts.backend);
  if (source === "solvay" && facts.backend === undefined) reasons.push("it does not say which backend computed it");
  if (facts.backend !== undefined && backend !== facts.backend) {
    reasons.push(`it was computed by the backend ${facts.backend}, this is ${backend ?? "another"}`);
  }
  const declared = facts.retry === undefined ? facts.precision?.split(" ", 1)[0] : undefined;
  if (facts.retry !== undefined) reasons.push(`it was begun in less than fp32, and finished in fp32 (${facts.retry})`);
  const precision = given.precision ?? PRECISIONS.find((name) => name === declared);
  if (declared !== undefined && precision !== declared) {
    reasons.push(`it was computed in ${declared}, this is ${precision ?? "fp32"}`);
  }
  reasons.push(...(await encoderReasons(facts)));
  return { request: { ...given, ...parts.request, model, artifact, backend, precision }, modelFound, reasons };
}

/** Pictures in files that it was made with, which are not here, or not what they were. */
async function pictureReasons(host: LibraryHost, { job, facts }: Pick<PictureSettings, "job" | "facts">) {
  const reasons: string[] = [];
  const wanted = new Map([...(facts.pictureHashes ?? "").matchAll(HASH)].map(([, name, hash]) => [name, hash]));
  for (const { name, reference: file } of namedPictures(job)) {
    if (/^(?:data|sha256|https?):|\0/i.test(file)) continue;
    const what = `its ${WORDS[name] ?? `picture ${name}`}, ${file},`;
    if ((await host.kindOf(host.absolute(file))) !== "file") reasons.push(`${what} is not here`);
    else if (wanted.has(name) && (await hashOf(host, file)) !== wanted.get(name)) {
      reasons.push(`${what} is not what it was`);
    }
  }
  return reasons;
}

const WORDS: Readonly<Record<string, string>> = { initImage: "picture to begin with", maskImage: "mask" };
/** "initImage: 0123..." */
const HASH = /([\w.]+): ([0-9a-f]{64})/g;

/** Undefined for what can't be read, or is too large to be a picture. */
async function hashOf(host: LibraryHost, file: string): Promise<string | undefined> {
  try {
    await using source = await host.openFile(host.absolute(file));
    if (source.byteLength > MAX_PICTURE_BYTES) return undefined;
    const bytes = new Uint8Array(source.byteLength);
    await source.read(0, bytes);
    return sha256Hex(bytes);
  } catch (error) {
    if (error instanceof SolvayError) return undefined;
    throw error;
  }
}

/** The model that was found by name, with its file's hash; where that is another, or there is none, a file that is known to have it. */
async function withHash(
  host: LibraryHost,
  hashes: ModelHashes,
  named: FoundModel | undefined,
  wanted: string | undefined,
): Promise<(FoundModel & { readonly hash?: string | undefined }) | undefined> {
  if (wanted === undefined) return named;
  const path = named?.model === undefined ? undefined : host.absolute(named.model);
  const isFile = path !== undefined && (await host.kindOf(path)) === "file";
  const hash = isFile ? await hashes.of(path).catch(() => undefined) : undefined;
  if (named && (hash === undefined || hash === wanted)) return { ...named, hash };
  const other = await hashes.fileWith(wanted);
  if (other !== undefined) return { model: other, hash: wanted };
  return named && { ...named, hash };
}

/** A file of this name in the folder of the user. A name that is a path is not followed. */
async function artifactOf(host: LibraryHost, name: string | undefined): Promise<string | undefined> {
  if (name === undefined || /[\\/\0]/.test(name)) return undefined;
  return (await host.kindOf(host.absolute(name))) === "file" ? name : undefined;
}
