/** @file The words of the interface, by key. English comes with the program, other languages when they are asked for; each has every key (a test looks). */
import { computed, effect, signal } from "@preact/signals";
import { LANGUAGES, type Language, languageSetting } from "../state/settings.ts";
import { en } from "./en/index.ts";

/** A text with {names} in it, or one by the plural of {count}. */
export type Message = string | (Partial<Record<Intl.LDMLPluralRule, string>> & { readonly other: string });
export type MessageKey = keyof typeof en;
/** Every key of English's. */
export type Catalogue = Readonly<Record<MessageKey, Message>>;

const CATALOGUES: Readonly<Record<Language, () => Promise<Catalogue>>> = {
  en: async () => en,
  de: async () => (await import("./de/index.ts")).de,
  he: async () => (await import("./he/index.ts")).he,
};
const RIGHT_TO_LEFT: readonly Language[] = ["he"];

const wanted = computed<Language>(() => {
  if (languageSetting.value !== "system") return languageSetting.value;
  const names = navigator.languages.map((name) => name.split("-")[0]!);
  return names.find((name): name is Language => Object.hasOwn(LANGUAGES, name)) ?? "en";
});
const shown = signal<{ readonly language: Language; readonly words: Catalogue }>({ language: "en", words: en });

/** The language that is shown. */
export const language = computed(() => shown.value.language);

effect(() => {
  const asked = wanted.value;
  CATALOGUES[asked]().then(
    (words) => {
      if (wanted.peek() === asked) shown.value = { language: asked, words };
    },
    // Offline, and never fetched: what is shown stays.
    () => {},
  );
});

effect(() => {
  document.documentElement.lang = language.value;
  document.documentElement.dir = RIGHT_TO_LEFT.includes(language.value) ? "rtl" : "ltr";
});

type Values = Readonly<Record<string, string | number>>;

/** The words of a key, with `values` in place of their {names}; whoever renders them hears of another language. */
export function t(key: MessageKey, values: Values = {}): string {
  const { language: name, words } = shown.value;
  const message = words[key];
  const count = Number(values.count ?? 0);
  const text =
    typeof message === "string" ? message : (message[new Intl.PluralRules(name).select(count)] ?? message.other);
  return text.replaceAll(/\{(\w+)\}/g, (whole, each: string) => {
    const value = values[each];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

/** Words for a name that only the server knows ("field.steps"); undefined: there are none. */
export function maybe(key: string): string | undefined {
  return Object.hasOwn(shown.value.words, key) ? t(key as MessageKey) : undefined;
}

/** As the language writes it. */
export function number(value: number, options?: Intl.NumberFormatOptions): string {
  return new Intl.NumberFormat(language.value, options).format(value);
}

/** A time span in the largest unit that says something: "8 s", "3 min", "2 h". */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  const [value, unit] =
    seconds < 90
      ? [Math.ceil(seconds), "second"]
      : seconds < 5400
        ? [Math.round(seconds / 60), "minute"]
        : [Math.round(seconds / 360) / 10, "hour"];
  return number(value as number, { style: "unit", unit: unit as string, unitDisplay: "short" });
}
