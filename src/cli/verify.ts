/** @file `solvay verify FILE|DIR`: is it a whole, sound SDXL (or artifact for one)? */
import type { Command } from "commander";
import { ArtifactError, printable } from "../errors.ts";
import { verifyPath } from "../library/verify.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";

export function addVerify(program: Command, context: CliContext): void {
  program
    .command("verify")
    .description("check a model folder, safetensors or LZR2 file against the SDXL schema")
    .argument("<file-or-dir>")
    .option("--model <folder-or-id>", "the model that an LZR2 file is for (default: the one that it fits best)")
    .option("--json", "one JSON document")
    .action((target: string, options: { json?: boolean; model?: string }) =>
      interruptible(context, async (signal) => {
        const host = libraryOf(context);
        const { model } = options;
        const { ok, problems, notes, summary } = await verifyPath(host, target, { signal, model });
        if (options.json) {
          context.stdout.write(`${JSON.stringify({ ok, problems, notes, summary })}\n`);
        } else {
          for (const line of [...problems, ...notes, summary]) context.stdout.write(`${printable(line)}\n`);
        }
        if (ok) return;
        const problem = `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`;
        throw new ArtifactError({ code: "E_VERIFY", subject: target, problem, next: "replace what is named above" });
      }),
    );
}
