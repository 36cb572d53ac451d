/** @file The part of a picture that is drawn by itself: a box pulled up with the pointer, moved within the picture, each side a slider for the keyboard. */
import { useRef } from "preact/hooks";
import type { Size } from "../api/types.ts";
import { t } from "../messages/translate.ts";
import type { Point } from "./painting.ts";

/** Pixels of the picture. */
export interface Region extends Size {
  readonly left: number;
  readonly top: number;
}

/** Smaller ones are slips of the pointer. */
const MIN_SIDE = 8;
const [STEP, LARGE_STEP] = [1, 16];
const SIDES = ["left", "top", "right", "bottom"] as const;
type Side = (typeof SIDES)[number];

/** As the field detail has it: "left,top,width,height". */
export function textOfRegion({ left, top, width, height }: Region): string {
  return [left, top, width, height].join(",");
}

/** Undefined where it is no box within that picture. */
export function regionOfText(text: unknown, picture: Size): Region | undefined {
  const [left = -1, top = -1, width = 0, height = 0] = typeof text === "string" ? text.split(",").map(Number) : [];
  const fits = left >= 0 && top >= 0 && width > 0 && height > 0;
  return fits && left + width <= picture.width && top + height <= picture.height
    ? { left, top, width, height }
    : undefined;
}

/** Between two points, within the picture; undefined: too small. */
export function regionBetween(a: Point, b: Point, picture: Size): Region | undefined {
  const clamp = (value: number, most: number) => Math.round(Math.min(Math.max(value, 0), most));
  const [left, right] = [clamp(Math.min(a.x, b.x), picture.width), clamp(Math.max(a.x, b.x), picture.width)];
  const [top, bottom] = [clamp(Math.min(a.y, b.y), picture.height), clamp(Math.max(a.y, b.y), picture.height)];
  const [width, height] = [right - left, bottom - top];
  return width >= MIN_SIDE && height >= MIN_SIDE ? { left, top, width, height } : undefined;
}

function movedRegion({ left, top, width, height }: Region, by: Point, picture: Size): Region {
  const clamp = (value: number, most: number) => Math.round(Math.min(Math.max(value, 0), most));
  return {
    left: clamp(left + by.x, picture.width - width),
    top: clamp(top + by.y, picture.height - height),
    width,
    height,
  };
}

/** With that side at that place, as far as the picture and the opposite side let it. */
function withSide({ left, top, width, height }: Region, side: Side, place: number, picture: Size): Region {
  const [right, bottom] = [left + width, top + height];
  const between = (low: number, high: number) => Math.round(Math.min(Math.max(place, low), high));
  if (side === "left") {
    const at = between(0, right - MIN_SIDE);
    return { left: at, top, width: right - at, height };
  }
  if (side === "top") {
    const at = between(0, bottom - MIN_SIDE);
    return { left, top: at, width, height: bottom - at };
  }
  if (side === "right") return { left, top, width: between(left + MIN_SIDE, picture.width) - left, height };
  return { left, top, width, height: between(top + MIN_SIDE, picture.height) - top };
}

interface RegionBoxProps {
  readonly region: Region;
  readonly picture: Size;
  /** Pixels of the screen to one of the picture. */
  readonly scale: number;
  readonly onChange: (region: Region) => void;
}

export function RegionBox({ region, picture, scale, onChange }: RegionBoxProps) {
  const held = useRef<{ readonly what: Side | "box"; readonly at: Point; readonly region: Region } | undefined>(
    undefined,
  );
  const { left, top, width, height } = region;
  const places = { left, top, right: left + width, bottom: top + height };
  const hold = (what: Side | "box") => (event: PointerEvent) => {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    const target = event.currentTarget as HTMLElement;
    target.setPointerCapture(event.pointerId);
    if (what !== "box") target.focus();
    held.current = { what, at: { x: event.clientX, y: event.clientY }, region };
  };
  const move = (event: PointerEvent) => {
    const start = held.current;
    if (!start) return;
    event.stopPropagation();
    const by = { x: (event.clientX - start.at.x) / scale, y: (event.clientY - start.at.y) / scale };
    if (start.what === "box") onChange(movedRegion(start.region, by, picture));
    else {
      const isAcross = start.what === "left" || start.what === "right";
      const before = {
        ...start.region,
        right: start.region.left + start.region.width,
        bottom: start.region.top + start.region.height,
      };
      onChange(withSide(start.region, start.what, before[start.what] + (isAcross ? by.x : by.y), picture));
    }
  };
  const release = () => {
    held.current = undefined;
  };
  const hands = { onPointerMove: move, onPointerUp: release, onPointerCancel: release };
  const box = {
    left: `${left * scale}px`,
    top: `${top * scale}px`,
    inlineSize: `${width * scale}px`,
    blockSize: `${height * scale}px`,
  };
  return (
    <div class="region" style={box} onPointerDown={hold("box")} {...hands}>
      {SIDES.map((side) => {
        const isAcross = side === "left" || side === "right";
        return (
          <div
            key={side}
            class={`region-side ${side}`}
            role="slider"
            tabIndex={0}
            aria-label={t(`editor.part.${side}`)}
            aria-orientation={isAcross ? "horizontal" : "vertical"}
            aria-valuemin={0}
            aria-valuemax={isAcross ? picture.width : picture.height}
            aria-valuenow={places[side]}
            onPointerDown={hold(side)}
            {...hands}
            onKeyDown={(event) => {
              const keys: Readonly<Record<string, number>> = isAcross
                ? { ArrowRight: STEP, ArrowLeft: -STEP, PageUp: LARGE_STEP, PageDown: -LARGE_STEP }
                : { ArrowDown: STEP, ArrowUp: -STEP, PageDown: LARGE_STEP, PageUp: -LARGE_STEP };
              const by = keys[event.key];
              if (by === undefined) return;
              event.preventDefault();
              event.stopPropagation();
              onChange(withSide(region, side, places[side] + by * (event.shiftKey ? LARGE_STEP : 1), picture));
            }}
          />
        );
      })}
    </div>
  );
}
