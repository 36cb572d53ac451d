/** @file One network and what it is told: which it is, its picture beside what will be made of it, thresholds, how much it counts; in Advanced the rest that the schema has. */
import { useId } from "preact/hooks";
import {
  CONTROL_THRESHOLDS,
  type ControlPreparation,
  type ControlPreprocessor,
} from "../../../src/image/control-picture.ts";
import type { FieldKind, JobValue } from "../api/types.ts";
import { maybe, t } from "../messages/translate.ts";
import { PictureSlot } from "../parts/picture-slot.tsx";
import { OtherParts, UseHead, withPart } from "../parts/use-row.tsx";
import { ValueControl } from "../parts/value-control.tsx";
import { form, schema } from "../state/form.ts";
import { pictureAddress } from "../state/start-picture.ts";
import { ControlPreview } from "./control-preview.tsx";

/** As the API has it; which parts there are, the schema says. */
export interface ControlUse extends ControlPreparation {
  readonly file: string;
  readonly image?: string | undefined;
  readonly weight?: number | undefined;
}

/** Shares of the steps where nobody gave them. */
const STANDING: Readonly<Record<string, number>> = { start: 0, end: 1 };
/** They have places of their own. */
const PLACED = ["image", "preprocess", "low", "high", "fit", "weight"];
/** Of people's; the API takes more. */
const MOST_WEIGHT = 2;

interface ControlRowProps {
  readonly use: ControlUse;
  readonly kind: FieldKind;
  /** Undefined: it is taken away. */
  readonly onChange: (use: ControlUse | undefined) => void;
}

export function ControlRow({ use, kind: { files = [], parts = [] }, onChange }: ControlRowProps) {
  const id = useId();
  const part = (name: string) => parts.find((each) => each.name === name);
  const change = (name: string, value: JobValue | undefined) => onChange(withPart(use, name, value));
  const choices = (part("preprocess")?.kind.values ?? []).map((each) => [each, wordsOf(each)] as const);
  return (
    <div class="control">
      <UseHead use={use} label={t("control.network")} files={files} onChange={onChange} />
      <Pictures use={use} onImage={(image) => change("image", image)} />
      <div class="field">
        <label for={`${id}-prepare`}>{t("control.prepare")}</label>
        <select
          id={`${id}-prepare`}
          value={use.preprocess ?? "none"}
          onChange={({ currentTarget: { value } }) => {
            const { low: _, high: __, ...others } = use;
            onChange({ ...others, preprocess: value === "none" ? undefined : (value as ControlPreprocessor) });
          }}
        >
          {choices.map(([each, words]) => (
            <option key={each} value={each}>
              {words}
            </option>
          ))}
        </select>
      </div>
      {part("fit") && (
        <ValueControl
          label={t("control.fit")}
          hint=""
          kind={part("fit")!.kind}
          value={use.fit}
          standing="stretch"
          wordsOf={(fit) => maybe(`control.fit.${fit}`) ?? fit}
          onChange={(value) => change("fit", value)}
        />
      )}
      {Object.entries(thresholdsOf(use)).map(([name, standing]) => (
        <ValueControl
          key={name}
          label={t(use.preprocess === "canny" ? `control.${name as "low" | "high"}` : "control.white")}
          hint=""
          // They are compared with bytes.
          kind={{ ...part(name)?.kind, type: "whole" }}
          value={use[name as "low" | "high"]}
          standing={standing}
          onChange={(value) => change(name, value)}
        />
      ))}
      <ValueControl
        label={t("control.weight")}
        hint=""
        kind={{ type: "decimal", min: 0, max: MOST_WEIGHT }}
        value={use.weight}
        standing={1}
        onChange={(value) => change("weight", value)}
      />
      <OtherParts
        use={use}
        parts={parts}
        placed={PLACED}
        words="control.part"
        standing={STANDING}
        onChange={onChange}
      />
    </div>
  );
}

function wordsOf(preprocess: string): string {
  return maybe(`control.prepare.${preprocess}`) ?? preprocess;
}

/** By name, with what counts where nobody gave one. */
function thresholdsOf({ preprocess }: ControlUse): Readonly<Record<string, number>> {
  return preprocess === "canny" || preprocess === "threshold" ? CONTROL_THRESHOLDS[preprocess] : {};
}

/** Without one of its own it looks at the picture to begin with. */
function Pictures({
  use,
  onImage,
}: {
  readonly use: ControlUse;
  readonly onImage: (image: string | undefined) => void;
}) {
  const { initImage, width, height } = form.value;
  const [own] = schema.value?.model.sizes ?? [];
  const address = pictureAddress(use.image ?? initImage);
  const { preprocess, low, high, fit } = use;
  const size = { width: Number(width ?? own?.width ?? 64), height: Number(height ?? own?.height ?? 64) };
  return (
    <div class="control-pictures">
      <PictureSlot label={t("control.picture")} value={use.image} onChange={onImage} />
      {address !== undefined && <ControlPreview {...{ address, preprocess, low, high, fit, ...size }} />}
      {use.image === undefined && (
        <p class="hint">{t(initImage === undefined ? "control.needsPicture" : "control.startPicture")}</p>
      )}
    </div>
  );
}
