/** @file Earlier prompts: a list that opens below the prompt's label. */
import { useRef } from "preact/hooks";
import { t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { prompts, setField } from "../../state/form.ts";

export function PromptHistory() {
  const list = useRef<HTMLDivElement>(null);
  return (
    <>
      <button type="button" class="quiet icon-only" aria-label={t("draw.history")} popovertarget="prompt-history">
        <Icon name="history" />
      </button>
      <div ref={list} id="prompt-history" class="menu" popover="auto">
        {prompts.value.length === 0 && <p class="hint">{t("draw.historyEmpty")}</p>}
        <ul>
          {prompts.value.map((each) => (
            <li key={each}>
              <button
                type="button"
                class="quiet"
                dir="auto"
                onClick={() => {
                  setField("prompt", each);
                  list.current?.hidePopover();
                }}
              >
                {each}
              </button>
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}
