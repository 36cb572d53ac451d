/** @file One IP-Adapter and what it is told: which it is, its pictures with their masks, how much they count; in Advanced the rest that the schema has. */
import { useId } from "preact/hooks";
import type { FieldKind, JobValue } from "../api/types.ts";
import { maybe, t } from "../messages/translate.ts";
import { Icon } from "../parts/icon.tsx";
import { PictureSlot } from "../parts/picture-slot.tsx";
import { ValueControl } from "../parts/value-control.tsx";
import { notifyFailure } from "../shell/notices.tsx";
import { mode } from "../state/settings.ts";
import { masksWith } from "./masks.ts";

/** As the API has it; which parts there are, the schema says. */
export interface Likeness {
  readonly file: string;
  readonly images?: readonly string[] | undefined;
  /** None, or one for each picture. */
  readonly masks?: readonly string[] | undefined;
  readonly weight?: number | undefined;
}

/** Shares of the steps where nobody gave them. */
const STANDING: Readonly<Record<string, JobValue>> = { start: 0, end: 1 };
/** They have places of their own. */
const PLACED = ["images", "masks", "weight"];
/** Of people's; the API takes more. */
const MOST_WEIGHT = 2;

interface LikenessRowProps extends Required<Pick<FieldKind, "files" | "parts">> {
  readonly use: Likeness;
  /** Undefined: it is taken away. */
  readonly onChange: (use: Likeness | undefined) => void;
}

export function LikenessRow({ use, files, parts, onChange }: LikenessRowProps) {
  const id = useId();
  const change = (name: string, value: JobValue | undefined) => {
    const { [name]: _, ...others } = use as unknown as Readonly<Record<string, unknown>>;
    onChange((value === undefined ? others : { ...others, [name]: value }) as unknown as Likeness);
  };
  const names = files.includes(use.file) ? files : [use.file, ...files];
  return (
    <div class="control">
      <div class="control-head">
        <label for={id} class="hidden">
          {t("likeness.adapter")}
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
      <Pictures
        use={use}
        most={parts.find(({ name }) => name === "images")?.kind.maxCount ?? 1}
        onChange={(changed) => onChange({ ...use, ...changed })}
      />
      <ValueControl
        label={t("likeness.weight")}
        hint=""
        kind={{ type: "decimal", min: 0, max: MOST_WEIGHT }}
        value={use.weight}
        standing={1}
        onChange={(value) => change("weight", value)}
      />
      {mode.value === "advanced" &&
        parts
          .filter(({ name }) => !PLACED.includes(name))
          .map(({ name, kind, description }) => (
            <ValueControl
              key={name}
              label={maybe(`likeness.part.${name}`) ?? name}
              hint={maybe(`likeness.part.${name}`) === undefined ? description : ""}
              kind={kind}
              value={(use as unknown as Readonly<Record<string, JobValue>>)[name]}
              standing={name === "encoder" ? t("likeness.fitting") : STANDING[name]}
              onChange={(value) => change(name, value)}
            />
          ))}
    </div>
  );
}

interface PicturesProps {
  readonly use: Likeness;
  readonly most: number;
  readonly onChange: (changed: Pick<Likeness, "images" | "masks">) => void;
}

/** A picture beside where it counts, and a place for one more. */
function Pictures({ use: { images = [], masks }, most, onChange }: PicturesProps) {
  const without = (list: readonly string[] | undefined, at: number) => {
    const left = list?.toSpliced(at, 1) ?? [];
    return left.length === 0 ? undefined : left;
  };
  const mask = (at: number, value: string | undefined) => {
    masksWith(masks, images.length, at, value).then((next) => onChange({ images, masks: next }), notifyFailure);
  };
  const add = (image: string | undefined) => {
    if (image === undefined) return;
    const next = [...images, image];
    if (!masks) onChange({ images: next });
    else
      masksWith(masks, next.length, images.length, undefined).then(
        (all) => onChange({ images: next, masks: all }),
        notifyFailure,
      );
  };
  return (
    <>
      {images.map((image, at) => (
        <div class="control-pictures" key={`${at}`}>
          <PictureSlot
            label={t("likeness.picture")}
            value={image}
            onChange={(changed) =>
              changed === undefined
                ? onChange({ images: without(images, at), masks: without(masks, at) })
                : onChange({ images: images.with(at, changed), masks })
            }
          />
          <PictureSlot label={t("likeness.mask")} value={masks?.[at]} onChange={(changed) => mask(at, changed)} />
          <p class="hint">{t("likeness.maskHint")}</p>
        </div>
      ))}
      {images.length < most && (
        <div class="control-pictures">
          <PictureSlot
            key={`new-${images.length}`}
            label={t(images.length === 0 ? "likeness.picture" : "likeness.more")}
            value={undefined}
            onChange={add}
          />
          {images.length === 0 && <p class="hint">{t("likeness.needsPicture")}</p>}
        </div>
      )}
    </>
  );
}
