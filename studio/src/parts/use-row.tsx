/** @file What rows of a list of files have in common (ControlNets, IP-Adapters): which file it is, a way to take it away, and in Advanced the settings that have no place of their own. */
import { useId } from "preact/hooks";
import type { FieldKind, JobValue } from "../api/types.ts";
import { maybe, t } from "../messages/translate.ts";
import { mode } from "../state/settings.ts";
import { Icon } from "./icon.tsx";
import { ValueControl } from "./value-control.tsx";

interface NamedUse {
  readonly file: string;
}

/** The same with another value of a setting; undefined takes it away. */
export function withPart<Use extends NamedUse>(use: Use, name: string, value: JobValue | undefined): Use {
  const { [name]: _, ...others } = use as unknown as Readonly<Record<string, unknown>>;
  return (value === undefined ? others : { ...others, [name]: value }) as unknown as Use;
}

interface UseHeadProps<Use extends NamedUse> {
  readonly use: Use;
  /** What it is, for who doesn't see it. */
  readonly label: string;
  /** Those that could stand in its place. */
  readonly files: readonly string[];
  /** Undefined: it is taken away. */
  readonly onChange: (use: Use | undefined) => void;
}

export function UseHead<Use extends NamedUse>({ use, label, files, onChange }: UseHeadProps<Use>) {
  const id = useId();
  const names = files.includes(use.file) ? files : [use.file, ...files];
  return (
    <div class="control-head">
      <label for={id} class="hidden">
        {label}
      </label>
      <select
        id={id}
        value={use.file}
        onChange={({ currentTarget }) => onChange({ ...use, file: currentTarget.value })}
      >
        {names.map((each) => (
          <option key={each} value={each}>
            {each}
          </option>
        ))}
      </select>
      <button
        type="button"
        class="quiet icon-only"
        aria-label={t("draw.clear", { name: use.file })}
        onClick={() => onChange(undefined)}
      >
        <Icon name="close" />
      </button>
    </div>
  );
}

interface OtherPartsProps<Use extends NamedUse> {
  readonly use: Use;
  readonly parts: NonNullable<FieldKind["parts"]>;
  /** Names of those that have places of their own. */
  readonly placed: readonly string[];
  /** Where the catalogue has their titles: "control.part". */
  readonly words: string;
  /** What counts where nobody gave one. */
  readonly standing: Readonly<Record<string, JobValue>>;
  readonly onChange: (use: Use) => void;
}

export function OtherParts<Use extends NamedUse>(props: OtherPartsProps<Use>) {
  const { use, parts, placed, words, standing, onChange } = props;
  if (mode.value !== "advanced") return null;
  return (
    <>
      {parts
        .filter(({ name }) => !placed.includes(name))
        .map(({ name, kind, description }) => (
          <ValueControl
            key={name}
            label={maybe(`${words}.${name}`) ?? name}
            hint={maybe(`${words}.${name}`) === undefined ? description : ""}
            kind={kind}
            value={(use as unknown as Readonly<Record<string, JobValue>>)[name]}
            standing={standing[name]}
            onChange={(value) => onChange(withPart(use, name, value))}
          />
        ))}
    </>
  );
}
