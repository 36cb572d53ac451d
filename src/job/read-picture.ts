/** @file The settings that a picture's texts hold: ours first, since they are exact, then those of other programs. */
import type { PictureText, PictureTexts } from "../image/metadata/picture-texts.ts";
import { settingsOfComfy } from "./comfy-settings.ts";
import { A1111_KEYWORD, SOLVAY_KEYWORD } from "./infotext.ts";
import { settingsOfInfotext } from "./infotext-settings.ts";
import { settingsOfJson } from "./json-settings.ts";
import type { PictureSettings } from "./picture-settings.ts";
import { settingsOfSolvayJson } from "./solvay-record.ts";

type Reader = (text: string) => PictureSettings | undefined;

/** Where each kind of text is looked for, in this order. Absent: in any text. */
const READERS: readonly { readonly read: Reader; readonly keywords?: readonly string[] }[] = [
  { read: settingsOfSolvayJson, keywords: [SOLVAY_KEYWORD] },
  { read: settingsOfInfotext, keywords: [A1111_KEYWORD, "UserComment", "comment"] },
  { read: settingsOfComfy, keywords: ["prompt", "Model", "Make", "UserComment", "comment", "ImageDescription"] },
  { read: settingsOfJson },
  { read: settingsOfInfotext },
];
/** ComfyUI's WebP pictures name the text within it. */
const INNER_NAME = /^(?:prompt|Prompt):\s*(?=\{)/;

/** Text that tells what has enlarged a picture; what was written in the picture is kept beside it. */
export const UPSCALER_KEYWORD = "Upscaler";
/** Longest text of another program that a note repeats. */
const QUOTED_CHARS = 100;

/** Undefined where no text says how the picture was made. */
export function readPicture({ texts }: Pick<PictureTexts, "texts">): PictureSettings | undefined {
  for (const { read, keywords } of READERS) {
    for (const { keyword, text } of texts) {
      if (keywords && !keywords.includes(keyword)) continue;
      const settings = read(text.replace(INNER_NAME, ""));
      if (settings) return withEnlarging(withTool(settings, texts), texts);
    }
  }
  return undefined;
}

/** Some programs name themselves in a text of its own. */
function withTool(settings: PictureSettings, texts: readonly PictureText[]): PictureSettings {
  const software = texts.find(({ keyword }) => keyword === "Software")?.text;
  return settings.source === "json" && software !== undefined && software.length < 100
    ? { ...settings, tool: software }
    : settings;
}

function withEnlarging(settings: PictureSettings, texts: readonly PictureText[]): PictureSettings {
  const upscaler = texts.find(({ keyword }) => keyword === UPSCALER_KEYWORD)?.text;
  if (upscaler === undefined) return settings;
  const note = `it was enlarged after it was made, by ${upscaler.slice(0, QUOTED_CHARS)}`;
  return { ...settings, notes: [...settings.notes, note] };
}
