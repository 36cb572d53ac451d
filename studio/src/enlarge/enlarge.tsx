/** @file A picture made larger by a network, from wherever pictures are: what is asked for, in a dialog that is loaded when it is first needed. */
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { notifyFailure } from "../shell/notices.tsx";

/** sha256 of the picture; undefined: the dialog is closed. */
export const enlarging = signal<string | undefined>(undefined);

export function openEnlarge(sha256: string): void {
  enlarging.value = sha256;
}

export function Enlarge() {
  const [loaded, setLoaded] = useState<{ readonly Dialog: ComponentType }>();
  const wanted = enlarging.value !== undefined;
  useEffect(() => {
    if (wanted && !loaded) {
      import("./enlarge-dialog.tsx").then(({ EnlargeDialog }) => setLoaded({ Dialog: EnlargeDialog }), notifyFailure);
    }
  }, [wanted]);
  return loaded ? <loaded.Dialog /> : null;
}
