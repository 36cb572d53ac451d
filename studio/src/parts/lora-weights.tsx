/** @file The LoRAs that are in use, each with its weight: a slider and its number. Every view shows the same ones. */
import "./lora-weights.css";
import { useId, useState } from "preact/hooks";
import { askLibrary } from "../api/library.ts";
import { number, t } from "../messages/translate.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { dropLora, LORA_WEIGHTS, type LoraUse, lorasOf, useLora, weighLora } from "../state/loras.ts";
import { Icon } from "./icon.tsx";
import { titleOf } from "./words.ts";

interface LoraWeightsProps {
  /** The field that holds them. Default: the picture's own. */
  readonly name?: string;
  /** More can be added by name; else nothing is shown where none is in use. */
  readonly adds?: boolean;
}

export function LoraWeights({ name = "loras", adds = false }: LoraWeightsProps) {
  const used = lorasOf(name);
  if (used.length === 0 && !adds) return null;
  const title = name === "loras" ? t("models.inUse") : titleOf(name);
  return (
    <fieldset class="lora-weights">
      <legend>{title}</legend>
      {used.length > 0 && (
        <ul aria-label={title}>
          {used.map((use) => (
            <Weight key={use.file} use={use} field={name} />
          ))}
        </ul>
      )}
      {adds && <Adding field={name} />}
    </fieldset>
  );
}

interface WeightProps {
  readonly use: LoraUse;
  readonly field: string;
}

function Weight({ use: { file, weight = LORA_WEIGHTS.standing }, field }: WeightProps) {
  const id = useId();
  const [typed, setTyped] = useState<string>();
  const name = file.replace(/\.safetensors$/, "");
  const words = number(weight, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const take = (text: string) => {
    const read = Number(text.replace(",", "."));
    const fits = text.trim() !== "" && Math.abs(read) <= LORA_WEIGHTS.most;
    if (fits) weighLora(file, read, field);
    setTyped(text);
  };
  return (
    <li>
      <label for={id} dir="auto" title={name}>
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
        onInput={({ currentTarget }) => weighLora(file, Number(currentTarget.value), field)}
      />
      <input
        type="text"
        inputMode="decimal"
        aria-label={t("models.weightOf", { name })}
        value={typed ?? words}
        onInput={({ currentTarget }) => take(currentTarget.value)}
        onBlur={() => setTyped(undefined)}
      />
      <button
        type="button"
        class="quiet icon-only"
        aria-label={t("models.drop", { name })}
        onClick={() => dropLora(file, field)}
      >
        <Icon name="close" />
      </button>
    </li>
  );
}

/** Names of the machine's own are offered once somebody wants to type one. */
function Adding({ field }: { readonly field: string }) {
  const id = useId();
  const [name, setName] = useState("");
  const [known, setKnown] = useState<readonly string[]>();
  const learn = () => {
    if (known) return;
    setKnown([]);
    askLibrary().then(({ adapters }) => {
      const fits = adapters.filter(({ kind, problem }) => kind === "lora" && problem === undefined);
      setKnown(fits.map((adapter) => adapter.name));
    }, notifyFailure);
  };
  const add = () => {
    const file = name.trim();
    if (file === "") return;
    useLora(file, field);
    setName("");
  };
  return (
    <div class="lora-adding">
      <input
        type="text"
        dir="auto"
        list={id}
        aria-label={t("models.addName")}
        placeholder={t("models.addName")}
        value={name}
        onFocus={learn}
        onInput={({ currentTarget }) => setName(currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
          // The form is not sent by it.
          event.preventDefault();
          add();
        }}
      />
      <datalist id={id}>
        {known?.map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
      <button type="button" class="quiet" disabled={name.trim() === ""} onClick={add}>
        {t("uses.add")}
      </button>
    </div>
  );
}
