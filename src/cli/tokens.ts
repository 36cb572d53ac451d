/** @file `solvay tokens PROMPT`: the ids both tokenizers make of a prompt. */
import type { Command } from "commander";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { Progress } from "../terminal/progress.ts";

export function addTokens(program: Command, context: CliContext): void {
  program
    .command("tokens")
    .description("show the token ids of a prompt, padded to 77")
    .argument("<prompt>")
    .option("--model <dir|hub-id>", "diffusers folder, or Hugging Face id in the local cache (default: the demo model)")
    .option("--json", 'as {"tokenizer": [...], "tokenizer_2": [...]}')
    .action((prompt: string, options: { model?: string; json?: boolean }) =>
      interruptible(context, async (signal) => {
        const progress = new Progress(context);
        const onEvent = options.json ? undefined : progress.load.bind(progress);
        await using engine = await context.openEngine({ model: options.model, signal, onEvent });
        const { tokenizer, tokenizer_2 } = await engine.tokens(prompt);
        context.stdout.write(
          options.json
            ? `${JSON.stringify({ tokenizer, tokenizer_2 })}\n`
            : `tokenizer:   ${tokenizer.join(" ")}\ntokenizer_2: ${tokenizer_2.join(" ")}\n`,
        );
      }),
    );
}
