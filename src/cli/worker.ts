/** @file `solvay worker`: draws the jobs of a database that servers fill. Any number of them, on any number of machines. */
import path from "node:path";
import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import { defaultStateFolder } from "../node/state/folder.ts";
import { type CliContext, Interrupted, interruptible } from "../terminal/context.ts";
import { addServerOptions, databaseOf, engineOptions, imagesOf, type ServerFlags } from "./server-parts.ts";

export function addWorker(program: Command, context: CliContext): void {
  const description = "draws the jobs of solvay serve --database postgres://..., here or on another machine";
  addServerOptions(program.command("worker").description(description), { database: "", images: "" }).action(
    (options: ServerFlags) => runWorker(context, options),
  );
}

async function runWorker(context: CliContext, options: ServerFlags): Promise<void> {
  const { env, stdout, stderr } = context;
  const { images } = options;
  const database = databaseOf(options, context);
  const { EMBEDDED } = await import("../server/backing.ts");
  if (database === undefined || database === EMBEDDED) {
    const problem = "a worker shares a PostgreSQL server with solvay serve";
    throw new UsageError({ code: "E_USAGE", subject: "--database", problem, next: "give --database postgres://..." });
  }
  if (images === undefined) {
    const problem = "a worker puts pictures where solvay serve finds them";
    const next = "give the same --images as solvay serve: a folder that both see, or s3://BUCKET/PREFIX";
    throw new UsageError({ code: "E_USAGE", subject: "--images", problem, next });
  }
  const engines = await engineOptions(context, options);
  const { runWorker: run } = await import("../server/worker-process.ts");
  const { HEARTBEAT } = await import("../server/queue/boss.ts");
  const say = (line: string) => stdout.write(`${line}\n`);
  await interruptible(context, (signal) =>
    run(
      {
        ...{ ...engines, database, images: imagesOf(images, context), env, heartbeat: HEARTBEAT },
        stateFolder: path.join(defaultStateFolder(env), "worker"),
        logs: { write: (line) => void stderr.write(line) },
        onReady: ({ info }, model) => say(`Ready: ${model} (${info.backend})`),
        onDrawn: (elapsedMs) => say(`Drawn in ${(elapsedMs / 1000).toFixed(1)} s`),
      },
      signal,
    ),
  ).catch((error: unknown) => {
    // To be stopped is how it ends.
    if (!(error instanceof Interrupted)) throw error;
  });
}
