/**
 * @file A picture's settings back: whoever drops or pastes one anywhere, or asks for a stored one's, sees what it says of itself and takes all of it, all but the
 * seed, or the prompt. The dialog is loaded when it is first needed.
 */
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../messages/translate.ts";
import { notify, notifyFailure } from "../shell/notices.tsx";

/** A file of any program's, or the hash of a picture that the server has. */
export type RecallSubject = { readonly file: Blob; readonly name: string } | { readonly sha256: string };

export const subject = signal<RecallSubject | undefined>(undefined);

const TYPES = ["image/png", "image/jpeg", "image/webp"];

export function openRecall(picture: RecallSubject): void {
  subject.value = picture;
}

export function isPicture({ type }: Blob): boolean {
  return TYPES.includes(type);
}

/** Looks for dropped and pasted pictures while it is shown. */
export function Recall() {
  const [over, setOver] = useState(false);
  const [loaded, setLoaded] = useState<{ readonly Dialog: ComponentType }>();
  useEffect(() => follow(setOver), []);
  const wanted = subject.value !== undefined;
  useEffect(() => {
    if (wanted && !loaded) {
      import("./recall-dialog.tsx").then(({ RecallDialog }) => setLoaded({ Dialog: RecallDialog }), notifyFailure);
    }
  }, [wanted]);
  return (
    <>
      {over && <div class="drop-hint">{t("recall.drop")}</div>}
      {loaded && <loaded.Dialog />}
    </>
  );
}

function take(files: Iterable<File>): void {
  const [first] = files;
  if (!first) return;
  if (isPicture(first)) openRecall({ file: first, name: first.name });
  else notify(t("recall.noPicture"));
}

/** What has a drop of its own (a picture to begin with) stops the event before it gets here. */
function follow(setOver: (over: boolean) => void): () => void {
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  const onOver = (event: DragEvent) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    setOver(true);
  };
  const onLeave = (event: DragEvent) => {
    if (event.relatedTarget === null) setOver(false);
  };
  const onDrop = (event: DragEvent) => {
    setOver(false);
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer!.files);
  };
  const onPaste = ({ clipboardData }: ClipboardEvent) => take([...(clipboardData?.files ?? [])]);
  addEventListener("dragover", onOver);
  addEventListener("dragleave", onLeave);
  addEventListener("drop", onDrop);
  addEventListener("paste", onPaste);
  return () => {
    removeEventListener("dragover", onOver);
    removeEventListener("dragleave", onLeave);
    removeEventListener("drop", onDrop);
    removeEventListener("paste", onPaste);
  };
}
