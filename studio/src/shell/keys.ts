/** @file Keys that work everywhere. */
import { commands } from "./commands.ts";
import { openPalette } from "./palette.tsx";

/** Returns what takes them away. */
export function installKeys(): () => void {
  const onKey = (event: KeyboardEvent) => {
    const name = nameOf(event);
    if (name === "Ctrl+K") {
      event.preventDefault();
      openPalette();
      return;
    }
    const command = commands.peek().find(({ keys }) => keys === name);
    if (!command || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    command.run();
  };
  addEventListener("keydown", onKey);
  return () => removeEventListener("keydown", onKey);
}

/** "Ctrl+Enter"; the Mac's command key is Ctrl here. */
function nameOf({ ctrlKey, metaKey, altKey, shiftKey, key, code }: KeyboardEvent): string {
  // With Alt, many layouts give another character.
  const digit = /^Digit(\d)$/.exec(code)?.[1];
  const plain = altKey && digit !== undefined ? digit : key.length === 1 ? key.toUpperCase() : key;
  return [(ctrlKey || metaKey) && "Ctrl", altKey && "Alt", shiftKey && "Shift", plain].filter(Boolean).join("+");
}
