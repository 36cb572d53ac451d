/** @file A place for one picture: dropped or chosen, uploaded, and then named by its hash. */
import { useState } from "preact/hooks";
import { api } from "../api/client.ts";
import { t } from "../messages/translate.ts";
import { isPicture } from "../recall/recall.tsx";
import { notify, notifyFailure } from "../shell/notices.tsx";
import { pictureAddress } from "../state/start-picture.ts";
import { Icon } from "./icon.tsx";

/** Words on it, and what is done with a file that is a picture. */
interface DropZoneProps {
  readonly words: string;
  readonly onFile: (file: File) => void;
}

export function DropZone({ words, onFile }: DropZoneProps) {
  const [over, setOver] = useState(false);
  const take = (file: File | undefined) => {
    if (!file) return;
    if (isPicture(file)) onFile(file);
    else notify(t("recall.noPicture"));
  };
  return (
    <label
      class={over ? "drop-zone over" : "drop-zone"}
      onDragOver={(event) => {
        event.preventDefault();
        event.stopPropagation();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        // Elsewhere a dropped picture tells its settings.
        event.preventDefault();
        event.stopPropagation();
        setOver(false);
        take(event.dataTransfer?.files[0]);
      }}
    >
      <input
        class="hidden"
        type="file"
        accept="image/png,image/jpeg,image/webp"
        onChange={({ currentTarget }) => take(currentTarget.files?.[0])}
      />
      <Icon name="picture" />
      {words}
    </label>
  );
}

interface PictureSlotProps {
  readonly label: string;
  /** "sha256:..." or nothing. */
  readonly value: string | undefined;
  readonly onChange: (value: string | undefined) => void;
}

export function PictureSlot({ label, value, onChange }: PictureSlotProps) {
  const address = pictureAddress(value);
  const upload = (file: File) => {
    api.upload(file).then(({ sha256 }) => onChange(`sha256:${sha256}`), notifyFailure);
  };
  if (address === undefined) return <DropZone words={`${label}: ${t("start.choose")}`} onFile={upload} />;
  return (
    <div class="slot">
      <img src={address} alt={label} />
      <button
        type="button"
        class="quiet icon-only"
        aria-label={t("draw.clear", { name: label })}
        onClick={() => onChange(undefined)}
      >
        <Icon name="close" />
      </button>
    </div>
  );
}
