/** @file One field of a job as its schema says: which control it has follows from its kind, so a new field needs nothing here. */
import { useId } from "preact/hooks";
import type { JobValue, SchemaField } from "../api/types.ts";
import { maybe, t } from "../messages/translate.ts";
import { form, setField, standingOf } from "../state/form.ts";
import { Icon } from "./icon.tsx";
import { PicturesField, UsesField } from "./list-fields.tsx";
import { NumberField } from "./number-field.tsx";
import { PictureSlot } from "./picture-slot.tsx";

/** Its words in the language, or its name as words: "guidanceRescale" is "Guidance rescale". */
export function titleOf(name: string): string {
  const words = name.replaceAll(/([a-z])([A-Z0-9])/g, "$1 $2").toLowerCase();
  return maybe(`field.${name}`) ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** The server's own words are English. */
function Hint({ id, text }: { readonly id: string; readonly text: string }) {
  return (
    <p id={`${id}-hint`} class="hint" dir="auto">
      {text}
    </p>
  );
}

function hintOf({ name, description, absent }: SchemaField): string {
  const words = maybe(`hint.${name}`) ?? description;
  return absent === undefined ? words : `${words} (${t("draw.standing", { value: absent })})`;
}

export function Field({ field }: { readonly field: SchemaField }) {
  return (
    <div data-field={field.name}>
      <Control field={field} />
    </div>
  );
}

function Control({ field }: { readonly field: SchemaField }) {
  const { name, kind } = field;
  const label = titleOf(name);
  const hint = hintOf(field);
  const value = form.value[name];
  const standing = standingOf(field);
  const onChange = (next: JobValue | undefined) => setField(name, next);
  switch (kind.type) {
    case "whole":
    case "decimal":
      return <NumberField {...{ label, hint, kind, value, standing, onChange }} />;
    case "choice":
    case "named":
      return <Select {...{ label, hint, value, standing, onChange }} values={kind.values ?? []} />;
    case "switch":
      return <Switch {...{ label, hint, onChange }} value={value === true} />;
    case "seed":
      return <Seed {...{ label, hint, value, onChange }} />;
    case "files":
      return (
        <Text
          {...{ label, hint }}
          value={Array.isArray(value) ? value.join(", ") : ""}
          onChange={(text) => onChange(text === "" ? undefined : text.split(",").map((each) => each.trim()))}
        />
      );
    case "picture":
      return <PictureSlot label={label} value={value === undefined ? undefined : String(value)} onChange={onChange} />;
    case "loras":
    case "controls":
      return <UsesField {...{ label, hint, kind, value, onChange }} />;
    case "pictures":
      return <PicturesField {...{ label, hint, kind, value, onChange }} />;
    default:
      return (
        <Text
          {...{ label, hint }}
          value={String(value ?? "")}
          long={field.group === "Prompts" && kind.type === "text"}
          maxChars={kind.maxChars}
          onChange={(text) => onChange(text === "" ? undefined : text)}
        />
      );
  }
}

interface ControlProps {
  readonly label: string;
  readonly hint: string;
}

interface ValueProps extends ControlProps {
  readonly value: JobValue | undefined;
  readonly onChange: (value: JobValue | undefined) => void;
}

interface SelectProps extends ValueProps {
  readonly values: readonly string[];
  readonly standing: JobValue | undefined;
}

function Select({ label, hint, value, values, standing, onChange }: SelectProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select
        id={id}
        aria-describedby={`${id}-hint`}
        value={String(value ?? "")}
        onChange={({ currentTarget }) => onChange(currentTarget.value === "" ? undefined : currentTarget.value)}
      >
        <option value="">
          {standing === undefined ? t("field.default") : t("draw.standing", { value: String(standing) })}
        </option>
        {values.map((each) => (
          <option key={each} value={each}>
            {each}
          </option>
        ))}
      </select>
      <Hint id={id} text={hint} />
    </div>
  );
}

interface SwitchProps extends ControlProps {
  readonly value: boolean;
  readonly onChange: (value: boolean | undefined) => void;
}

function Switch({ label, hint, value, onChange }: SwitchProps) {
  const id = useId();
  return (
    <div class="field switch">
      <label>
        <input
          type="checkbox"
          checked={value}
          aria-describedby={`${id}-hint`}
          onChange={({ currentTarget }) => onChange(currentTarget.checked || undefined)}
        />
        {label}
      </label>
      <Hint id={id} text={hint} />
    </div>
  );
}

interface TextProps extends ControlProps {
  readonly value: string;
  readonly long?: boolean;
  readonly maxChars?: number;
  readonly onChange: (value: string) => void;
}

function Text({ label, hint, value, long = false, maxChars, onChange }: TextProps) {
  const id = useId();
  const Tag = long ? "textarea" : "input";
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <Tag
        id={id}
        dir="auto"
        value={value}
        maxLength={maxChars}
        aria-describedby={`${id}-hint`}
        onInput={({ currentTarget }: { readonly currentTarget: HTMLInputElement | HTMLTextAreaElement }) =>
          onChange(currentTarget.value)
        }
      />
      <Hint id={id} text={hint} />
    </div>
  );
}

/** Digits: seeds go past what a number holds. */
function Seed({ label, hint, value, onChange }: ValueProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="number">
        <input
          id={id}
          type="text"
          inputMode="numeric"
          aria-describedby={`${id}-hint`}
          placeholder={t("draw.random")}
          value={String(value ?? "")}
          onInput={({ currentTarget }) => {
            const digits = currentTarget.value.replaceAll(/\D/g, "").slice(0, 20);
            currentTarget.value = digits;
            const read = Number(digits);
            onChange(digits === "" ? undefined : Number.isSafeInteger(read) ? read : digits);
          }}
        />
        <button
          type="button"
          class="icon-only"
          aria-label={`${label}: ${t("draw.random")}`}
          onClick={() => onChange(undefined)}
        >
          <Icon name="dice" />
        </button>
      </div>
      <Hint id={id} text={hint} />
    </div>
  );
}
