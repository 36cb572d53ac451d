/** @file The library as the server has it, looked at again while something is imported; and what of it is searched for. */
import { computed, signal } from "@preact/signals";
import { type Adapter, askLibrary, type Library } from "../../api/library.ts";

const IMPORTING_MS = 700;

export const library = signal<Library | undefined>(undefined);
export const words = signal("");

/** Those that have all the words, in any of what is told of them. */
export const found = computed<readonly Adapter[]>(() => {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  return (library.value?.adapters ?? []).filter((adapter) => {
    const text = [adapter.name, adapter.folder, adapter.what, ...adapter.triggers, ...adapter.tags]
      .join(" ")
      .toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
});

export async function refreshLibrary(): Promise<void> {
  library.value = await askLibrary();
}

/** While the view is shown. Returns what ends it. */
export function followLibrary(onFailure: (error: unknown) => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let over = false;
  const wait = () => {
    const isOpen = ({ state }: Library["imports"][number]) => state === "waiting" || state === "running";
    clearTimeout(timer);
    if (!over) timer = setTimeout(look, library.peek()?.imports.some(isOpen) ? IMPORTING_MS : IMPORTING_MS * 10);
  };
  const look = async () => {
    await refreshLibrary().catch(onFailure);
    wait();
  };
  // An import that begins is not waited for as long as a change that nobody asked for.
  const forget = library.subscribe(wait);
  void look();
  return () => {
    over = true;
    forget();
    clearTimeout(timer);
  };
}
