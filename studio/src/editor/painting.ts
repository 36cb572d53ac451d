/** @file A mask as it is painted: strokes over what was there, undone and done again one by one. Painted is what is drawn anew; how much, its opacity says. */

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** A stroke, a fill of everything, or the opposite of what was there. */
type Mark =
  | {
      readonly kind: "stroke";
      readonly erases: boolean;
      /** Pixels of the picture. */
      readonly radius: number;
      /** 0: a hard edge; 1: soft up to the middle. */
      readonly softness: number;
      readonly points: Point[];
    }
  | { readonly kind: "fill" | "clear" | "invert" };

export type Brush = Pick<Extract<Mark, { kind: "stroke" }>, "erases" | "radius" | "softness">;

/** On screen; a mask's file is white on black. */
const COLOUR = "224 69 123";
/** Older ones become part of what was there. */
const MAX_MARKS = 200;
/** Of a radius, between two dabs. */
const DAB_SPACING = 0.2;

export class Painting {
  readonly canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  /** What was there before the first mark. */
  readonly #base: OffscreenCanvas;
  #marks: Mark[] = [];
  #undone: Mark[] = [];
  readonly #onChange: () => void;

  constructor(canvas: HTMLCanvasElement, onChange: () => void) {
    this.canvas = canvas;
    this.#context = canvas.getContext("2d")!;
    this.#base = new OffscreenCanvas(canvas.width, canvas.height);
    this.#onChange = onChange;
  }

  get canUndo(): boolean {
    return this.#marks.length > 0;
  }

  get canRedo(): boolean {
    return this.#undone.length > 0;
  }

  /** A mask's file as what was there: as light as it is, so much is painted. */
  async load(mask: ImageBitmapSource): Promise<void> {
    const { width, height } = this.#base;
    const bitmap = await createImageBitmap(mask, { resizeWidth: width, resizeHeight: height });
    const context = this.#base.getContext("2d")!;
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const image = context.getImageData(0, 0, width, height);
    const [red, green, blue] = COLOUR.split(" ").map(Number);
    for (let at = 0; at < image.data.length; at += 4) {
      const light = image.data[at]!;
      image.data.set([red!, green!, blue!, light], at);
    }
    context.putImageData(image, 0, 0);
    this.#redraw();
  }

  begin(brush: Brush, point: Point): void {
    this.#add({ kind: "stroke", ...brush, points: [point] });
  }

  /** Goes on with the stroke that was begun last. */
  goOn(point: Point): void {
    const mark = this.#marks.at(-1);
    if (mark?.kind !== "stroke") return;
    const from = mark.points.at(-1)!;
    mark.points.push(point);
    dabs(this.#context, mark, from, point);
  }

  fill(): void {
    this.#add({ kind: "fill" });
  }

  clear(): void {
    this.#add({ kind: "clear" });
  }

  invert(): void {
    this.#add({ kind: "invert" });
  }

  undo(): void {
    const mark = this.#marks.pop();
    if (!mark) return;
    this.#undone.push(mark);
    this.#redraw();
  }

  redo(): void {
    const mark = this.#undone.pop();
    if (!mark) return;
    this.#marks.push(mark);
    this.#redraw();
  }

  /** White where all is drawn anew, black where nothing is; undefined: nothing is painted. */
  async file(): Promise<Blob | undefined> {
    const { width, height } = this.canvas;
    const painted = this.#context.getImageData(0, 0, width, height);
    if (!painted.data.some((value, at) => at % 4 === 3 && value > 0)) return undefined;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d")!;
    for (let at = 0; at < painted.data.length; at += 4) {
      const light = painted.data[at + 3]!;
      painted.data.set([light, light, light, 255], at);
    }
    context.putImageData(painted, 0, 0);
    return await canvas.convertToBlob({ type: "image/png" });
  }

  #add(mark: Mark): void {
    this.#undone = [];
    this.#marks.push(mark);
    if (this.#marks.length > MAX_MARKS) apply(this.#base.getContext("2d")!, this.#marks.shift()!);
    apply(this.#context, mark);
    this.#onChange();
  }

  #redraw(): void {
    const context = this.#context;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.#base, 0, 0);
    for (const mark of this.#marks) apply(context, mark);
    this.#onChange();
  }
}

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

function apply(context: Context, mark: Mark): void {
  const { width, height } = context.canvas;
  if (mark.kind === "stroke") {
    for (const [at, point] of mark.points.entries()) dabs(context, mark, mark.points[at - 1] ?? point, point);
    return;
  }
  context.save();
  if (mark.kind === "clear") context.clearRect(0, 0, width, height);
  else {
    // What is painted becomes bare, and the other way round.
    if (mark.kind === "invert") context.globalCompositeOperation = "source-out";
    context.fillStyle = `rgb(${COLOUR})`;
    context.fillRect(0, 0, width, height);
  }
  context.restore();
}

/** Dabs of the brush from one point to the next. Several over one place don't add up beyond the brush's own edge by much: they are near each other. */
function dabs(context: Context, { erases, radius, softness }: Brush, from: Point, to: Point): void {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const count = Math.max(1, Math.ceil(length / Math.max(1, radius * DAB_SPACING)));
  context.save();
  context.globalCompositeOperation = erases ? "destination-out" : "source-over";
  for (let dab = 1; dab <= count; dab++) {
    const x = from.x + ((to.x - from.x) * dab) / count;
    const y = from.y + ((to.y - from.y) * dab) / count;
    const gradient = context.createRadialGradient(x, y, radius * (1 - softness), x, y, radius);
    gradient.addColorStop(0, `rgb(${COLOUR} / 100%)`);
    gradient.addColorStop(1, `rgb(${COLOUR} / ${softness > 0 ? 0 : 100}%)`);
    context.fillStyle = gradient;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }
  context.restore();
}
