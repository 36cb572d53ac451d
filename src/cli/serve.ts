/** @file `solvay serve`: the engine behind a socket, with a queue. What it is made of is loaded when it is called. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { wholeFromText } from "../job/text.ts";
import { FileHashes } from "../node/file-hashes.ts";
import { defaultStateFolder } from "../node/state/folder.ts";
import { type CliContext, Interrupted, interruptible, libraryOf } from "../terminal/context.ts";
import { addOpenOptions, type OptionValues, openRequestOf } from "../terminal/options.ts";
import { modelContent } from "../terminal/unfinished.ts";

interface ServeFlags extends OptionValues {
  readonly host: string;
  readonly port: number;
  readonly images?: string;
  readonly apiKeyFile?: string;
  readonly allowHost: readonly string[];
  readonly queueLimit: number;
}

const PORT = 7860;
const QUEUE_LIMIT = 64;

export function addServe(program: Command, context: CliContext): void {
  addOpenOptions(
    program.command("serve").description("the engine behind a socket: our own API, OpenAI's and A1111's, with a queue"),
  )
    .optionsGroup("Server:")
    .option("--host <address>", "where it listens; other than this machine's own needs keys", "127.0.0.1")
    .option("--port <n>", "0: one that is free", (text) => wholeFromText("--port", text, 0, 65535), PORT)
    .option("--images <dir>", "folder of the pictures (default: serve/images in the folder for state)")
    .option("--api-key-file <file>", "lines of name:KEY; without it nobody needs a key")
    .option(
      "--allow-host <name>",
      "another name by which clients may call it (again for more)",
      (text, before: string[]) => [...before, text],
      [],
    )
    .option(
      "--queue-limit <n>",
      "jobs that may wait or run",
      (text) => wholeFromText("--queue-limit", text, 1, 100_000),
      QUEUE_LIMIT,
    )
    .action((options: ServeFlags) => runServe(context, options));
}

async function runServe(context: CliContext, options: ServeFlags): Promise<void> {
  const { cwd, env, stdout, stderr } = context;
  const { host, port, images, apiKeyFile, allowHost, queueLimit } = options;
  const request = openRequestOf(options);
  // What is wrong with the model is said before anything is opened.
  await context.checkModel(request);
  const stateFolder = path.join(defaultStateFolder(env), "serve");
  const { Keys } = await import("../server/http/keys.ts");
  const keys =
    apiKeyFile === undefined
      ? undefined
      : Keys.fromText(await readFile(path.resolve(cwd, apiKeyFile), "utf8"), apiKeyFile);
  const { serve } = await import("../server/serve.ts");
  const hashes = new FileHashes(defaultStateFolder(env));
  const { StudioFiles } = await import("../server/studio/studio-files.ts");
  const say = (line: string) => stdout.write(`${line}\n`);
  await interruptible(context, (signal) =>
    serve(
      {
        ...{ host, port, request, stateFolder, keys, queueLimit, allowedHosts: allowHost },
        imagesFolder: images === undefined ? path.join(stateFolder, "images") : path.resolve(cwd, images),
        openEngine: context.openEngine,
        library: libraryOf(context),
        hashes: { of: (file) => hashes.known(file), fileWith: (hash) => hashes.fileWith(hash) },
        openStudio: (stop) => StudioFiles.open(stop),
        modelContent: () => modelContent(libraryOf(context), request).catch(() => undefined),
        logs: { write: (line) => void stderr.write(line) },
        onListening: (url) => say(`Listening on ${url}`),
        onReady: ({ info }) => say(`Ready: ${info.model} (${info.backend})`),
      },
      signal,
    ),
  ).catch((error: unknown) => {
    // To be stopped is how it ends.
    if (!(error instanceof Interrupted)) throw error;
  });
}
