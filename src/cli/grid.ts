/** @file `solvay grid PROMPT --x "steps=10,20"`: one picture of many, which differ in the fields of its axes, with legends. */
import path from "node:path";
import type { Command } from "commander";
import { printable, UsageError } from "../errors.ts";
import { contactSheet, type SheetLayout, type SheetLegends, sheetLayout } from "../image/contact-sheet.ts";
import { hasBoxes } from "../image/lettering.ts";
import { readPictureTexts } from "../image/metadata/picture-texts.ts";
import type { EncodingChoice, PictureEncoding } from "../image/picture-writer.ts";
import { decodePng, type RgbImage } from "../image/png.ts";
import type { OpenRequest } from "../job/checked.ts";
import type { Field, Fields } from "../job/field-type.ts";
import { JOB_FIELDS } from "../job/fields.ts";
import { type GridAxis, parseAxis, requireApart } from "../job/grid-axis.ts";
import { A1111_KEYWORD } from "../job/infotext.ts";
import type { PictureSize } from "../job/job.ts";
import { requireEncodingFits } from "../job/output-fields.ts";
import { drawSeed } from "../job/seed.ts";
import type { GenerateJob } from "../job/types.ts";
import { openPictureWriter } from "../node/picture-writer.ts";
import { readPicture } from "../node/pictures.ts";
import { memorySource } from "../source/memory.ts";
import type { CliContext } from "../terminal/context.ts";
import {
  addImageOptions,
  jobSettingsOf,
  type OptionValues,
  openRequestOf,
  previewOf,
  previewOption,
} from "../terminal/options.ts";
import { checkNextOutput, checkOutput, inFormatOf, savePicture, type Target } from "../terminal/output-file.ts";
import { paint } from "../terminal/painting.ts";
import { StatusLine } from "../terminal/status-line.ts";

interface GridFlags extends OptionValues {
  readonly x?: string;
  readonly y?: string;
  readonly z?: string;
  readonly cells?: boolean;
  readonly output?: string;
  readonly json?: boolean;
}

/** A night's work on a small card. */
const MAX_CELLS = 1000;
/** 300 MB of colours. */
const MAX_PIXELS = 100e6;
const ONE: GridAxis = { name: "", texts: [""], apply: (job) => job };

export function addGrid(program: Command, context: CliContext): void {
  addImageOptions(
    program.command("grid").description("many images as one, over up to three options").argument("<prompt>"),
  )
    .optionsGroup("Grid:")
    .option("--x <axis>", 'columns: "steps=10,20-40:10", "sampler=euler,heun", "prompt-sr=cat,dog"')
    .option("--y <axis>", "rows")
    .option("--z <axis>", "blocks below one another")
    .option("--cells", "save each image, too")
    .optionsGroup("Output:")
    .option("--output <file>", "the grid, replacing what is there (default: the next free output_NNN.png)")
    .addOption(previewOption())
    .option("--json", "events as JSON lines on stdout")
    .action((prompt: string, options: GridFlags) => grid(context, prompt, options));
}

async function grid(context: CliContext, prompt: string, options: GridFlags): Promise<void> {
  const axes = (["x", "y", "z"] as const).map((name) => {
    const text = options[name];
    return text === undefined ? ONE : parseAxis(`--${name}`, text);
  });
  const [x, y, z] = axes as [GridAxis, GridAxis, GridAxis];
  requireApart({ "--x": x, "--y": y, "--z": z });
  const count = x.texts.length * y.texts.length * z.texts.length;
  if (count > MAX_CELLS) throw tooLarge(`${count} images`, `${MAX_CELLS}`);
  const target = options.output === undefined ? undefined : targetOf(context, options.output);
  const { format = "png", quality, lossless, ...settings } = inFormatOf(target, jobSettingsOf(options));
  const encoding: EncodingChoice = { format: format as PictureEncoding, quality, lossless };
  requireEncodingFits(encoding);
  const writer = await openPictureWriter(encoding);
  const asFiles = options.cells ? { format, quality, lossless } : {};
  // One seed for all that name none: they differ in their axes alone.
  const base: GenerateJob = { seed: drawSeed(), ...settings, ...asFiles, prompt };
  const subseed = drawSeed();
  const placeOf = (cell: number) => ({
    column: cell % x.texts.length,
    row: Math.floor(cell / x.texts.length) % y.texts.length,
    block: Math.floor(cell / (x.texts.length * y.texts.length)),
  });
  const cells = Array.from({ length: count }, (_, cell) => {
    const { column, row, block } = placeOf(cell);
    const job = z.apply(y.apply(x.apply(base, column), row), block);
    return job.subseedStrength && job.subseed === undefined ? { ...job, subseed } : job;
  });
  const asked = openRequestOf(options);
  /** Cells by what is opened for them: each model once. */
  const openings = new Map<string, { readonly request: OpenRequest; readonly cells: number[] }>();
  for (const cell of cells.keys()) {
    const { column, row, block } = placeOf(cell);
    const request = { ...asked, ...x.opens?.(column), ...y.opens?.(row), ...z.opens?.(block) };
    const key = JSON.stringify(request);
    const known = openings.get(key) ?? { request, cells: [] };
    openings.set(key, known);
    known.cells.push(cell);
  }
  const legends: SheetLegends = { columns: legendsOf(x), rows: legendsOf(y), blocks: legendsOf(z) };
  const say = new StatusLine(context);
  const boxed = [...legends.columns, ...legends.rows, ...legends.blocks].filter(hasBoxes);
  if (boxed.length > 0) say.say(`Note: legends have letters of ASCII; others are boxes: ${printable(boxed[0]!)}`);
  await (target ? checkOutput(target) : checkNextOutput(context.cwd));
  const layoutFor = (size: Partial<PictureSize>) => layoutOf(legends, cells, size);
  layoutFor({});

  // Before the first picture: a name that is mistyped shall not wait for its turn.
  if (openings.size > 1) for (const { request } of openings.values()) await context.checkModel(request);
  const pictures: (RgbImage | undefined)[] = Array.from({ length: count }, () => undefined);
  let firstInfotext = "";
  const finish = async () => {
    const done = pictures.filter((picture) => picture !== undefined);
    if (done.length === 0) return;
    const largest = (side: "width" | "height") => Math.max(...done.map((picture) => picture[side]));
    const layout = sheetLayout(legends, { width: largest("width"), height: largest("height") });
    const text = [{ keyword: A1111_KEYWORD, text: `${firstInfotext}${scriptText(axes)}` }];
    const bytes = await writer.write({ ...contactSheet(layout, pictures), text });
    const saved = await savePicture(context.cwd, target, { bytes, format: encoding.format });
    const what = done.length === count ? "Grid" : `Grid of the ${done.length} that were made`;
    if (options.json)
      context.stdout.write(`${JSON.stringify({ type: "grid", file: saved.file, images: done.length })}\n`);
    else context.stdout.write(`${what}: ${saved.shown}\n`);
  };
  try {
    for (const { request, cells: own } of openings.values()) {
      const order = sharingOrder(own.map((cell) => cells[cell]!)).map((at) => own[at]!);
      await paint(context, {
        request,
        jobs: order.map((cell) => cells[cell]!),
        targets: order.map((cell) =>
          options.output && options.cells ? cellTarget(context, options.output, cell) : undefined,
        ),
        json: options.json,
        preview: previewOf(options),
        saves: options.cells === true,
        onOpened: ({ defaultWidth, defaultHeight }) => void layoutFor({ width: defaultWidth, height: defaultHeight }),
        async onPicture(image, job) {
          const bytes = new Uint8Array(image.bytes);
          const { width, height, rgb } = await rgbOf(bytes, image.format);
          pictures[order[job]!] = { width, height, rgb };
          if (firstInfotext !== "") return;
          const { texts } = await readPictureTexts(memorySource("a picture", bytes));
          firstInfotext = texts.find(({ keyword }) => [A1111_KEYWORD, "UserComment"].includes(keyword))?.text ?? "";
        },
      });
    }
  } catch (error) {
    // What there is of it is not lost; what stopped it is told.
    await finish().catch(() => {});
    throw error;
  }
  await finish();
}

/** A cell that is kept as JPEG or WebP shows in the grid as it is kept. */
async function rgbOf(bytes: Uint8Array<ArrayBuffer>, format: PictureEncoding): Promise<RgbImage> {
  if (format !== "png") return await readPicture(bytes, { name: "a picture" });
  const { width, height, pixels } = await decodePng(bytes);
  return { width, height, rgb: pixels };
}

function legendsOf({ name, texts }: GridAxis): string[] {
  return texts.map((text) => (name === "" ? "" : `${name}: ${text}`));
}

function layoutOf(legends: SheetLegends, cells: readonly GenerateJob[], size: Partial<PictureSize>): SheetLayout {
  const largest = (side: "width" | "height") => Math.max(...cells.map((job) => job[side] ?? size[side] ?? 1));
  const layout = sheetLayout(legends, { width: largest("width"), height: largest("height") });
  const pixels = layout.width * layout.height;
  if (pixels > MAX_PIXELS)
    throw tooLarge(`${layout.width}x${layout.height} pixels`, `${MAX_PIXELS / 1e6} million pixels`);
  return layout;
}

/** Cells so that those of one plan, and then of one prompt, follow one another: plans and embeddings are made once. */
function sharingOrder(cells: readonly GenerateJob[]): number[] {
  const shaping = Object.entries<Field>(JOB_FIELDS as Fields).filter(([, { shapesPlan }]) => shapesPlan === true);
  const groups = new Map<string, Map<string, number[]>>();
  for (const [cell, job] of cells.entries()) {
    const values: Readonly<Record<string, unknown>> = { ...job };
    const plan = JSON.stringify(shaping.map(([name]) => values[name]));
    const words = JSON.stringify([job.prompt, job.negativePrompt]);
    const group = groups.get(plan) ?? new Map<string, number[]>();
    groups.set(plan, group);
    group.set(words, [...(group.get(words) ?? []), cell]);
  }
  return [...groups.values()].flatMap((group) => [...group.values()].flat());
}

/** As A1111's script of that name adds it to the infotext. */
function scriptText(axes: readonly GridAxis[]): string {
  const entries = axes.flatMap(({ name, texts }, i) => {
    const axis = "XYZ"[i]!;
    return name === "" ? [] : [`${axis} Type: ${name}`, `${axis} Values: ${JSON.stringify(texts.join(","))}`];
  });
  return [", Script: X/Y/Z plot", ...entries].join(", ");
}

function targetOf({ cwd }: CliContext, output: string): Target {
  return { shown: output, file: path.resolve(cwd, output) };
}

function cellTarget(context: CliContext, output: string, cell: number): Target {
  const { dir, name, ext } = path.parse(output);
  return targetOf(context, path.join(dir, `${name}_${String(cell + 1).padStart(3, "0")}${ext}`));
}

function tooLarge(found: string, allowed: string): UsageError {
  const problem = `the grid is too large (found ${found}, allowed ${allowed})`;
  return new UsageError({ code: "E_GRID", problem, next: "give fewer values, or smaller images" });
}
