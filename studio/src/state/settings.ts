/** @file What a person sets once. */
import { computed, signal } from "@preact/signals";
import { oneOf, persisted } from "./persisted.ts";

export const LANGUAGES = { en: "English", de: "Deutsch", he: "עברית" } as const;
export type Language = keyof typeof LANGUAGES;
const THEMES = ["system", "light", "dark"] as const;

/** Of what was kept; undefined: it is none. */
export const languageOf = oneOf(["system", ...(Object.keys(LANGUAGES) as Language[])]);
export const themeOf = oneOf(THEMES);

/** "system": the first of the browser's that there is. */
export const languageSetting = persisted<Language | "system">("language", "system", languageOf);
export const theme = persisted("theme", "system" as (typeof THEMES)[number], themeOf);
const chosenMode = persisted<"simple" | "advanced">("mode", "simple", oneOf(["simple", "advanced"]));

const narrow = matchMedia("(width < 50rem)");

/** The width of a phone. */
export const isPhone = signal(narrow.matches);
narrow.addEventListener("change", ({ matches }) => {
  isPhone.value = matches;
});

/** Simple shows what everybody needs of the form, Advanced all of it: the same values. A phone has Simple. */
export const mode = computed(() => (isPhone.value ? "simple" : chosenMode.value));

export function setMode(chosen: "simple" | "advanced"): void {
  chosenMode.value = chosen;
}
