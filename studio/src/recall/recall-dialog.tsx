/** @file What a picture says of how it was made, and what of it the form shall have. */
import "./recall.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import type { JobFields, Recalled } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import { Icon } from "../parts/icon.tsx";
import { titleOf } from "../parts/words.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { go } from "../shell/route.ts";
import { fill, form, withoutSeed } from "../state/form.ts";
import { modelChoice } from "../state/loras.ts";
import { beginWithAsset, beginWithFile } from "../state/start-picture.ts";
import { drawVariations } from "../views/draw/drawing.ts";
import { type RecallSubject, subject } from "./recall.tsx";

/** What the prompts' own part of the dialog shows. */
const PROMPTS = ["prompt", "negativePrompt"] as const;
const SHOWN_APART: readonly string[] = [...PROMPTS, "template", "negativeTemplate"];

export function RecallDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = subject.value;
  useEffect(() => {
    if (shown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [shown]);
  return (
    <dialog
      ref={dialog}
      class="recall"
      aria-label={t("recall.title")}
      closedby="any"
      onClose={() => {
        subject.value = undefined;
      }}
    >
      {shown && <Reading key={keyOf(shown)} picture={shown} close={() => dialog.current?.close()} />}
    </dialog>
  );
}

let next = 1;
const keys = new WeakMap<RecallSubject, number>();

function keyOf(picture: RecallSubject): number {
  const key = keys.get(picture) ?? next++;
  keys.set(picture, key);
  return key;
}

interface ReadingProps {
  readonly picture: RecallSubject;
  readonly close: () => void;
}

function Reading({ picture, close }: ReadingProps) {
  const [recalled, setRecalled] = useState<Recalled>();
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    const failed = (error: unknown) => {
      notifyFailure(error);
      close();
    };
    if ("sha256" in picture) {
      setAddress(`/api/assets/${picture.sha256}`);
      api.settingsOf(picture.sha256).then(setRecalled, failed);
      return undefined;
    }
    if ("text" in picture) {
      api.readText(picture.text).then(setRecalled, failed);
      return undefined;
    }
    const url = URL.createObjectURL(picture.file);
    setAddress(url);
    api.readPicture(picture.file).then(setRecalled, failed);
    return () => URL.revokeObjectURL(url);
  }, [picture]);
  const beginWith = () => {
    if ("sha256" in picture) void beginWithAsset(picture.sha256);
    else if ("file" in picture) void beginWithFile(picture.file);
    go("draw");
    close();
  };
  /** `model`: that it was made with, where it is served here. */
  const use = (job: JobFields, model?: string) => {
    const before = modelChoice.peek();
    if (model !== undefined) modelChoice.value = model;
    fill(job, () => {
      modelChoice.value = before;
    });
    go("draw");
    close();
  };
  const vary = (job: JobFields, model: string | undefined) => {
    void drawVariations(job, model);
    go("draw");
    close();
  };
  const job = recalled?.job;
  return (
    <>
      <div class="dialog-head">
        <h2>{t("recall.title")}</h2>
        <button type="button" class="quiet icon-only" aria-label={t("app.close")} onClick={close}>
          <Icon name="close" />
        </button>
      </div>
      <div class="recall-body">
        {address !== undefined && <img src={address} alt={"name" in picture ? picture.name : t("draw.current")} />}
        <div class="recall-text">{recalled ? <Settings recalled={recalled} /> : <p>{t("app.loading")}</p>}</div>
      </div>
      <div class="actions">
        {job && (
          <>
            <button type="button" class="primary" onClick={() => use(job, recalled.model)}>
              {t("draw.useAll")}
            </button>
            <button type="button" onClick={() => use(withoutSeed(job), recalled.model)}>
              {t("recall.withoutSeed")}
            </button>
            <button type="button" onClick={() => use({ ...form.peek(), ...promptsOf(job) })}>
              {t("recall.promptOnly")}
            </button>
            <button type="button" disabled={job.seed === undefined} onClick={() => vary(job, recalled.model)}>
              {t("draw.variations")}
            </button>
          </>
        )}
        {!("text" in picture) && (
          <button type="button" onClick={beginWith}>
            {t("recall.begin")}
          </button>
        )}
      </div>
    </>
  );
}

/** The template in place of what was drawn from it: it is what the person wrote. */
function promptsOf(job: JobFields): JobFields {
  const { template, negativeTemplate, promptSyntax } = job;
  const words = {
    prompt: template ?? job.prompt,
    negativePrompt: negativeTemplate ?? job.negativePrompt,
    promptSyntax,
  };
  return Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined)) as JobFields;
}

function Settings({ recalled }: { readonly recalled: Recalled }) {
  const { job, templates = {}, remake, notes, others = {}, tool } = recalled;
  if (!job) return <p>{t("recall.nothing")}</p>;
  const fields = Object.entries(job).filter(([name]) => !SHOWN_APART.includes(name));
  return (
    <>
      {remake?.exact ? (
        <p class="tick">
          <Icon name="check" />
          {t("recall.exact")}
        </p>
      ) : (
        <details class="reasons">
          <summary>{t("recall.other")}</summary>
          <ul>
            {remake?.reasons.map((reason) => (
              <li key={reason} dir="auto">
                {reason}
              </li>
            ))}
          </ul>
        </details>
      )}
      {PROMPTS.map((name) => (
        <Prompt key={name} title={titleOf(name)} text={job[name]} template={templates[name]} />
      ))}
      <dl class="settings">
        {[...fields, ...Object.entries(others)].map(([name, value]) => (
          <div key={name}>
            <dt>{Object.hasOwn(others, name) ? name : titleOf(name)}</dt>
            <dd dir="auto">{typeof value === "object" ? JSON.stringify(value) : String(value).slice(0, 200)}</dd>
          </div>
        ))}
      </dl>
      {tool !== undefined && <p class="hint">{t("recall.tool", { tool })}</p>}
      {notes.map((note) => (
        <p key={note} class="hint" dir="auto">
          {note}
        </p>
      ))}
    </>
  );
}

interface PromptProps {
  readonly title: string;
  readonly text: unknown;
  readonly template: string | undefined;
}

function Prompt({ title, text, template }: PromptProps) {
  if (typeof text !== "string" || text === "") return null;
  return (
    <div class="recalled-prompt">
      <h3>{title}</h3>
      {template === undefined ? (
        <p dir="auto">{text}</p>
      ) : (
        <>
          <p dir="auto">
            <span class="badge">{t("recall.template")}</span> {template}
          </p>
          <p dir="auto" class="hint">
            <span class="badge">{t("recall.drawn")}</span> {text}
          </p>
        </>
      )}
    </div>
  );
}
