/** @file `solvay generate PROMPT`: one or more images, for people or as JSON lines. */
import path from "node:path";
import type { Command } from "commander";
import { seriesOf } from "../job/series.ts";
import type { CliContext } from "../terminal/context.ts";
import {
  addImageOptions,
  countOption,
  jobSettingsOf,
  type OptionValues,
  openRequestOf,
  previewOf,
  previewOption,
  saveEveryOf,
  saveEveryOption,
} from "../terminal/options.ts";
import type { Target } from "../terminal/output-file.ts";
import { paint } from "../terminal/painting.ts";

interface GenerateFlags extends OptionValues {
  readonly output?: string;
  readonly count: number;
  readonly json?: boolean;
  readonly telemetry?: boolean;
}

export function addGenerate(program: Command, context: CliContext): void {
  addImageOptions(program.command("generate").description("make an image from a prompt").argument("<prompt>"))
    .optionsGroup("Output:")
    .option("--output <file>", "where to, replacing what is there (default: the next free output_NNN.png)")
    .addOption(countOption("how many images, seeds counting up: FILE_001.png ..."))
    .addOption(previewOption())
    .addOption(saveEveryOption())
    .option("--json", "events as JSON lines on stdout")
    .option("--telemetry", "where the time went, segment by segment")
    .action((prompt: string, options: GenerateFlags) => generate(context, prompt, options));
}

async function generate(context: CliContext, prompt: string, options: GenerateFlags): Promise<void> {
  const { count, json, telemetry } = options;
  const jobs = seriesOf(jobSettingsOf(options), count).map((job) => ({ ...job, prompt }));
  const targets = outputNames(context.cwd, options.output, count);
  await paint(context, {
    request: openRequestOf(options),
    jobs,
    targets,
    json,
    preview: previewOf(options),
    saveEvery: saveEveryOf(options),
    beside: { telemetry },
  });
}

function outputNames(cwd: string, output: string | undefined, count: number): (Target | undefined)[] {
  return Array.from({ length: count }, (_, i) => {
    if (output === undefined) return undefined;
    const { dir, name, ext } = path.parse(output);
    const shown = count === 1 ? output : path.join(dir, `${name}_${String(i + 1).padStart(3, "0")}${ext}`);
    return { shown, file: path.resolve(cwd, shown) };
  });
}
