/** @file Where one is: `#/view?name=value`, behind the hash, so that the server needs one page and links tell it nothing. */
import { signal } from "@preact/signals";
import { VIEWS, type View } from "../views.ts";

export interface Route {
  readonly view: View;
  readonly query: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: VIEWS.find(({ name }) => name === path) ?? VIEWS[0]!, query: new URLSearchParams(query) };
}

export const route = signal<Route>(read());

addEventListener("hashchange", () => {
  route.value = read();
});

/** Address of a view, for links. */
export function addressOf(view: string, query?: Readonly<Record<string, string>>): string {
  const text = query && new URLSearchParams(query).toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}

export function go(view: string, query?: Readonly<Record<string, string>>): void {
  location.hash = addressOf(view, query);
}
