/** @file The studio's beginning: style, shell, service worker. */
import "./style/tokens.css";
import "./style/base.css";
import "./style/shell.css";
import "./style/parts.css";
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./shell/app.tsx";
import { theme } from "./state/settings.ts";

effect(() => {
  const { dataset } = document.documentElement;
  if (theme.value === "system") delete dataset.theme;
  else dataset.theme = theme.value;
});

render(<App />, document.getElementById("studio")!);

// Browsers have it on this machine and behind a certificate only.
navigator.serviceWorker?.register("/service-worker.js").catch(() => {});
