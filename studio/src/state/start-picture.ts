/** @file The picture that a job begins with, in the form: its fields belong together, and the job's size follows from its own. */
import { signal } from "@preact/signals";
import { api } from "../api/client.ts";
import type { Size } from "../api/types.ts";
import { notifyFailure } from "../shell/notices.tsx";
import { form, partPrompt, schema, setField } from "./form.ts";

/** Fields that mean nothing without it. */
const DEPENDENT = ["strength", "maskImage", "maskBlur", "outpaint", "detail", "detailPadding"];
const SIDE_MULTIPLE = 8;
/** Of the model's own size: what is larger is drawn smaller, since models repeat themselves there. */
const MOST_TIMES = 2;

/** What the editor is open for; undefined: it is closed. */
export const editing = signal<"mask" | "part" | undefined>(undefined);

/** Of a field's value; undefined: it names no picture of the server's. */
export function pictureAddress(value: unknown): string | undefined {
  const [, hash] = /^sha256:([0-9a-f]{64})$/.exec(String(value ?? "")) ?? [];
  return hash === undefined ? undefined : `/api/assets/${hash}`;
}

/** A picture of the server's, by its hash. */
export async function beginWithAsset(sha256: string, edit?: "mask" | "part"): Promise<void> {
  try {
    const image = new Image();
    image.src = `/api/assets/${sha256}`;
    await image.decode();
    begin(sha256, { width: image.naturalWidth, height: image.naturalHeight });
    editing.value = edit;
  } catch (error) {
    notifyFailure(error);
  }
}

export async function beginWithFile(file: Blob): Promise<void> {
  try {
    const { sha256, ...size } = await api.upload(file);
    begin(sha256, size);
  } catch (error) {
    notifyFailure(error);
  }
}

function begin(sha256: string, size: Size): void {
  for (const name of DEPENDENT) setField(name, undefined);
  partPrompt.value = "";
  setField("initImage", `sha256:${sha256}`);
  fitSize(size);
}

export function endStartPicture(): void {
  for (const name of ["initImage", ...DEPENDENT, "width", "height"]) setField(name, undefined);
  partPrompt.value = "";
}

/** The job's size for a part of a picture, which is drawn as large as the model likes best: the size whose shape is nearest. */
export function fitPart({ width, height }: Size): void {
  const shape = (size: Size) => Math.abs(Math.log((size.width * height) / (size.height * width)));
  const [nearest] = (schema.peek()?.model.sizes ?? []).toSorted((a, b) => shape(a) - shape(b));
  if (!nearest) return;
  setField("width", nearest.width);
  setField("height", nearest.height);
}

/** The job's size for a picture of that one: its own with what it grows by, or less where that is too much for the model. */
export function fitSize(picture: Size): void {
  const [left = 0, top = 0, right = 0, bottom = 0] = String(form.peek().outpaint ?? "0")
    .split(",")
    .map(Number);
  const whole = { width: picture.width + left + right, height: picture.height + top + bottom };
  const [own] = schema.peek()?.model.sizes ?? [];
  const most = own ? MOST_TIMES * own.width * own.height : Number.POSITIVE_INFINITY;
  const pixels = whole.width * whole.height;
  const times = pixels > most ? Math.sqrt(most / MOST_TIMES / pixels) : 1;
  const side = (length: number) => Math.max(64, Math.round((length * times) / SIDE_MULTIPLE) * SIDE_MULTIPLE);
  setField("width", side(whole.width));
  setField("height", side(whole.height));
}
