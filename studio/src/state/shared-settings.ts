/**
 * @file What is the same in every browser of a person's, since the server keeps it: language and appearance as they were set last, wherever that was, and
 * earlier prompts, those of this browser first.
 */
import { effect } from "@preact/signals";
import { ask } from "../api/client.ts";
import { MAX_PROMPTS, prompts } from "./form.ts";
import { languageOf, languageSetting, theme, themeOf } from "./settings.ts";

const SEND_MS = 1_500;
/** The server keeps no longer value. */
const MAX_CHARS = 30_000;

interface Kept {
  readonly prompts?: unknown;
  readonly language?: unknown;
  readonly theme?: unknown;
}

/** Returns what ends it. A server that keeps nothing is no trouble: this browser does as well. */
export function followSettings(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** As JSON, by name. */
  const kept = new Map<string, string>();
  const ends: (() => void)[] = [() => clearTimeout(timer)];
  const send = () => {
    const own = { prompts: fitting(prompts.peek()), language: languageSetting.peek(), theme: theme.peek() };
    const changed = Object.entries(own).filter(([name, value]) => JSON.stringify(value) !== kept.get(name));
    if (changed.length === 0) return;
    ask("/api/settings", { json: { settings: Object.fromEntries(changed) } }).then(
      () => {
        for (const [name, value] of changed) kept.set(name, JSON.stringify(value));
      },
      () => {},
    );
  };
  ask<{ readonly settings: Kept }>("/api/settings").then(
    ({ settings }) => {
      // What nobody has set yet is no change.
      const standing = { prompts: [], language: languageSetting.peek(), theme: theme.peek(), ...settings };
      for (const [name, value] of Object.entries(standing)) kept.set(name, JSON.stringify(value));
      languageSetting.value = languageOf(settings.language) ?? languageSetting.peek();
      theme.value = themeOf(settings.theme) ?? theme.peek();
      const others = Array.isArray(settings.prompts) ? settings.prompts.filter((each) => typeof each === "string") : [];
      const all = [...new Set([...prompts.peek(), ...others])].slice(0, MAX_PROMPTS);
      if (all.length > prompts.peek().length) prompts.value = all;
      ends.push(
        effect(() => {
          void [prompts.value, languageSetting.value, theme.value];
          clearTimeout(timer);
          timer = setTimeout(send, SEND_MS);
        }),
      );
    },
    () => {},
  );
  return () => {
    for (const end of ends) end();
  };
}

/** The latest ones, as many as fit. */
function fitting(all: readonly string[]): readonly string[] {
  let items = all;
  while (JSON.stringify(items).length > MAX_CHARS) items = items.slice(0, Math.floor(items.length * 0.8));
  return items;
}
