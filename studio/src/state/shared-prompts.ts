/** @file Earlier prompts, the same in every browser: the server keeps them, those of this browser first. */
import { effect } from "@preact/signals";
import { ask } from "../api/client.ts";
import { MAX_PROMPTS, prompts } from "./form.ts";

const SEND_MS = 1_500;
/** The server keeps no longer value. */
const MAX_CHARS = 30_000;

/** Returns what ends it. A server that keeps nothing is no trouble: they are in this browser as well. */
export function followPrompts(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let kept = "";
  const ends: (() => void)[] = [() => clearTimeout(timer)];
  const send = () => {
    const own = fitting(prompts.peek());
    const text = JSON.stringify(own);
    if (text === kept) return;
    ask("/api/settings", { json: { settings: { prompts: own } } }).then(
      () => {
        kept = text;
      },
      () => {},
    );
  };
  ask<{ readonly settings: { readonly prompts?: unknown } }>("/api/settings").then(
    ({ settings }) => {
      const others = Array.isArray(settings.prompts) ? settings.prompts.filter((each) => typeof each === "string") : [];
      kept = JSON.stringify(others);
      const all = [...new Set([...prompts.peek(), ...others])].slice(0, MAX_PROMPTS);
      if (all.length > prompts.peek().length) prompts.value = all;
      ends.push(
        effect(() => {
          void prompts.value;
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
