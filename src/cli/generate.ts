/** @file `solvay generate PROMPT`: one or more images, for people or as JSON lines. */
import { createHash } from "node:crypto";
import path from "node:path";
import type { Command } from "commander";
import type { GenerateEvent, LoadEvent } from "../engine-types.ts";
import { UsageError } from "../errors.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { addImageOptions, budgetsOf, drawSeed, type ImageOptions, MAX_SEED, parseWhole } from "../terminal/options.ts";
import { checkOutput, replaceFile, writeNextOutput } from "../terminal/output-file.ts";
import { Progress } from "../terminal/progress.ts";

interface GenerateOptions extends ImageOptions {
  readonly output?: string;
  readonly count: number;
  readonly json?: boolean;
  readonly telemetry?: boolean;
}

type ImageEvent = Extract<GenerateEvent, { type: "image" }>;

export function addGenerate(program: Command, context: CliContext): void {
  addImageOptions(program.command("generate").description("make an image from a prompt").argument("<prompt>"))
    .option("--output <file.png>", "where to, replacing what is there (default: the next free output_NNN.png)")
    .option(
      "--count <n>",
      "how many images, seeds counting up: FILE_001.png ...",
      (t) => parseWhole("--count", t, 1, 9999),
      1,
    )
    .option("--json", "events as JSON lines on stdout")
    .option("--telemetry", "where the time went, segment by segment")
    .action((prompt: string, options: GenerateOptions) => generate(context, prompt, options));
}

async function generate(context: CliContext, prompt: string, options: GenerateOptions): Promise<void> {
  const { count, json } = options;
  const firstSeed = options.seed ?? drawSeed();
  if (firstSeed > MAX_SEED - (count - 1)) {
    const problem = `--seed ${firstSeed} with --count ${count} passes the largest seed ${MAX_SEED}`;
    throw new UsageError({ code: "E_USAGE", problem, next: "choose a smaller --seed" });
  }
  const targets = outputNames(context.cwd, options.output, count);
  for (const target of targets) if (target) await checkOutput(target.file);

  const progress = new Progress(context);
  const print = (event: object) => context.stdout.write(`${JSON.stringify(event)}\n`);
  const show = {
    load: (event: LoadEvent) => (json ? print(event) : progress.load(event)),
    generate: (event: GenerateEvent) => (json ? print(event) : progress.generate(event)),
  };
  await interruptible(context, async (signal) => {
    try {
      await using engine = await context.openEngine({
        model: options.model,
        artifact: options.artifact,
        store: options.store,
        backend: options.backend,
        adapter: options.adapter,
        precision: options.precision,
        compat: options.compat,
        budgets: budgetsOf(options),
        signal,
        onEvent: show.load,
      });
      for (let i = 0; i < count; i++) {
        const events = engine.generate({
          prompt,
          negativePrompt: options.negative,
          seed: firstSeed + i,
          steps: options.steps,
          guidance: options.guidance,
          width: options.width,
          height: options.height,
          ...(options.telemetry ? { telemetry: true } : {}),
          signal,
        });
        for await (const event of events) {
          if (event.type !== "image") {
            show.generate(event);
            continue;
          }
          if (!json) progress.generate(event);
          const saved = await save(context, targets[i], event.png);
          if (json) print(imageLine(event, saved.file));
          else context.stdout.write(`Saved: ${saved.shown}\n`);
        }
      }
    } finally {
      progress.clear();
    }
  });
}

/** The file as the user named it, and its absolute path. */
interface Target {
  readonly shown: string;
  readonly file: string;
}

function outputNames(cwd: string, output: string | undefined, count: number): (Target | undefined)[] {
  return Array.from({ length: count }, (_, i) => {
    if (output === undefined) return undefined;
    const { dir, name, ext } = path.parse(output);
    const shown = count === 1 ? output : path.join(dir, `${name}_${String(i + 1).padStart(3, "0")}${ext}`);
    return { shown, file: path.resolve(cwd, shown) };
  });
}

async function save(context: CliContext, target: Target | undefined, png: Uint8Array): Promise<Target> {
  if (!target) {
    const shown = await writeNextOutput(context.cwd, png);
    return { shown, file: path.join(context.cwd, shown) };
  }
  await replaceFile(target.file, (file) => file.writeFile(png));
  return target;
}

/** The image event as JSON: the bytes are replaced by where they are and what they hash to. */
function imageLine({ png, ...event }: ImageEvent, file: string): object {
  return { ...event, file, bytes: png.byteLength, sha256: createHash("sha256").update(png).digest("hex") };
}
