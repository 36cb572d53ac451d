/** @file What the part of a picture shall show that is drawn by itself: words of its own, in the form and in the editor. */
import { useId } from "preact/hooks";
import { t } from "../messages/translate.ts";
import { partPrompt, prompt } from "../state/form.ts";

/** Empty, it is what the prompt says. */
export function PartPrompt({ disabled = false }: { readonly disabled?: boolean }) {
  const id = useId();
  return (
    <div class="field part-prompt">
      <label for={id}>{t("start.partPrompt")}</label>
      <input
        id={id}
        type="text"
        dir="auto"
        placeholder={prompt.value || t("start.partPromptHint")}
        value={partPrompt.value}
        disabled={disabled}
        onInput={({ currentTarget }) => {
          partPrompt.value = currentTarget.value;
        }}
      />
    </div>
  );
}
