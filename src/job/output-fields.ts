/** @file The fields of a job that say what its picture's file shall be. Part of fields.ts. Pixels don't depend on them. */
import { UsageError } from "../errors.ts";
import { DEFAULT_QUALITY, PICTURE_ENDINGS, type PictureEncoding } from "../image/picture-writer.ts";
import { type NameTable, nearestName, plainName } from "../sampler/name-table.ts";
import type { Fields } from "./field-type.ts";

const FORMATS = Object.keys(PICTURE_ENDINGS) as PictureEncoding[];

/** By names and endings. */
const FORMAT_TABLE: NameTable = {
  names: FORMATS,
  meaning(text) {
    const written = plainName(text).replace(/^\./, "");
    return FORMATS.find((format) => [`.${format}`, ...PICTURE_ENDINGS[format]].includes(`.${written}`));
  },
  nearest: (text) => nearestName(FORMATS, text),
};

export const OUTPUT_FIELDS = {
  format: {
    kind: { type: "named", table: FORMAT_TABLE },
    description: "format of the picture's file",
    default: "png",
    flag: { usage: "--format <name>", group: "Output" },
    loop: { word: "format", usage: "png|jpeg|webp" },
    omitsDefault: true,
    aliases: ["output_format", "samples_format"],
    shapesPlan: true,
  },
  quality: {
    kind: { type: "whole", min: 1, max: 100 },
    description: "quality of a JPEG or WebP",
    absent: `${DEFAULT_QUALITY}`,
    flag: { usage: "--quality <n>", group: "Output" },
    loop: { word: "quality", usage: "N|default", clear: "default", cleared: `${DEFAULT_QUALITY}` },
    aliases: ["output_compression", "jpeg_quality"],
  },
  lossless: {
    kind: { type: "switch" },
    description: "WebP that keeps every pixel",
    default: false,
    flag: { usage: "--lossless", group: "Output" },
    loop: { word: "lossless", usage: "true|false" },
    omitsDefault: true,
    aliases: ["webp_lossless"],
    shapesPlan: true,
  },
} as const satisfies Fields;

/** Throws UsageError `E_JOB` for what means nothing in the format. */
export function requireEncodingFits({
  format = "png",
  quality,
  lossless,
}: {
  readonly format?: string | undefined;
  readonly quality?: number | undefined;
  readonly lossless?: boolean | undefined;
}): void {
  const refuse = (subject: string, problem: string, next: string) =>
    new UsageError({ code: "E_JOB", subject, problem, next });
  if (quality !== undefined && (format === "png" || lossless)) {
    const problem = `${format === "png" ? "a PNG" : "a lossless picture"} keeps all of its pixels`;
    throw refuse("quality", problem, "leave it out, or write JPEG or WebP (--format jpeg)");
  }
  if (lossless && format !== "webp") {
    throw refuse("lossless", `it is a WebP's (the format is ${format})`, "give --format webp");
  }
}
