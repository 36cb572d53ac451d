/** @file `solvay generate PROMPT`: one or more images, for people or as JSON lines. */
import { createHash } from "node:crypto";
import path from "node:path";
import type { Command } from "commander";
import { UsageError } from "../errors.ts";
import type { PictureSize } from "../job/job.ts";
import { drawSeed, seedAfter } from "../job/seed.ts";
import { wholeFromText } from "../job/text.ts";
import type { GenerateEvent, LoadEvent } from "../job/types.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { addImageOptions, jobSettingsOf, type OptionValues, openRequestOf } from "../terminal/options.ts";
import {
  checkNextOutput,
  checkOutput,
  largestPngBytes,
  requireFreeDisk,
  requirePngName,
  savePicture,
  type Target,
} from "../terminal/output-file.ts";
import { Progress } from "../terminal/progress.ts";

interface GenerateFlags extends OptionValues {
  readonly output?: string;
  readonly count: number;
  readonly json?: boolean;
  readonly telemetry?: boolean;
}

type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

export function addGenerate(program: Command, context: CliContext): void {
  addImageOptions(program.command("generate").description("make an image from a prompt").argument("<prompt>"))
    .optionsGroup("Output:")
    .option("--output <file.png>", "where to, replacing what is there (default: the next free output_NNN.png)")
    .option(
      "--count <n>",
      "how many images, seeds counting up: FILE_001.png ...",
      (t) => wholeFromText("--count", t, 1, 9999),
      1,
    )
    .option("--json", "events as JSON lines on stdout")
    .option("--telemetry", "where the time went, segment by segment")
    .action((prompt: string, options: GenerateFlags) => generate(context, prompt, options));
}

async function generate(context: CliContext, prompt: string, options: GenerateFlags): Promise<void> {
  const { count, json, telemetry } = options;
  const { seed: firstSeed = drawSeed(), ...job } = jobSettingsOf(options);
  const seeds = Array.from({ length: count }, (_, i) => seedAfter(firstSeed, i));
  if (seeds.includes(undefined)) {
    const problem = `--seed ${firstSeed} with --count ${count} passes the largest seed 18446744073709551615`;
    throw new UsageError({ code: "E_USAGE", problem, next: "choose a smaller --seed" });
  }
  const targets = outputNames(context.cwd, options.output, count);
  if (options.output === undefined) await checkNextOutput(context.cwd);
  else requirePngName(options.output);
  for (const target of targets) if (target) await checkOutput(target);
  const requireRoom = async (size: Partial<PictureSize>) => {
    // As much as is known.
    const { width = 1, height = 1 } = { ...size, ...job };
    const textLength = prompt.length + (job.negativePrompt?.length ?? 0);
    const [target] = targets;
    const folder = target ? path.dirname(target.file) : context.cwd;
    const bytes = count * largestPngBytes({ width, height }, textLength);
    await requireFreeDisk(folder, target?.shown ?? folder, bytes);
  };
  await requireRoom({});

  const progress = new Progress(context);
  const print = (event: object) => context.stdout.write(`${JSON.stringify(event)}\n`);
  const show = {
    load: (event: LoadEvent) => (json ? print(event) : progress.load(event)),
    generate: (event: GenerateEvent) => (json ? print(event) : progress.generate(event)),
  };
  await interruptible(context, async (signal) => {
    try {
      await using engine = await context.openEngine({ ...openRequestOf(options), signal, onEvent: show.load });
      const { defaultWidth, defaultHeight } = engine.info;
      await requireRoom({ width: defaultWidth, height: defaultHeight });
      for (const [i, seed] of seeds.entries()) {
        const events = engine.generate({ ...job, prompt, seed }, { signal, telemetry });
        for await (const event of events) {
          if (event.type !== "image") {
            show.generate(event);
            continue;
          }
          if (!json) progress.generate(event);
          const saved = await savePicture(context.cwd, targets[i], event.png);
          if (json) print(imageLine(event, saved.file));
          else context.stdout.write(`Saved: ${saved.shown}\n`);
        }
      }
    } finally {
      progress.clear();
    }
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

/** The image event as JSON: the bytes are replaced by where they are and what they hash to. */
function imageLine({ png, ...event }: ImageEvent, file: string): object {
  return { ...event, file, bytes: png.byteLength, sha256: createHash("sha256").update(png).digest("hex") };
}
