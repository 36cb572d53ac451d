/** @file `solvay upscale FILE`: a picture enlarged by an ESRGAN-family network, by itself. */

import { createHash } from "node:crypto";
import path from "node:path";
import type { Command } from "commander";
import { printable } from "../errors.ts";
import type { EncodingChoice } from "../image/picture-writer.ts";
import { BUDGET_FIELDS, OPEN_FIELDS } from "../job/fields.ts";
import { OUTPUT_FIELDS } from "../job/output-fields.ts";
import { valueFromText } from "../job/text.ts";
import { UPSCALE_FIELDS, type UpscaleEvent } from "../job/upscale.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { addFields, fieldOption, type OptionValues, openRequestOf, valuesOf } from "../terminal/options.ts";
import { checkNextOutput, checkOutput, inFormatOf, savePicture } from "../terminal/output-file.ts";
import { planText } from "../terminal/plan-text.ts";
import { StatusLine } from "../terminal/status-line.ts";

interface UpscaleFlags extends OptionValues {
  readonly upscaler: string;
  readonly scale?: number;
  readonly output?: string;
  readonly plan?: boolean;
  readonly json?: boolean;
}

export function addUpscale(program: Command, context: CliContext): void {
  const command = program
    .command("upscale")
    .description("enlarge a picture (PNG, JPEG or WebP) by an ESRGAN, Real-ESRGAN or compact upscaler")
    .argument("<picture>")
    .requiredOption("--upscaler <file>", UPSCALE_FIELDS.upscaler.description)
    .option("--scale <n>", `${UPSCALE_FIELDS.scale.description} (default: ${UPSCALE_FIELDS.scale.absent})`, (text) =>
      valueFromText(UPSCALE_FIELDS.scale.kind, "--scale", text),
    )
    .addOption(fieldOption(OPEN_FIELDS.backend).helpGroup("Compute:"))
    .addOption(fieldOption(OPEN_FIELDS.adapter).helpGroup("Compute:"));
  addFields(addFields(command, BUDGET_FIELDS), OUTPUT_FIELDS)
    .optionsGroup("Output:")
    .option("--output <file>", "where to, replacing what is there (default: the next free output_NNN.png)")
    .option("--plan", "print what it would take, and stop")
    .option("--json", "events as JSON lines on stdout")
    .action((picture: string, options: UpscaleFlags) => upscalePicture(context, picture, options));
}

async function upscalePicture(context: CliContext, picture: string, options: UpscaleFlags): Promise<void> {
  const { cwd, stdout } = context;
  const { upscaler, scale, output, plan: planOnly, json } = options;
  const target = output === undefined ? undefined : { shown: output, file: path.resolve(cwd, output) };
  const encoding = inFormatOf(target, valuesOf(OUTPUT_FIELDS, options) as Partial<EncodingChoice>);
  if (!planOnly) await (target ? checkOutput(target) : checkNextOutput(cwd));
  const { backend, adapter, budgets } = openRequestOf(options);
  const status = new StatusLine(context);
  const print = (event: object) => stdout.write(`${JSON.stringify(event)}\n`);
  const tell = (event: UpscaleEvent) => {
    if (event.type === "note") status.say(`Note: ${event.text}.`);
    else if (event.type === "tile") status.rewrite(`Enlarging: tile ${event.done}/${event.tiles}`);
    else if (planOnly) stdout.write(`${planText(event.plan)}\n`);
  };
  await interruptible(context, async (signal) => {
    try {
      const { enlargePicture } = await import("../node/enlarge.ts");
      const toAbsolute = (name: string) => path.resolve(cwd, name);
      const job = { image: picture, upscaler, ...(scale !== undefined && { scale }), ...encoding };
      const request = { job, cwd, toAbsolute, backend, adapter, budgets };
      const made = await enlargePicture(request, { signal, onEvent: json ? print : tell, planOnly });
      if (!made) return;
      const saved = await savePicture(cwd, target, made);
      status.clear();
      const { width, height, bytes, format } = made;
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      if (json) print({ type: "image", file: saved.file, format, width, height, bytes: bytes.byteLength, sha256 });
      else stdout.write(`Saved: ${printable(saved.shown)}\n`);
    } finally {
      status.clear();
    }
  });
}
