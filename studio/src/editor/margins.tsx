/** @file Handles at a picture's sides: pulled out, the picture grows there. With the keyboard each is a slider. */
import { useRef } from "preact/hooks";
import { t } from "../messages/translate.ts";

/** Pixels of the picture. */
export interface Margins {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const SIDES = ["left", "top", "right", "bottom"] as const;
type Side = (typeof SIDES)[number];
const STEP = 8;
const LARGE_STEP = 64;
const MAX_MARGIN = 2048;

/** "left,top,right,bottom"; undefined: it grows nowhere. */
export function textOfMargins(margins: Margins): string | undefined {
  const sides = SIDES.map((side) => margins[side]);
  return sides.some((pixels) => pixels > 0) ? sides.join(",") : undefined;
}

export function marginsOfText(text: unknown): Margins {
  const [left, top, right, bottom] = typeof text === "string" ? text.split(",").map(Number) : [];
  const pixels = (value: number | undefined) => Math.min(MAX_MARGIN, Math.max(0, Math.round(value || 0)));
  return { left: pixels(left), top: pixels(top), right: pixels(right), bottom: pixels(bottom) };
}

interface HandlesProps {
  readonly margins: Margins;
  /** Pixels of the screen to one of the picture. */
  readonly scale: number;
  readonly onChange: (margins: Margins) => void;
  /** A handle was let go of. */
  readonly onSettled: () => void;
}

export function MarginHandles({ margins, scale, onChange, onSettled }: HandlesProps) {
  const held = useRef<{ readonly side: Side; readonly at: number; readonly pixels: number } | undefined>(undefined);
  const set = (side: Side, pixels: number) => {
    const whole = Math.round(pixels / STEP) * STEP;
    onChange({ ...margins, [side]: Math.min(MAX_MARGIN, Math.max(0, whole)) });
  };
  const outset = Object.fromEntries(SIDES.map((side) => [side, `${-margins[side] * scale}px`]));
  return (
    <div class="margins" style={outset}>
      {SIDES.map((side) => {
        const isAcross = side === "left" || side === "right";
        const outward = side === "left" || side === "top" ? -1 : 1;
        const placeOf = (event: PointerEvent) => outward * (isAcross ? event.clientX : event.clientY);
        return (
          <div
            key={side}
            class={`margin-handle ${side}`}
            role="slider"
            tabIndex={0}
            aria-label={t(`editor.${side}`)}
            aria-orientation={isAcross ? "horizontal" : "vertical"}
            aria-valuemin={0}
            aria-valuemax={MAX_MARGIN}
            aria-valuenow={margins[side]}
            onPointerDown={(event) => {
              event.preventDefault();
              event.stopPropagation();
              event.currentTarget.focus();
              event.currentTarget.setPointerCapture(event.pointerId);
              held.current = { side, at: placeOf(event), pixels: margins[side] };
            }}
            onPointerMove={(event) => {
              const start = held.current;
              if (start?.side === side) set(side, start.pixels + (placeOf(event) - start.at) / scale);
            }}
            onPointerUp={() => {
              held.current = undefined;
              onSettled();
            }}
            onPointerCancel={() => {
              held.current = undefined;
            }}
            onKeyUp={onSettled}
            onKeyDown={(event) => {
              const grows = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 8, PageDown: -8 }[
                event.key
              ];
              if (grows === undefined) return;
              event.preventDefault();
              event.stopPropagation();
              set(side, margins[side] + grows * (Math.abs(grows) > 1 ? LARGE_STEP / 8 : STEP));
            }}
          />
        );
      })}
    </div>
  );
}
