/**
 * @file A picture's settings back: whoever drops or pastes one anywhere, or its text alone (an infotext, a graph of ComfyUI), or asks for a stored one's,
 * sees what it says of itself and takes all of it, all but the seed, or the prompt. The dialog is loaded when it is first needed.
 */
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../messages/translate.ts";
import { notify, notifyFailure } from "../shell/notices.tsx";

/** A file of any program's, a text that was in one, or the hash of a picture that the server has. */
export type RecallSubject =
  | { readonly file: Blob; readonly name: string }
  | { readonly text: string }
  | { readonly sha256: string };

export const subject = signal<RecallSubject | undefined>(undefined);

const TYPES = ["image/png", "image/jpeg", "image/webp"];
/** Workflows and infotexts are kept as such files, too. */
const TEXT_TYPES = ["text/plain", "application/json"];
const MAX_TEXT_CHARS = 500_000;
/** What nobody writes into a prompt: A1111's line of settings, or JSON as programs write it. */
const SETTINGS_LINE = /^Steps: \d+, /m;
const JSON_NAMES = /"(?:class_type|prompt|version)"\s*:/;

function openRecall(picture: RecallSubject): void {
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
  else if (TEXT_TYPES.includes(first.type) && first.size <= MAX_TEXT_CHARS) {
    first.text().then((text) => openRecall({ text }), notifyFailure);
  } else notify(t("recall.noPicture"));
}

/** Texts that are no settings go where the cursor is, as ever. */
function paste(event: ClipboardEvent): void {
  const { clipboardData } = event;
  if (!clipboardData) return;
  if (clipboardData.files.length > 0) {
    take(clipboardData.files);
    return;
  }
  const text = clipboardData.getData("text/plain");
  const tells = SETTINGS_LINE.test(text) || (text.trimStart().startsWith("{") && JSON_NAMES.test(text));
  if (text.length > MAX_TEXT_CHARS || !tells) return;
  event.preventDefault();
  openRecall({ text });
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
  addEventListener("dragover", onOver);
  addEventListener("dragleave", onLeave);
  addEventListener("drop", onDrop);
  addEventListener("paste", paste);
  return () => {
    removeEventListener("dragover", onOver);
    removeEventListener("dragleave", onLeave);
    removeEventListener("drop", onDrop);
    removeEventListener("paste", paste);
  };
}
