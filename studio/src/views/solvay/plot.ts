/** @file uPlot, loaded when graphs are first shown. */
import { language } from "../../messages/translate.ts";

/** A browser that was started in the POSIX locale says "en-US@posix", which Intl refuses, and uPlot asks Intl for it as it loads. */
export async function loadPlot(): Promise<typeof import("uplot")> {
  try {
    new Intl.NumberFormat(navigator.language);
  } catch {
    Object.defineProperty(navigator, "language", { value: language.peek(), configurable: true });
  }
  return (await import("uplot")).default;
}
