/**
 * @file What a picture, or a text of one, says of how it was made, as a job for this server: where its prompt was drawn from a template the template
 * stands beside it, and every reason why the open model would not make the same bytes again.
 */
import { type PictureText, readPictureTexts } from "../../image/metadata/picture-texts.ts";
import type { OpenRequest } from "../../job/checked.ts";
import type { EngineInfo } from "../../job/engine.ts";
import { A1111_KEYWORD, SOLVAY_KEYWORD } from "../../job/infotext.ts";
import { pictureReference } from "../../job/picture.ts";
import { PICTURE_NAMES } from "../../job/picture-fields.ts";
import type { PictureSettings } from "../../job/picture-settings.ts";
import { readPicture } from "../../job/read-picture.ts";
import type { GenerateJob } from "../../job/types.ts";
import type { LibraryHost } from "../../library/host.ts";
import { modelNamed } from "../../library/model-name.ts";
import type { JsonObject } from "../../source/json-fields.ts";
import { memorySource } from "../../source/memory.ts";
import { cardReason, encoderReasons, makerReasons, unsaid } from "../../terminal/remake.ts";
import { networkReasons } from "../../terminal/remake-networks.ts";
import { hashReasons, type ModelHashes } from "../../terminal/remake-parts.ts";
import type { OfferedModels } from "../models.ts";
import { checkServed } from "../work/served-job.ts";
import type { Assets } from "./assets.ts";

export interface RecallParts {
  readonly library: LibraryHost;
  /** Those that are known: no model is read for a look at a picture. */
  readonly hashes: ModelHashes;
  readonly assets: Assets;
  /** Those that jobs may name. */
  readonly models: Pick<OfferedModels, "names" | "requestOf">;
  /** What the engine of the standing model was asked to open. */
  readonly model: OpenRequest;
}

/** Under which ComfyUI's pictures hold their graph. */
const COMFY_KEYWORD = "prompt";

/** What a prompt was drawn from, by the prompt's own field. */
const TEMPLATES = {
  prompt: "template",
  negativePrompt: "negativeTemplate",
  prompt2: "template2",
  negativePrompt2: "negativeTemplate2",
} as const satisfies Partial<Record<keyof GenerateJob, keyof GenerateJob>>;

/**
 * `bytes`: a PNG, JPEG or WebP. `info`: of the open engine, where that is known. The job is what made the picture; `templates` holds the texts that its prompts were drawn
 * from. Rejects with ArtifactError for what is no picture.
 */
export async function recallOf(
  bytes: Uint8Array,
  info: EngineInfo | undefined,
  parts: RecallParts,
): Promise<JsonObject> {
  const { texts, ...picture } = await readPictureTexts(memorySource("the picture", Uint8Array.from(bytes)));
  const keywords = texts.map(({ keyword }) => keyword);
  return { texts: keywords, ...picture, ...(await recallOfTexts(texts, picture.notes, info, parts)) };
}

/** A text as people copy it from elsewhere: an infotext, our own record, a graph of ComfyUI or another program's JSON. */
export async function recallOfText(
  text: string,
  info: EngineInfo | undefined,
  parts: RecallParts,
): Promise<JsonObject> {
  const texts = [SOLVAY_KEYWORD, A1111_KEYWORD, COMFY_KEYWORD].map((keyword) => ({ keyword, text }));
  return { format: "text", notes: [], ...(await recallOfTexts(texts, [], info, parts)) };
}

/** Nothing where they say nothing of how it was made. */
async function recallOfTexts(
  texts: readonly PictureText[],
  notes: readonly string[],
  info: EngineInfo | undefined,
  parts: RecallParts,
): Promise<JsonObject> {
  const settings = readPicture({ texts });
  if (!settings) return {};
  const { source, tool, facts, others } = settings;
  const { job, reasons: left } = await servedJob(settings.job, parts.assets);
  const model = await offeredModel(facts.model, parts);
  const reasons = [...(await reasonsAgainst(settings, info, parts, model)), ...left, ...unsaid(settings.job)];
  const templates = Object.fromEntries(
    Object.entries(TEMPLATES).flatMap(([name, of]) => (job[of] === undefined ? [] : [[name, job[of]]])),
  );
  return {
    ...{ source, tool, job: { ...job }, templates, facts: { ...facts } },
    others: Object.fromEntries(others),
    ...(model !== undefined && { model }),
    notes: [...notes, ...settings.notes],
    remake: { exact: reasons.length === 0, reasons },
  };
}

/** What of a job this server can be asked for. Files go by their names alone, pictures by the hashes of those that it has. */
async function servedJob(
  told: Partial<GenerateJob>,
  assets: Assets,
): Promise<{ readonly job: Partial<GenerateJob>; readonly reasons: readonly string[] }> {
  const reasons: string[] = [];
  const { loras, hiresLoras, embeddings, ...rest } = told;
  const job: Record<string, unknown> = { ...rest };
  if (loras) job.loras = loras.map((lora) => ({ ...lora, file: fileName(lora.file) }));
  if (hiresLoras) job.hiresLoras = hiresLoras.map((lora) => ({ ...lora, file: fileName(lora.file) }));
  if (embeddings) job.embeddings = embeddings.map(fileName);
  for (const field of PICTURE_NAMES) {
    const text = told[field];
    if (text === undefined) continue;
    const reference = pictureReference(field, text);
    if (reference.kind === "data") continue;
    if (reference.kind === "asset" && (await assets.find(reference.sha256))) continue;
    delete job[field];
    reasons.push(`its ${field}, ${text.slice(0, 80)}, is not among this server's pictures`);
  }
  // One that this server would refuse whole is shown all the same: who sends it is told which field it is.
  try {
    checkServed({ ...job, prompt: job.prompt ?? "" });
  } catch (error) {
    reasons.push(error instanceof Error ? error.message : String(error));
  }
  return { job: job as Partial<GenerateJob>, reasons };
}

function fileName(file: string): string {
  return file.split(/[\\/]/).at(-1)!;
}

/** What jobs call the model that made a picture; undefined: it is not served here. */
async function offeredModel(told: string | undefined, { models }: RecallParts): Promise<string | undefined> {
  if (told === undefined) return undefined;
  return (await models.names()).find((name) => plainName(name) === plainName(told));
}

/** Whatever differs between what made the picture and what would draw it here: `offered`, if that is a model of this server. */
async function reasonsAgainst(
  settings: PictureSettings,
  info: EngineInfo | undefined,
  { library, hashes, models, model: standing }: RecallParts,
  offered: string | undefined,
): Promise<string[]> {
  if (!info) return [...makerReasons(settings), "what would draw it here is not known: no worker has said it"];
  const open = modelNamed(info.model);
  const isOpen = offered === undefined || plainName(offered) === plainName(open.model);
  const model = isOpen ? standing : await models.requestOf(offered);
  const { source, facts } = settings;
  const reasons = makerReasons(settings);
  const differs = (what: string, told: string | undefined, here: string | undefined) => {
    if (told !== here)
      reasons.push(`its ${what} was ${told ?? "the model's own"}, here it is ${here ?? "the model's own"}`);
  };
  if (facts.model === undefined) reasons.push("it does not say which model made it");
  else if (offered === undefined && plainName(facts.model) !== plainName(open.model)) {
    reasons.push(`its model was ${facts.model}, the open one is ${open.model}`);
  } else {
    if (isOpen && facts.modelRevision !== open.modelRevision && source === "solvay") {
      reasons.push(
        `its model's commit was ${facts.modelRevision ?? "not told"}, here it is ${open.modelRevision ?? "another"}`,
      );
    }
    const file = isOpen ? info.model : (model.model ?? info.model);
    const compared = await hashReasons(library, hashes, { what: "model", file, wanted: facts.modelHash });
    if (compared) reasons.push(...compared);
    else if (facts.modelHash !== undefined) reasons.push(`its model's hash ${facts.modelHash} was not compared`);
  }
  if (source !== "solvay") return reasons;
  reasons.push(...(await networkReasons(settings, standing, hashes)));
  differs("VAE", facts.vae, partName(library, model.vae));
  if (model.vae !== undefined) {
    const file = library.absolute(model.vae);
    reasons.push(...((await hashReasons(library, hashes, { what: "VAE", file, wanted: facts.vaeHash })) ?? []));
  }
  differs("config", facts.config, partName(library, model.config));
  differs("base", facts.base, partName(library, model.base));
  differs("prediction", facts.prediction, model.prediction);
  differs("artifact", facts.artifact, isOpen ? info.artifact : undefined);
  if (settings.job.refinerStart !== undefined) {
    differs("refiner", facts.refiner, info.refiner === undefined ? undefined : modelNamed(info.refiner).model);
  }
  if (facts.retry !== undefined) {
    reasons.push(`it was begun in less than fp32, and finished in fp32 (${facts.retry})`);
  } else if (facts.precision !== info.precision) {
    reasons.push(`it was computed in ${facts.precision ?? "what it does not say"}, here it is ${info.precision}`);
  }
  if (facts.backend !== info.backend) {
    reasons.push(
      `it was computed by the backend ${facts.backend ?? "that it does not say"}, here it is ${info.backend}`,
    );
  }
  return [...reasons, ...cardReason(settings, info), ...(await encoderReasons(facts))];
}

/** Other programs leave a file's ending away. */
function plainName(name: string): string {
  return fileName(name).replace(/\.(safetensors|ckpt)$/i, "");
}

/** As pictures record it. */
function partName({ hub }: LibraryHost, part: string | undefined): string | undefined {
  if (part === undefined) return undefined;
  return hub.isId(part) ? part : modelNamed(part).model;
}
