/** @file The files of ControlNets, IP-Adapters and image encoders that a picture was made with: whether those of their names here hold what they held. */
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import type { OpenRequest } from "../job/checked.ts";
import type { PictureSettings } from "../job/picture-settings.ts";
import type { GenerateJob } from "../job/types.ts";
import { controlNamed } from "../node/control-files.ts";
import { adapterNamed, encodersOf, imagePromptsIn } from "../node/image-prompt-files.ts";
import type { ModelHashes } from "./remake-parts.ts";

/** "controls.0: 0123456789" */
const HASH = /([\w.]+): ([0-9a-f]{10})(?![0-9a-f])/g;

interface NamedNetwork {
  /** As the record calls it. */
  readonly name: string;
  readonly words: string;
  /** As the job names it; undefined: whichever fits. */
  readonly file: string | undefined;
  /** Files and folders here that it may be. */
  readonly places: readonly string[];
}

/** `absolute`: of a file that is named by its path; absent where nothing is. Files that no hash is known of are not told of. */
export async function networkReasons(
  { job, facts }: Pick<PictureSettings, "job" | "facts">,
  { controlDir, ipAdapterDir }: Pick<OpenRequest, "controlDir" | "ipAdapterDir">,
  hashes: ModelHashes,
  absolute?: (file: string) => string,
): Promise<string[]> {
  const wanted = new Map([...(facts.networkHashes ?? "").matchAll(HASH)].map(([, name, hash]) => [name!, hash!]));
  if (wanted.size === 0) return [];
  const reasons: string[] = [];
  for (const { name, words, file, places } of await networksOf(job, { controlDir, ipAdapterDir }, absolute)) {
    const hash = wanted.get(name);
    if (hash === undefined) continue;
    const found: string[] = [];
    for (const place of await filesAt(places)) {
      const own = await hashes.of(place).catch(() => undefined);
      if (own !== undefined) found.push(own);
    }
    const called = file === undefined ? words : `${words} ${file}`;
    if (found.length > 0 && !found.includes(hash)) {
      reasons.push(`its ${called} had the hash ${hash}, here it is ${found.join(" or ")}`);
    }
  }
  return reasons;
}

async function networksOf(
  { controls = [], ipAdapters = [] }: Partial<GenerateJob>,
  { controlDir, ipAdapterDir }: Pick<OpenRequest, "controlDir" | "ipAdapterDir">,
  absolute: ((file: string) => string) | undefined,
): Promise<NamedNetwork[]> {
  const named: NamedNetwork[] = [];
  const orPath = (file: string) => (absolute ? [absolute(file)] : []);
  for (const [i, { file }] of controls.entries()) {
    const own = controlDir === undefined ? undefined : await controlNamed(controlDir, file);
    named.push({ name: `controls.${i}`, words: "ControlNet", file, places: own === undefined ? orPath(file) : [own] });
  }
  const found = await imagePromptsIn(ipAdapters.length === 0 ? undefined : ipAdapterDir).catch(() => NONE);
  let standing: string | undefined;
  for (const [i, { file, encoder = standing }] of ipAdapters.entries()) {
    standing = encoder;
    const own = adapterNamed(found, file);
    named.push({
      name: `ipAdapters.${i}`,
      words: "IP-Adapter",
      file,
      places: own === undefined ? orPath(file) : [own],
    });
    const encoders = encodersOf(found, encoder);
    const places = encoders.length > 0 || encoder === undefined ? encoders : orPath(encoder);
    named.push({ name: `ipAdapters.${i}.encoder`, words: "image encoder", file: encoder, places });
  }
  return named;
}

const NONE = { adapters: [], encoders: [] };

/** Files, and the weights in folders. */
async function filesAt(places: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const place of places) {
    const info = await stat(place).catch(() => undefined);
    if (info?.isFile()) files.push(place);
    if (!info?.isDirectory()) continue;
    const weights = (await readdir(place)).filter((each) => each.endsWith(".safetensors"));
    files.push(...weights.map((each) => path.join(place, each)));
  }
  return files;
}
