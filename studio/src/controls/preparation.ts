/** @file What a network will get to see of a picture, asked of a worker: of requests that come while it works, only the last is answered. */
import type { ControlPreparation } from "../../../src/image/control-picture.ts";

export interface Preparation extends ControlPreparation {
  /** Of the picture, on the server. */
  readonly address: string;
  /** The job's size. */
  readonly width: number;
  readonly height: number;
}

/** Without an image: it can't be read. */
export interface Prepared {
  readonly image?: ImageData;
}

export class Preparations {
  readonly #worker = new Worker(new URL("./preparation-worker.ts", import.meta.url), { type: "module" });
  readonly #onPrepared: (prepared: Prepared) => void;
  #works = false;
  #next: Preparation | undefined;

  constructor(onPrepared: (prepared: Prepared) => void) {
    this.#onPrepared = onPrepared;
    this.#worker.addEventListener("message", ({ data }: MessageEvent<Prepared>) => {
      this.#works = false;
      const next = this.#next;
      this.#next = undefined;
      this.#onPrepared(data);
      if (next) this.ask(next);
    });
  }

  ask(preparation: Preparation): void {
    if (this.#works) {
      this.#next = preparation;
      return;
    }
    this.#works = true;
    this.#worker.postMessage(preparation);
  }

  end(): void {
    this.#worker.terminate();
  }
}
