/** @file The control for one value, by its kind: a number, one of a list, a switch, a seed, a text. It knows no form. */
import { useId } from "preact/hooks";
import type { FieldKind, JobValue } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { Icon } from "./icon.tsx";
import { NumberField } from "./number-field.tsx";

/** The server's own words are English. */
function Hint({ id, text }: { readonly id: string; readonly text: string }) {
  return (
    <p id={`${id}-hint`} class="hint" dir="auto">
      {text}
    </p>
  );
}

interface ValueControlProps {
  readonly label: string;
  readonly hint: string;
  readonly kind: FieldKind;
  readonly value: JobValue | undefined;
  /** What counts where there is none. */
  readonly standing?: JobValue | undefined;
  /** A text of several lines. */
  readonly long?: boolean;
  /** Words for a choice's values. Default: the values. */
  readonly wordsOf?: (value: string) => string;
  readonly onChange: (value: JobValue | undefined) => void;
}

export function ValueControl({ kind, standing, long = false, wordsOf, ...props }: ValueControlProps) {
  const { value, onChange, label, hint } = props;
  switch (kind.type) {
    case "whole":
    case "decimal":
      return <NumberField {...{ ...props, kind, standing }} />;
    case "choice":
    case "named":
      return <Select {...{ ...props, standing, wordsOf }} values={kind.values ?? []} />;
    case "switch":
      return <Switch {...{ label, hint, onChange }} value={value === true} />;
    case "seed":
      return <Seed {...props} />;
    default:
      return (
        <Text
          {...{ label, hint, long }}
          value={String(value ?? "")}
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
  readonly wordsOf?: ((value: string) => string) | undefined;
}

function Select({ label, hint, value, values, standing, wordsOf = String, onChange }: SelectProps) {
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
          {standing === undefined ? t("field.default") : t("draw.standing", { value: wordsOf(String(standing)) })}
        </option>
        {values.map((each) => (
          <option key={each} value={each}>
            {wordsOf(each)}
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
  readonly maxChars?: number | undefined;
  readonly onChange: (value: string) => void;
}

export function Text({ label, hint, value, long = false, maxChars, onChange }: TextProps) {
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
