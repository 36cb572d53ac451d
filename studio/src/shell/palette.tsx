/** @file The palette: every command by its name, with the keyboard alone (a combobox over a listbox, as WAI-ARIA has it). */
import { signal } from "@preact/signals";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../messages/translate.ts";
import { type Command, commands } from "./commands.ts";

const open = signal(false);

export function openPalette(): void {
  open.value = true;
}

export function Palette() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = open.value;
  // Before the next key: what is typed at once goes into its field.
  useLayoutEffect(() => {
    if (shown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [shown]);
  const close = () => {
    open.value = false;
  };
  return (
    <dialog ref={dialog} class="palette" aria-label={t("palette.open")} onClose={close} closedby="any">
      {shown && <Finder close={close} />}
    </dialog>
  );
}

function Finder({ close }: { readonly close: () => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const found = commands.value.filter(({ title }) => matches(title, text));
  const chosen = found[Math.min(at, found.length - 1)];
  const run = (command: Command | undefined) => {
    if (!command) return;
    close();
    command.run();
  };
  const onKey = (event: KeyboardEvent) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move !== undefined && found.length > 0) {
      event.preventDefault();
      setAt((Math.min(at, found.length - 1) + move + found.length) % found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(chosen);
    }
  };
  return (
    <>
      <input
        type="text"
        role="combobox"
        aria-label={t("palette.find")}
        placeholder={t("palette.find")}
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={chosen ? `palette-${found.indexOf(chosen)}` : undefined}
        value={text}
        onInput={({ currentTarget }) => {
          setText(currentTarget.value);
          setAt(0);
        }}
        onKeyDown={onKey}
      />
      <div id="palette-list" role="listbox" aria-label={t("palette.open")}>
        {found.map((command, index) => (
          // The keyboard moves through them from the text field.
          <div
            key={command.title}
            id={`palette-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={command === chosen}
            onClick={() => run(command)}
            onKeyDown={({ key }) => key === "Enter" && run(command)}
          >
            <span>{command.title}</span>
            {command.keys && <kbd>{command.keys}</kbd>}
          </div>
        ))}
      </div>
      {found.length === 0 && <p class="hint">{t("palette.none")}</p>}
    </>
  );
}

/** All of its words, in any order. */
function matches(title: string, text: string): boolean {
  const lower = title.toLocaleLowerCase();
  return text
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => lower.includes(word));
}
