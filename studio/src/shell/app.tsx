/** @file The frame around all views: navigation, the view, notices, the palette of commands. */

import type { ComponentType } from "preact";
import { useEffect, useErrorBoundary, useState } from "preact/hooks";
import { online } from "../api/client.ts";
import { Enlarge } from "../enlarge/enlarge.tsx";
import { t } from "../messages/translate.ts";
import { Icon } from "../parts/icon.tsx";
import { Recall } from "../recall/recall.tsx";
import { followJobs } from "../state/jobs.ts";
import { followServer } from "../state/server.ts";
import { followSettings } from "../state/shared-settings.ts";
import { VIEWS, type View } from "../views.ts";
import { installKeys } from "./keys.ts";
import { Notices, notifyFailure } from "./notices.tsx";
import { openPalette, Palette } from "./palette.tsx";
import { addressOf, route } from "./route.ts";

export function App() {
  useEffect(installKeys, []);
  useEffect(() => followServer(notifyFailure), []);
  useEffect(() => followJobs(notifyFailure), []);
  useEffect(followSettings, []);
  const { view } = route.value;
  const title = t(view.title);
  useEffect(() => {
    document.title = `${title} · Solvay`;
  }, [title]);
  return (
    <div class="app">
      <button type="button" class="skip" onClick={skip}>
        {t("app.skip")}
      </button>
      <Navigation />
      {!online.value && (
        <p class="offline" role="status">
          {t("error.E_OFFLINE")}
        </p>
      )}
      <main id="content" class={`view view-${view.name}`} tabIndex={-1} aria-label={title}>
        <ViewFrame key={view.name} view={view} />
      </main>
      <Notices />
      <Palette />
      <Recall />
      <Enlarge />
    </div>
  );
}

/** A link would take the hash, which is the route's. */
function skip(): void {
  document.getElementById("content")?.focus();
}

function Navigation() {
  return (
    <nav class="navigation" aria-label={t("app.navigation")}>
      <ul>
        {VIEWS.map(({ name, title, icon }) => (
          <li key={name}>
            <a href={addressOf(name)} aria-current={route.value.view.name === name ? "page" : undefined}>
              <Icon name={icon} />
              <span>{t(title)}</span>
            </a>
          </li>
        ))}
      </ul>
      <button type="button" class="quiet commands" onClick={openPalette}>
        <Icon name="command" />
        <span>{t("palette.open")}</span>
      </button>
    </nav>
  );
}

function ViewFrame({ view }: { readonly view: View }) {
  const [loaded, setLoaded] = useState<{ readonly Content: ComponentType } | undefined>();
  const [failed, setFailed] = useState(false);
  const [thrown, forget] = useErrorBoundary((error: unknown) => console.error(error));
  const load = () => {
    setFailed(false);
    forget();
    view.load().then(
      ({ default: Content }) => setLoaded({ Content }),
      () => setFailed(true),
    );
  };
  useEffect(load, [view]);
  if (failed || thrown) {
    return (
      <div class="empty" role="alert">
        <p>{t("app.failed")}</p>
        <button type="button" onClick={load}>
          {t("app.again")}
        </button>
      </div>
    );
  }
  if (!loaded) return <p class="empty">{t("app.loading")}</p>;
  const { Content } = loaded;
  return <Content />;
}
