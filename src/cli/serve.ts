/** @file `solvay serve`: the engine behind a socket, with a queue. What it is made of is loaded when it is called. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { wholeFromText } from "../job/text.ts";
import { formatBytes } from "../ledger/byte-text.ts";
import { FileHashes } from "../node/file-hashes.ts";
import { defaultStateFolder } from "../node/state/folder.ts";
import { type CliContext, Interrupted, interruptible, libraryOf } from "../terminal/context.ts";
import { addServerOptions, again, databaseOf, engineOptions, imagesOf, type ServerFlags } from "./server-parts.ts";

interface ServeFlags extends ServerFlags {
  readonly host: string;
  readonly port: number;
  readonly apiKeyFile?: string;
  readonly allowHost: readonly string[];
  readonly queueLimit: number;
  /** False by --no-worker. */
  readonly worker: boolean;
}

const PORT = 7860;
const QUEUE_LIMIT = 64;

export function addServe(program: Command, context: CliContext): void {
  addServerOptions(
    program.command("serve").description("the engine behind a socket: our own API, OpenAI's and A1111's, with a queue"),
    {
      database: " (default: embedded, inside this process)",
      images: " (default: serve/images in the folder for state)",
    },
  )
    .option("--host <address>", "where it listens; other than this machine's own needs keys", "127.0.0.1")
    .option("--port <n>", "0: one that is free", (text) => wholeFromText("--port", text, 0, 65535), PORT)
    .option("--no-worker", "only take jobs: solvay worker draws them")
    .option("--api-key-file <file>", "lines of name:KEY; without it nobody needs a key")
    .option("--allow-host <name>", "another name by which clients may call it (again for more)", again, [])
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
  const { host, port, images, apiKeyFile, allowHost, queueLimit, worker } = options;
  // What is wrong with a model is said before anything is opened.
  const engines = await engineOptions(context, options);
  const stateFolder = path.join(defaultStateFolder(env), "serve");
  const { EMBEDDED } = await import("../server/backing.ts");
  const database = databaseOf(options, context) ?? EMBEDDED;
  if (!worker && database === EMBEDDED) {
    const problem = "nobody would draw the jobs of an embedded database";
    const next = "give --database postgres://..., and start solvay worker on it";
    throw new UsageError({ code: "E_USAGE", subject: "--no-worker", problem, next });
  }
  const { Keys } = await import("../server/http/keys.ts");
  const keys =
    apiKeyFile === undefined
      ? undefined
      : Keys.fromText(await readFile(path.resolve(cwd, apiKeyFile), "utf8"), apiKeyFile);
  const { serve } = await import("../server/serve.ts");
  const hashes = new FileHashes(defaultStateFolder(env));
  const { StudioFiles } = await import("../server/studio/studio-files.ts");
  const { HEARTBEAT } = await import("../server/queue/boss.ts");
  const say = (line: string) => stdout.write(`${line}\n`);
  await interruptible(context, (signal) =>
    serve(
      {
        ...{ host, port, stateFolder, keys, queueLimit, allowedHosts: allowHost, worker, env, ...engines },
        database,
        images: images === undefined ? path.join(stateFolder, "images") : imagesOf(images, context),
        heartbeat: HEARTBEAT,
        library: libraryOf(context),
        hashes: { of: (file) => hashes.known(file), fileWith: (hash) => hashes.fileWith(hash) },
        openStudio: (stop) => StudioFiles.open(stop),
        logs: { write: (line) => void stderr.write(line) },
        onListening: (url) => say(`Listening on ${url}`),
        onReady: (engine, databaseBytes) => {
          // What the budget holds beside the engine.
          const counted = databaseBytes > 0 ? `; ${formatBytes(databaseBytes)} of the RAM are the database's` : "";
          say(engine ? `Ready: ${engine.info.model} (${engine.info.backend})${counted}` : "Ready: workers draw");
        },
      },
      signal,
    ),
  ).catch((error: unknown) => {
    // To be stopped is how it ends.
    if (!(error instanceof Interrupted)) throw error;
  });
}
