/** @file The models: those that are served, of which one draws, and those that lie in the cache, with imports and their progress. */
import { useId } from "preact/hooks";
import { beginImport, cancelImport, type ImportState, type Library, type LibraryModel } from "../../api/library.ts";
import { number, t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { notifyFailure } from "../../shell/notices.tsx";
import { modelChoice } from "../../state/loras.ts";
import { refreshLibrary } from "./library-state.ts";

export function Models({ library: { models, imports } }: { readonly library: Library }) {
  const served = models.filter((model) => model.served);
  const cached = models.filter((model) => !model.served);
  return (
    <section aria-labelledby="models-models">
      <h2 id="models-models">{t("models.models")}</h2>
      <fieldset class="served">
        <legend class="hint">{t("models.served")}</legend>
        {served.map((model) => (
          <Served key={model.name} model={model} isOnly={served.length === 1} />
        ))}
      </fieldset>
      {cached.length > 0 && (
        <>
          <h3>{t("models.cached")}</h3>
          <p class="hint">{t("models.cachedHint")}</p>
          <ul class="cached">
            {cached.map((model) => (
              <Cached key={model.name} model={model} state={imports.find((each) => each.model === model.name)} />
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

function Served({ model, isOnly }: { readonly model: LibraryModel; readonly isOnly: boolean }) {
  const { name, standing = false, open = false } = model;
  const id = useId();
  const isChosen = isOnly || modelChoice.value === name || (modelChoice.value === "" && standing);
  return (
    <div class="served-model">
      <input
        id={id}
        type="radio"
        name="model"
        checked={isChosen}
        onChange={() => {
          modelChoice.value = standing ? "" : name;
        }}
      />
      <label for={id} dir="auto">
        {name}
      </label>
      {open && <span class="badge">{t("models.open")}</span>}
    </div>
  );
}

function Cached({ model, state }: { readonly model: LibraryModel; readonly state: ImportState | undefined }) {
  const { name, problem } = model;
  const does = (work: Promise<unknown>) => void work.then(refreshLibrary).catch(notifyFailure);
  const isOpen = state?.state === "waiting" || state?.state === "running";
  return (
    <li class={problem === undefined ? "cached-model" : "cached-model unfit"}>
      <span dir="auto">{name}</span>
      {problem !== undefined && (
        <span class="wrong" lang="en" dir="ltr">
          {problem}
        </span>
      )}
      {isOpen && <Progress state={state} />}
      {state?.state === "done" && (
        <span class="done">
          <Icon name="check" />
          {t("models.imported")}
        </span>
      )}
      {state?.state === "failed" && (
        <span class="wrong" lang="en" dir="ltr">
          {state.error?.message}
        </span>
      )}
      {isOpen ? (
        <button type="button" onClick={() => does(cancelImport(state.id))}>
          {t("app.cancel")}
        </button>
      ) : (
        problem === undefined &&
        state?.state !== "done" && (
          <button type="button" aria-label={t("models.importName", { name })} onClick={() => does(beginImport(name))}>
            {t("models.import")}
          </button>
        )
      )}
    </li>
  );
}

function Progress({ state: { model, doneBytes, totalBytes } }: { readonly state: ImportState }) {
  const share = totalBytes > 0 ? doneBytes / totalBytes : undefined;
  return (
    <span class="importing">
      <progress
        aria-label={t("models.importing", { name: model })}
        {...(share !== undefined && { value: share })}
        max={1}
      />
      {share !== undefined && number(share, { style: "percent" })}
    </span>
  );
}
