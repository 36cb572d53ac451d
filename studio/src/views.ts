/** @file Which views there are, in the order of the navigation; each is loaded when it is first opened. */
import type { ComponentType } from "preact";
import type { MessageKey } from "./messages/translate.ts";
import type { IconName } from "./parts/icon.tsx";

export interface View {
  /** In addresses: "#/queue". */
  readonly name: string;
  readonly title: MessageKey;
  readonly icon: IconName;
  readonly load: () => Promise<{ readonly default: ComponentType }>;
}

export const VIEWS: readonly View[] = [
  { name: "draw", title: "nav.draw", icon: "brush", load: () => import("./views/draw/draw-view.tsx") },
  { name: "queue", title: "nav.queue", icon: "queue", load: () => import("./views/queue/queue-view.tsx") },
  {
    name: "gallery",
    title: "nav.gallery",
    icon: "gallery",
    load: () => import("./views/gallery/gallery-view.tsx"),
  },
  { name: "grid", title: "nav.grid", icon: "grid", load: () => import("./views/grid/grid-view.tsx") },
  { name: "models", title: "nav.models", icon: "models", load: () => import("./views/models/models-view.tsx") },
  { name: "solvay", title: "nav.solvay", icon: "memory", load: () => import("./views/solvay/solvay-view.tsx") },
  {
    name: "settings",
    title: "nav.settings",
    icon: "settings",
    load: () => import("./views/settings/settings-view.tsx"),
  },
];
