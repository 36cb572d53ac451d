/** @file Models and adapters as they lie on the machine: which model draws, LoRAs with their weights, words that they listen to, imports. */
import "./models.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Adapter, pictureOfAdapter } from "../../api/library.ts";
import { t } from "../../messages/translate.ts";
import { Icon } from "../../parts/icon.tsx";
import { LoraWeights } from "../../parts/lora-weights.tsx";
import { useCommands } from "../../shell/commands.ts";
import { notify, notifyFailure } from "../../shell/notices.tsx";
import { addWords, dropLora, loras, useLora } from "../../state/loras.ts";
import { followLibrary, found, library, words } from "./library-state.ts";
import { Models } from "./model-list.tsx";

/** Cards at first, and more of them each time that is asked. */
const PAGE = 120;

export default function ModelsView() {
  useEffect(() => followLibrary(notifyFailure), []);
  const search = useRef<HTMLInputElement>(null);
  const [shown, setShown] = useState(PAGE);
  useCommands(() => [{ title: t("models.search"), keys: "/", run: () => search.current?.focus() }]);
  const adapters = library.value?.adapters ?? [];
  return (
    <div class="page models">
      <h1>{t("nav.models")}</h1>
      {library.value === undefined ? (
        <p class="empty">{t("app.loading")}</p>
      ) : (
        <>
          <Models library={library.value} />
          <section aria-labelledby="models-adapters">
            <div class="models-head">
              <h2 id="models-adapters">{t("models.adapters")}</h2>
              <label class="find">
                <span class="hidden">{t("models.search")}</span>
                <Icon name="search" />
                <input
                  ref={search}
                  type="search"
                  value={words.value}
                  placeholder={t("models.searchHint")}
                  onInput={({ currentTarget }) => {
                    words.value = currentTarget.value;
                    setShown(PAGE);
                  }}
                />
              </label>
              <span class="hint" role="status">
                {t("models.count", { count: found.value.length })}
              </span>
            </div>
            <LoraWeights />
            {adapters.length === 0 && <p class="empty">{t("models.none")}</p>}
            <ul class="adapters">
              {found.value.slice(0, shown).map((adapter) => (
                <Card key={adapter.id} adapter={adapter} />
              ))}
            </ul>
            {found.value.length > shown && (
              <button type="button" onClick={() => setShown(shown + PAGE)}>
                {t("models.more")}
              </button>
            )}
          </section>
        </>
      )}
    </div>
  );
}

function Card({ adapter }: { readonly adapter: Adapter }) {
  const { id, kind, name, folder, what, triggers, tags, pictured, problem } = adapter;
  const [isLost, setLost] = useState(false);
  const isUsed = kind === "lora" && loras.value.some(({ file }) => file === name);
  const use = () => {
    if (kind === "embedding") {
      addWords(name);
      notify(t("models.inPrompt", { words: name }));
    } else if (isUsed) dropLora(name);
    else useLora(name);
  };
  return (
    <li class={problem === undefined ? "adapter" : "adapter unfit"}>
      <div class="adapter-picture" aria-hidden="true">
        {pictured && !isLost ? (
          <img src={pictureOfAdapter(id)} alt="" loading="lazy" decoding="async" onError={() => setLost(true)} />
        ) : (
          name.slice(0, 2)
        )}
      </div>
      <div class="adapter-words">
        <h3 dir="auto">{name}</h3>
        <p class="hint">
          {[t(kind === "lora" ? "models.lora" : "models.embedding"), folder].filter(Boolean).join(" · ")}
        </p>
        {problem === undefined ? (
          <p class="hint" lang="en" dir="ltr">
            {what}
          </p>
        ) : (
          <p class="wrong" lang="en" dir="ltr">
            {problem}
          </p>
        )}
        {problem === undefined && <Words name={name} triggers={triggers} tags={tags} />}
      </div>
      <button
        type="button"
        aria-pressed={kind === "lora" ? isUsed : undefined}
        aria-label={t("models.useName", { name })}
        disabled={problem !== undefined}
        onClick={use}
      >
        {t("models.use")}
      </button>
    </li>
  );
}

/** What it listens to; its captions' words where its author says nothing. */
function Words({ name, triggers, tags }: Pick<Adapter, "name" | "triggers" | "tags">) {
  const shown = (triggers.length > 0 ? triggers : tags).slice(0, 6);
  if (shown.length === 0) return null;
  return (
    <ul class="triggers" aria-label={t("models.words", { name })}>
      {shown.map((each) => (
        <li key={each}>
          <button
            type="button"
            dir="auto"
            onClick={() => {
              addWords(each);
              notify(t("models.inPrompt", { words: each }));
            }}
          >
            {each}
          </button>
        </li>
      ))}
    </ul>
  );
}
