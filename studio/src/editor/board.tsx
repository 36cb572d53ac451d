/**
 * @file Where one paints, or pulls up a box: the picture with the mask over it, zoomed by the wheel, two fingers or keys, moved by two fingers or the
 * middle button.
 */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../messages/translate.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { MarginHandles, type Margins } from "./margins.tsx";
import { type Brush, Painting, type Point } from "./painting.ts";
import { type Region, RegionBox, regionBetween } from "./region.tsx";
import { fitted, moved, type Placement, zoomed } from "./view-box.ts";

interface BoardProps {
  readonly image: HTMLImageElement;
  /** Address of the mask that was painted before. */
  readonly mask: string | undefined;
  readonly brush: Brush;
  /** The pointer pulls up a part's box instead of painting. */
  readonly isPart: boolean;
  readonly region: Region | undefined;
  readonly margins: Margins;
  readonly onRegion: (region: Region | undefined) => void;
  readonly onBrush: (brush: Brush) => void;
  readonly onMargins: (margins: Margins) => void;
  readonly onPainting: (painting: Painting) => void;
  readonly onChange: () => void;
}

const FIT_MARGIN = 48;
const KEY_ZOOM = 1.25;
const WHEEL_ZOOM = 0.0015;

export function Board({ image, mask, brush, isPart, region, margins, ...on }: BoardProps) {
  const { onBrush, onMargins, onPainting, onChange, onRegion } = on;
  const { naturalWidth: width, naturalHeight: height } = image;
  const board = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const painting = useRef<Painting | undefined>(undefined);
  const pointers = useRef(new Map<number, Point>());
  const pulledFrom = useRef<Point | undefined>(undefined);
  const [placement, setPlacement] = useState<Placement>({ x: 0, y: 0, scale: 1 });
  const [cursor, setCursor] = useState<Point>();
  const fit = () => {
    const { left, top, right, bottom } = margins;
    const grown = { width: left + width + right, height: top + height + bottom };
    const place = fitted(board.current!.getBoundingClientRect(), grown, FIT_MARGIN);
    setPlacement(moved(place, { x: left * place.scale, y: top * place.scale }));
  };
  useLayoutEffect(fit, [image]);
  useEffect(() => {
    const made = new Painting(canvas.current!, onChange);
    painting.current = made;
    onPainting(made);
    const load = async () => made.load(await (await fetch(mask!)).blob());
    if (mask !== undefined) load().catch(notifyFailure);
  }, [image]);

  const inBoard = ({ clientX, clientY }: MouseEvent): Point => {
    const { left, top } = board.current!.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  };
  const inPicture = (event: MouseEvent): Point => {
    const { x, y } = inBoard(event);
    return { x: (x - placement.x) / placement.scale, y: (y - placement.y) / placement.scale };
  };
  const onDown = (event: PointerEvent) => {
    board.current!.setPointerCapture(event.pointerId);
    pointers.current.set(event.pointerId, inBoard(event));
    const isFirst = event.button === 0 && pointers.current.size === 1;
    const isPinch = pointers.current.size === 2 && event.pointerType === "touch";
    pulledFrom.current = isPart && isFirst ? inPicture(event) : undefined;
    if (isPart) return;
    if (isFirst) painting.current?.begin(brush, inPicture(event));
    // The second finger takes back what the first began to paint.
    else if (isPinch) painting.current?.undo();
  };
  const onMove = (event: PointerEvent) => {
    const at = inBoard(event);
    setCursor(at);
    const before = pointers.current.get(event.pointerId);
    if (!before) return;
    pointers.current.set(event.pointerId, at);
    const by = { x: at.x - before.x, y: at.y - before.y };
    if (pointers.current.size === 2) setPlacement((place) => pinched(place, pointers.current, event.pointerId, before));
    else if (event.buttons & 4) setPlacement((place) => moved(place, by));
    else if (isPart) {
      const pulled = pulledFrom.current && regionBetween(pulledFrom.current, inPicture(event), { width, height });
      if (pulled) onRegion(pulled);
    } else if (event.buttons & 1) {
      // All that the pointer did since the last picture of the screen.
      const moves = event.getCoalescedEvents();
      for (const each of moves.length > 0 ? moves : [event]) painting.current?.goOn(inPicture(each));
    }
  };
  const onUp = ({ pointerId }: PointerEvent) => void pointers.current.delete(pointerId);
  const zoomMiddle = (times: number) => {
    const { width: across, height: down } = board.current!.getBoundingClientRect();
    setPlacement((place) => zoomed(place, times, { x: across / 2, y: down / 2 }));
  };
  const onKey = (event: KeyboardEvent) => {
    const does = keyAction(event, { brush, onBrush, painting: painting.current, zoom: zoomMiddle, fit });
    if (!does) return;
    event.preventDefault();
    does();
  };
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });
  const { x, y, scale } = placement;
  const size = { inlineSize: `${width * scale}px`, blockSize: `${height * scale}px` };
  return (
    <section
      ref={board}
      class={isPart ? "board pulls" : "board"}
      aria-label={t("editor.board")}
      dir="ltr"
      onPointerDown={onDown}
      onPointerMove={onMove}
      onPointerUp={onUp}
      onPointerCancel={onUp}
      onPointerLeave={() => setCursor(undefined)}
      onWheel={(event) => {
        event.preventDefault();
        setPlacement((place) => zoomed(place, Math.exp(-event.deltaY * WHEEL_ZOOM), inBoard(event)));
      }}
    >
      <div class="sheet" style={{ translate: `${x}px ${y}px`, ...size }}>
        {!isPart && <MarginHandles margins={margins} scale={scale} onChange={onMargins} onSettled={fit} />}
        <img src={image.src} alt={t("editor.picture")} draggable={false} />
        <canvas ref={canvas} width={width} height={height} />
        {region && <RegionBox picture={{ width, height }} {...{ region, scale }} onChange={onRegion} />}
      </div>
      {cursor && !isPart && <BrushRing at={cursor} radius={brush.radius * scale} />}
    </section>
  );
}

function BrushRing({ at, radius }: { readonly at: Point; readonly radius: number }) {
  const side = `${2 * radius}px`;
  return (
    <div
      class="brush-ring"
      style={{ translate: `${at.x - radius}px ${at.y - radius}px`, inlineSize: side, blockSize: side }}
    />
  );
}

/** Two fingers: the point between them stays under them, and their distance is the zoom. `moving` was at `before`. */
function pinched(place: Placement, fingers: ReadonlyMap<number, Point>, moving: number, before: Point): Placement {
  const now = fingers.get(moving)!;
  const [other] = [...fingers].filter(([id]) => id !== moving).map(([, point]) => point);
  if (!other) return place;
  const distance = (from: Point) => Math.hypot(from.x - other.x, from.y - other.y) || 1;
  const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
  const shifted = moved(place, { x: (now.x - before.x) / 2, y: (now.y - before.y) / 2 });
  return zoomed(shifted, distance(now) / distance(before), middle);
}

interface KeyContext {
  readonly brush: Brush;
  readonly onBrush: (brush: Brush) => void;
  readonly painting: Painting | undefined;
  readonly zoom: (times: number) => void;
  readonly fit: () => void;
}

function keyAction(
  event: KeyboardEvent,
  { brush, onBrush, painting, zoom, fit }: KeyContext,
): (() => void) | undefined {
  const { key, ctrlKey, metaKey, shiftKey, target } = event;
  if (target instanceof HTMLInputElement && target.type === "text") return undefined;
  if (ctrlKey || metaKey) {
    if (key.toLowerCase() !== "z" && key.toLowerCase() !== "y") return undefined;
    return () => (shiftKey || key.toLowerCase() === "y" ? painting?.redo() : painting?.undo());
  }
  const larger = Math.max(1, Math.round(brush.radius * 0.15));
  const actions: Readonly<Record<string, () => void>> = {
    "[": () => onBrush({ ...brush, radius: Math.max(1, brush.radius - larger) }),
    "]": () => onBrush({ ...brush, radius: brush.radius + larger }),
    b: () => onBrush({ ...brush, erases: false }),
    e: () => onBrush({ ...brush, erases: true }),
    "+": () => zoom(KEY_ZOOM),
    "=": () => zoom(KEY_ZOOM),
    "-": () => zoom(1 / KEY_ZOOM),
    "0": fit,
  };
  return actions[key];
}
