/** @file What `serve` and `worker` are told alike: models, database, pictures; and what of it is looked at before anything is opened. */
import path from "node:path";
import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import type { OpenRequest } from "../job/checked.ts";
import { modelNamed } from "../library/model-name.ts";
import { findModel } from "../library/open.ts";
import type { EngineOptions } from "../server/work/open-model.ts";
import { type CliContext, libraryOf } from "../terminal/context.ts";
import { addOpenOptions, type OptionValues, openRequestOf } from "../terminal/options.ts";
import { modelContent } from "../terminal/unfinished.ts";

export interface ServerFlags extends OptionValues {
  readonly database?: string;
  readonly images?: string;
  readonly modelsDir: readonly string[];
}

/** Collects an option that may be given again. */
export function again(text: string, before: readonly string[]): readonly string[] {
  return [...before, text];
}

/** `database`, `images`: what stands where they are left out. */
export function addServerOptions(
  command: Command,
  { database, images }: { readonly database: string; readonly images: string },
): Command {
  return addOpenOptions(command)
    .optionsGroup("Server:")
    .option(
      "--models-dir <dir>",
      "a folder of more models that jobs may name (again for more); A1111's and ComfyUI's have LoRAs and embeddings beside them",
      again,
      [],
    )
    .option("--database <url>", `postgres://USER@HOST/NAME, also by SOLVAY_DATABASE${database}`)
    .option("--images <dir>", `folder of the pictures, or s3://BUCKET/PREFIX with AWS's own variables${images}`);
}

/** The flag, else the variable: the process list shows flags to everybody on the machine. */
export function databaseOf({ database }: Pick<ServerFlags, "database">, { env }: CliContext): string | undefined {
  return database ?? env.SOLVAY_DATABASE;
}

/** A folder is meant from where the user stands. */
export function imagesOf(images: string, { cwd }: CliContext): string {
  return images.startsWith("s3:") ? images : path.resolve(cwd, images);
}

/** A1111's and ComfyUI's own folders of LoRAs and embeddings stand in where none is named. */
async function withAdapterFolders(
  request: OpenRequest,
  { modelsDir }: ServerFlags,
  { cwd }: CliContext,
): Promise<OpenRequest> {
  let { loraDir, embeddingsDir } = request;
  if (modelsDir.length === 0) return request;
  const { adapterFolderIn } = await import("../node/adapter-files.ts");
  for (const folder of modelsDir) {
    loraDir ??= await adapterFolderIn(path.resolve(cwd, folder), "lora");
    embeddingsDir ??= await adapterFolderIn(path.resolve(cwd, folder), "embedding");
  }
  return {
    ...request,
    ...(loraDir !== undefined && { loraDir }),
    ...(embeddingsDir !== undefined && { embeddingsDir }),
  };
}

/** The models that jobs may name, the one of --model (or the demo) first. Rejects where one that is named can't be found. */
export async function engineOptions(context: CliContext, options: ServerFlags): Promise<EngineOptions> {
  const host = libraryOf(context);
  const request = await withAdapterFolders(openRequestOf(options), options, context);
  const { name } = await findModel(host, request);
  const models = new Map<string, OpenRequest>([[modelNamed(name).model, request]]);
  const { modelsIn } = await import("../node/model-folder.ts");
  for (const folder of options.modelsDir) {
    const found = await modelsIn(path.resolve(context.cwd, folder));
    if (found.size === 0) {
      const problem = "there is no model in this folder";
      throw new UsageError({ code: "E_USAGE", subject: folder, problem, next: "name a folder with models in it" });
    }
    // An artifact is laid over the one model that it was made for.
    const { artifact: _, ...others } = request;
    for (const [each, file] of found) if (!models.has(each)) models.set(each, { ...others, model: file });
  }
  return {
    models,
    openEngine: context.openEngine,
    modelContent: (opened) => modelContent(host, opened).catch(() => undefined),
  };
}
