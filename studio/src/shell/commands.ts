/** @file What the palette and the keys offer: views add their own while they are shown. */
import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { t } from "../messages/translate.ts";
import { VIEWS } from "../views.ts";
import { go } from "./route.ts";

export interface Command {
  readonly title: string;
  readonly run: () => void;
  /** As people write it: "Ctrl+Enter". */
  readonly keys?: string;
}

const added = signal<readonly { readonly commands: () => readonly Command[] }[]>([]);

export const commands = computed<readonly Command[]>(() => [
  ...added.value.flatMap(({ commands: own }) => own()),
  ...VIEWS.map(({ name, title }, at) => ({
    title: t("palette.go", { view: t(title) }),
    run: () => go(name),
    keys: `Alt+${at + 1}`,
  })),
]);

/** While the component is shown; `own` is asked anew whenever a signal in it changes. */
export function useCommands(own: () => readonly Command[]): void {
  useEffect(() => {
    const entry = { commands: own };
    added.value = [entry, ...added.peek()];
    return () => {
      added.value = added.peek().filter((each) => each !== entry);
    };
  }, []);
}
