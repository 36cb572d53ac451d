/** @file Names that Windows keeps for itself or can't hold: it takes some of them without a word, and the file is nowhere. Pure. */
import path from "node:path";

/** Devices, whatever follows a first dot or blank: `nul.png` is written to nowhere. */
const DEVICE = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\..*)?$/i;
/** A colon names a stream beside the file. */
const REFUSED = '<>:"|?*';

/** Why no file of this name can be made on `platform`, in words; undefined where it can, as far as the name goes. */
export function fileNameProblem(file: string, platform: NodeJS.Platform = process.platform): string | undefined {
  if (platform !== "win32") return undefined;
  const name = path.win32.basename(file);
  const device = DEVICE.exec(name)?.[1];
  if (device !== undefined) return `Windows keeps the name ${device} for a device`;
  const refused = [...name].find((character) => REFUSED.includes(character) || character < " ");
  if (refused !== undefined) return `Windows allows no ${JSON.stringify(refused)} in a name`;
  if (/[. ]$/.test(name)) return "Windows drops a dot or a blank at the end of a name";
  return undefined;
}
