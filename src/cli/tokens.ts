/** @file `solvay tokens PROMPT`: the ids that the model's tokenizers make of a prompt. */
import type { Command } from "commander";
import { printable } from "../errors.ts";
import { cutNote } from "../job/cut-text.ts";
import { JOB_FIELDS, OPEN_FIELDS } from "../job/fields.ts";
import type { PromptSyntax } from "../prompt/syntax.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { fieldOption } from "../terminal/options.ts";
import { Progress } from "../terminal/progress.ts";

export function addTokens(program: Command, context: CliContext): void {
  program
    .command("tokens")
    .description("show the token ids of a prompt, padded to 77 or in a1111 syntax to chunks of 77")
    .argument("<prompt>")
    .addOption(fieldOption(OPEN_FIELDS.model))
    .addOption(fieldOption(JOB_FIELDS.promptSyntax))
    .option("--json", 'as {"tokenizer": [...], "tokenizer_2": [...]}, and "cut" if the prompt is too long')
    .action((prompt: string, options: { model?: string; promptSyntax?: PromptSyntax; json?: boolean }) =>
      interruptible(context, async (signal) => {
        const progress = new Progress(context);
        const onEvent = options.json ? undefined : progress.load.bind(progress);
        await using engine = await context.openEngine({ model: options.model, signal, onEvent });
        const { promptSyntax: syntax = JOB_FIELDS.promptSyntax.default } = options;
        const ids = await engine.tokens(prompt, syntax);
        const cut = syntax === "plain" ? await engine.cutText(prompt) : {};
        const note = cutNote("prompt", cut);
        const names = Object.keys(ids);
        const width = Math.max(...names.map(({ length }) => length)) + 1;
        const lines = names.map((name) => `${`${name}:`.padEnd(width)} ${ids[name]!.join(" ")}`);
        const json = { ...ids, ...(note !== undefined && { cut }) };
        context.stdout.write(`${options.json ? JSON.stringify(json) : lines.join("\n")}\n`);
        if (note !== undefined && !options.json) progress.say(`Note: ${printable(note)}`);
      }),
    );
}
