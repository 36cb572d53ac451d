/** @file What a person sets once, in this browser. */
import { oneOf, persisted } from "./persisted.ts";

export const LANGUAGES = { en: "English", de: "Deutsch", he: "עברית" } as const;
export type Language = keyof typeof LANGUAGES;
export const THEMES = ["system", "light", "dark"] as const;

/** "system": the first of the browser's that there is. */
export const languageSetting = persisted<Language | "system">(
  "language",
  "system",
  oneOf(["system", ...(Object.keys(LANGUAGES) as Language[])]),
);
export const theme = persisted("theme", "system" as (typeof THEMES)[number], oneOf(THEMES));
/** Simple shows what everybody needs of the form, Advanced all of it: the same values. */
export const mode = persisted<"simple" | "advanced">("mode", "simple", oneOf(["simple", "advanced"]));
