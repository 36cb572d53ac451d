/** @file The LoRAs that are in use, each with a slider for its weight. */
import "./lora-weights.css";
import { useId } from "preact/hooks";
import { number, t } from "../messages/translate.ts";
import { dropLora, LORA_WEIGHTS, type LoraUse, loras, weighLora } from "../state/loras.ts";
import { Icon } from "./icon.tsx";

/** Nothing where none is in use. */
export function LoraWeights() {
  if (loras.value.length === 0) return null;
  return (
    <ul class="lora-weights" aria-label={t("models.inUse")}>
      {loras.value.map((use) => (
        <Weight key={use.file} use={use} />
      ))}
    </ul>
  );
}

function Weight({ use: { file, weight = LORA_WEIGHTS.standing } }: { readonly use: LoraUse }) {
  const id = useId();
  const name = file.replace(/\.safetensors$/, "");
  const words = number(weight, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return (
    <li>
      <label for={id} dir="auto">
        {name}
      </label>
      <input
        id={id}
        type="range"
        min={LORA_WEIGHTS.min}
        max={LORA_WEIGHTS.max}
        step={LORA_WEIGHTS.step}
        value={weight}
        aria-valuetext={words}
        onInput={({ currentTarget }) => weighLora(file, Number(currentTarget.value))}
      />
      <output for={id}>{words}</output>
      <button
        type="button"
        class="quiet icon-only"
        aria-label={t("models.drop", { name })}
        onClick={() => dropLora(file)}
      >
        <Icon name="close" />
      </button>
    </li>
  );
}
