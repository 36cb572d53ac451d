/** @file The models: those that are served, of which one draws, and those that lie in the cache, with imports and their progress. */
import { useId } from "preact/hooks";
import { plainWords } from "../../api/client.ts";
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
          <Served
            key={model.name}
            model={model}
            isOnly={served.length === 1}
            state={imports.find((each) => each.model === model.name)}
          />
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

interface ServedProps extends ImportingProps {
  readonly isOnly: boolean;
}

function Served({ model, state, isOnly }: ServedProps) {
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
      <Importing {...{ model, state }} />
    </div>
  );
}

interface ImportingProps {
  readonly model: LibraryModel;
  readonly state: ImportState | undefined;
}

function Cached({ model, state }: ImportingProps) {
  const { name, problem } = model;
  return (
    <li class={problem === undefined ? "cached-model" : "cached-model unfit"}>
      <span dir="auto">{name}</span>
      {problem !== undefined && (
        <span class="wrong" lang="en" dir="ltr">
          {problem}
        </span>
      )}
      <Importing {...{ model, state }} />
    </li>
  );
}

/** How far its import is, with a way to stop it; or a way to begin one. Nothing where there is nothing to import. */
function Importing({ model: { name, importable }, state }: ImportingProps) {
  const does = (work: Promise<unknown>) => void work.then(refreshLibrary).catch(notifyFailure);
  if (state?.state === "waiting" || state?.state === "running") {
    return (
      <>
        <Progress state={state} />
        <button
          type="button"
          aria-label={t("models.cancelImport", { name })}
          onClick={() => does(cancelImport(state.id))}
        >
          {t("app.cancel")}
        </button>
      </>
    );
  }
  if (state?.state === "done") {
    return (
      <span class="done">
        <Icon name="check" />
        {t("models.imported")}
      </span>
    );
  }
  return (
    <>
      {state?.state === "failed" && (
        <span class="wrong" lang="en" dir="ltr">
          {plainWords(state.error?.message ?? "")}
        </span>
      )}
      {importable && (
        <button type="button" aria-label={t("models.importName", { name })} onClick={() => does(beginImport(name))}>
          {t("models.import")}
        </button>
      )}
    </>
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
