/** @file What running jobs look like, for servers of other machines: the latest preview of each in the database, small, and no oftener than once a second. */
import { resample } from "../../image/resample.ts";
import type { Database } from "../queue/database.ts";
import type { Preview, PreviewSharing } from "./previews.ts";

const EVERY_MS = 1000;
/** Pixels: 77 KB at most. */
const MAX_SIDE = 160;

export interface SharedPreviewsParts {
  readonly database: Pick<Database, "query">;
  readonly now: () => number;
  readonly onTrouble: (what: string, error: unknown) => void;
}

export class SharedPreviews implements PreviewSharing {
  readonly #parts: SharedPreviewsParts;
  readonly #toldMs = new Map<string, number>();
  /** One is written after the other: what is removed stays so. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(parts: SharedPreviewsParts) {
    this.#parts = parts;
  }

  /** Where one was told less than a second ago, this one is left out. */
  put(job: string, preview: Preview): void {
    const nowMs = this.#parts.now();
    if (nowMs - (this.#toldMs.get(job) ?? Number.NEGATIVE_INFINITY) < EVERY_MS) return;
    this.#toldMs.set(job, nowMs);
    const { width, height, rgb } = small(preview);
    this.#write(
      `insert into solvay.previews (job, step, steps, width, height, rgb) values ($1, $2, $3, $4, $5, $6)
       on conflict (job) do update set step = excluded.step, steps = excluded.steps, width = excluded.width,
         height = excluded.height, rgb = excluded.rgb`,
      [job, preview.step, preview.steps, width, height, rgb],
    );
  }

  remove(job: string): void {
    if (!this.#toldMs.delete(job)) return;
    this.#write("delete from solvay.previews where job = $1", [job]);
  }

  async read(job: string): Promise<Preview | undefined> {
    const text = "select step, steps, width, height, rgb from solvay.previews where job = $1";
    return (await this.#parts.database.query<Preview>(text, [job]))[0];
  }

  #write(text: string, values: readonly unknown[]): void {
    const { database, onTrouble } = this.#parts;
    this.#writing = this.#writing
      .then(() => database.query(text, values))
      .catch((error: unknown) => onTrouble("a preview can't be told", error));
  }
}

function small({ width, height, rgb }: Preview): Pick<Preview, "width" | "height"> & { readonly rgb: Buffer } {
  const times = Math.min(1, MAX_SIDE / Math.max(width, height));
  if (times === 1) return { width, height, rgb: Buffer.from(rgb) };
  const side = (pixels: number) => Math.max(1, Math.round(pixels * times));
  const size = { width: side(width), height: side(height) };
  const bytes = resample({ width, height, channels: 3, bytes: Uint8Array.from(rgb) }, size, "bilinear");
  return { ...size, rgb: Buffer.from(bytes) };
}
