/** @file One field of a job as its schema says: which control it has follows from its kind, so a new field needs nothing here. */
import type { JobValue, SchemaField } from "../api/types.ts";
import { ControlsField } from "../controls/controls-field.tsx";
import { LikenessField } from "../likeness/likeness-field.tsx";
import { form, setField, standingOf } from "../state/form.ts";
import { LoraWeights } from "./lora-weights.tsx";
import { PictureSlot } from "./picture-slot.tsx";
import { PicturesField } from "./pictures-field.tsx";
import { Text, ValueControl } from "./value-control.tsx";
import { hintOf, titleOf } from "./words.ts";

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
  const onChange = (next: JobValue | undefined) => setField(name, next);
  switch (kind.type) {
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
      return <LoraWeights name={name} adds />;
    case "controls":
      return <ControlsField field={field} />;
    case "ipAdapters":
      return <LikenessField field={field} />;
    case "pictures":
      return <PicturesField {...{ label, hint, kind, value, onChange }} />;
    default:
      return (
        <ValueControl
          {...{ label, hint, kind, value, onChange }}
          standing={standingOf(field)}
          long={field.group === "Prompts" && kind.type === "text"}
        />
      );
  }
}
