/** @file What a person sets once: language, appearance, form; and the keys. */
import { t } from "../../messages/translate.ts";
import { Choice } from "../../parts/choice.tsx";
import { LANGUAGES, type Language, languageSetting, mode, setMode, theme } from "../../state/settings.ts";

export default function SettingsView() {
  const languages = Object.entries(LANGUAGES) as [Language, string][];
  return (
    <div class="page narrow">
      <h1>{t("nav.settings")}</h1>
      <Choice
        label={t("settings.language")}
        value={languageSetting.value}
        options={[["system", t("settings.system")], ...languages]}
        onChange={(value) => {
          languageSetting.value = value;
        }}
      />
      <Choice
        label={t("settings.theme")}
        value={theme.value}
        options={[
          ["system", t("settings.system")],
          ["light", t("settings.light")],
          ["dark", t("settings.dark")],
        ]}
        onChange={(value) => {
          theme.value = value;
        }}
      />
      <Choice
        label={t("settings.mode")}
        value={mode.value}
        options={[
          ["simple", t("settings.simple")],
          ["advanced", t("settings.advanced")],
        ]}
        onChange={setMode}
      />
      <h2>{t("settings.keys")}</h2>
      <dl class="keys">
        <dt>
          <kbd>Ctrl+K</kbd>
        </dt>
        <dd>{t("keys.palette")}</dd>
        <dt>
          <kbd>Ctrl+Enter</kbd>
        </dt>
        <dd>{t("keys.draw")}</dd>
        <dt>
          <kbd>Alt+1</kbd> ...
        </dt>
        <dd>{t("keys.go")}</dd>
        <dt>
          <kbd>Esc</kbd>
        </dt>
        <dd>{t("keys.close")}</dd>
      </dl>
      <h2>{t("settings.install")}</h2>
      <p class="hint">{t("settings.installHint")}</p>
    </div>
  );
}
