/** @file The infotext of a picture's bytes, wherever its format has it. */
import { readPictureTexts } from "../../image/metadata/picture-texts.ts";
import { A1111_KEYWORD } from "../../job/infotext.ts";
import { memorySource } from "../../source/memory.ts";

/** What JPEG and WebP have it under. */
const EXIF_NAME = "UserComment";

export async function infotextOf(bytes: Uint8Array): Promise<string | undefined> {
  const { texts } = await readPictureTexts(memorySource("picture", Uint8Array.from(bytes)));
  return texts.find(({ keyword }) => keyword === A1111_KEYWORD || keyword === EXIF_NAME)?.text;
}
