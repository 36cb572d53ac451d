/** @file Short notices at the edge: what was done, with a way to undo it, and what went wrong. */
import { signal } from "@preact/signals";
import { ApiError } from "../api/client.ts";
import { maybe, t } from "../messages/translate.ts";
import { Icon } from "../parts/icon.tsx";

interface Notice {
  readonly id: number;
  readonly text: string;
  readonly isError: boolean;
  readonly action?: { readonly title: string; readonly run: () => void };
}

const SHOWN_MS = 6_000;
const MAX_NOTICES = 4;
const notices = signal<readonly Notice[]>([]);
let next = 1;

export function notify(text: string, action?: Notice["action"]): void {
  add({ text, isError: false, ...(action && { action }) });
}

/** For people: in the language's own words where it has some for the code, else what the server says of it. */
export function notifyFailure(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  const own = error instanceof ApiError ? maybe(`error.${error.code}`) : undefined;
  add({ text: own ?? (error instanceof Error ? error.message : String(error)), isError: true });
}

function add(notice: Omit<Notice, "id">): void {
  const id = next++;
  notices.value = [...notices.value.slice(1 - MAX_NOTICES), { ...notice, id }];
  setTimeout(() => dismiss(id), notice.isError ? 2 * SHOWN_MS : SHOWN_MS);
}

function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

export function Notices() {
  return (
    <section class="notices" aria-label={t("app.notices")} aria-live="polite">
      {notices.value.map(({ id, text, isError, action }) => (
        <div key={id} class={isError ? "notice bad" : "notice"} role={isError ? "alert" : undefined}>
          <p>{text}</p>
          {action && (
            <button
              type="button"
              class="quiet"
              onClick={() => {
                dismiss(id);
                action.run();
              }}
            >
              {action.title}
            </button>
          )}
          <button type="button" class="quiet icon-only" aria-label={t("app.dismiss")} onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </section>
  );
}
