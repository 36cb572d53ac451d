/** @file One IP-Adapter and what it is told: which it is, its pictures with their masks, how much they count; in Advanced the rest that the schema has. */
import type { FieldKind, JobValue } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { PictureSlot } from "../parts/picture-slot.tsx";
import { OtherParts, UseHead, withPart } from "../parts/use-row.tsx";
import { ValueControl } from "../parts/value-control.tsx";
import { notifyFailure } from "../shell/notices.tsx";
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
  return (
    <div class="control">
      <UseHead use={use} label={t("likeness.adapter")} files={files} onChange={onChange} />
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
        onChange={(value) => onChange(withPart(use, "weight", value))}
      />
      <OtherParts
        use={use}
        parts={parts}
        placed={PLACED}
        words="likeness.part"
        standing={{ ...STANDING, encoder: t("likeness.fitting") }}
        onChange={onChange}
      />
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
