/** @file What stood in for parts of the model that made a picture, and its refiner: looked for here, so that it is made again with the same. */
import type { OpenRequest } from "../job/checked.ts";
import { OPEN_FIELDS } from "../job/fields.ts";
import type { PictureSettings } from "../job/picture-settings.ts";
import { findModelNamed } from "../library/find-model.ts";
import type { LibraryHost } from "../library/host.ts";

/** First digits of files' sha256. */
export interface ModelHashes {
  of(file: string): Promise<string | undefined>;
  /** A file that is known to have it. */
  fileWith(hash: string): Promise<string | undefined>;
}

interface FoundParts {
  readonly request: Pick<OpenRequest, "vae" | "config" | "base" | "prediction" | "refiner">;
  /** Why another picture may come of it. */
  readonly reasons: readonly string[];
}

/** Where A1111 and ComfyUI keep VAEs, beside the folder of the user. */
const VAE_FOLDERS = ["", "models/VAE/", "models/vae/"];
/** A name is no path: it is of a picture, which anybody may have made. */
const NAME = /^(?!\.{1,2}$)[^\\/\0]{1,255}$/;

/** `given`: what the user chose, and the model that is opened. */
export async function partsOf(
  host: LibraryHost,
  { source, facts }: Pick<PictureSettings, "source" | "facts">,
  given: OpenRequest,
  hashes: ModelHashes,
): Promise<FoundParts> {
  const reasons: string[] = [];
  const refiner = given.refiner ?? (await refinerOf(host, facts.refiner, given.store));
  if (facts.refiner !== undefined && refiner === undefined) reasons.push(`its refiner ${facts.refiner} is not here`);
  else if (given.refiner !== undefined) reasons.push(`the refiner is ${given.refiner}, by your choice`);
  // The block store has a model with the parts that it was imported with.
  if (given.model?.startsWith("store:")) {
    const told = (["vae", "config", "base", "prediction"] as const).filter((part) => facts[part] !== undefined);
    reasons.push(...told.map((part) => `its ${part} was ${facts[part]}, and the store's model has its own`));
    return { request: { refiner }, reasons };
  }
  const vae = given.vae ?? (await vaeOf(host, hashes, facts));
  if (vae !== undefined) {
    const why = await hashReasons(host, hashes, { what: "VAE", file: vae, wanted: facts.vaeHash });
    const taken = given.vae === undefined ? `the VAE is taken by its name ${vae}` : `the VAE is ${vae}, by your choice`;
    reasons.push(...(why ?? [taken]));
  } else if (facts.vae !== undefined || facts.vaeHash !== undefined) {
    reasons.push(
      `its VAE ${facts.vae ?? facts.vaeHash} is not here, and the model's own is taken (--vae names another)`,
    );
  }
  const { kind } = OPEN_FIELDS.prediction;
  const prediction = given.prediction ?? kind.values.find((name) => name === facts.prediction);
  if (source === "solvay" && prediction !== facts.prediction) {
    reasons.push(
      `its model was said to predict ${facts.prediction ?? "what its files say"}, this is ${prediction ?? "that"}`,
    );
  }
  const lent: { config?: string | undefined; base?: string | undefined } = {};
  for (const part of ["config", "base"] as const) {
    const name = facts[part];
    const found = name === undefined ? undefined : await findModelNamed(host, { model: name }, given.store);
    // One of the block store is no folder.
    const here = found?.model?.startsWith("store:") ? undefined : found && (found.model ?? host.demoModel);
    lent[part] = given[part] ?? here;
    if (given[part] !== undefined) reasons.push(`the ${part} is ${given[part]}, by your choice`);
    else if (here !== undefined) reasons.push(`the ${part} is taken by its name ${name}`);
    else if (name !== undefined) reasons.push(`it was made with --${part} ${name}: name that again`);
  }
  return { request: { vae, ...lent, prediction, refiner }, reasons };
}

/** What there is to say of a file that may be the one with this hash: nothing, if it has it; undefined where that can't be told. */
export async function hashReasons(
  host: LibraryHost,
  hashes: ModelHashes,
  { what, file, wanted }: { readonly what: string; readonly file: string; readonly wanted: string | undefined },
): Promise<string[] | undefined> {
  const path = host.absolute(file);
  const isFile = wanted !== undefined && (await host.kindOf(path)) === "file";
  const hash = isFile ? await hashes.of(path).catch(() => undefined) : undefined;
  if (hash === undefined) return undefined;
  return hash === wanted ? [] : [`its ${what}'s hash was ${wanted}, that of ${file} here is ${hash}`];
}

/** A1111 writes a hash behind the name: "sd_xl_refiner_1.0 [7440042bbd]". */
async function refinerOf(host: LibraryHost, name: string | undefined, store: string | undefined) {
  if (name === undefined) return undefined;
  return (await findModelNamed(host, { model: name.replace(/ \[[0-9a-f]+\]$/, "") }, store))?.model;
}

async function vaeOf(host: LibraryHost, hashes: ModelHashes, { vae, vaeHash }: PictureSettings["facts"]) {
  const file = vaeHash === undefined ? undefined : await hashes.fileWith(vaeHash);
  if (file !== undefined || vae === undefined) return file;
  if (host.hub.isId(vae) && (await host.hub.resolve(vae)) !== undefined) return vae;
  if (!NAME.test(vae)) return undefined;
  for (const folder of VAE_FOLDERS) if (await host.kindOf(host.absolute(`${folder}${vae}`))) return `${folder}${vae}`;
  return undefined;
}
