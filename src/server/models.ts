/** @file The models that jobs may name: those that this process was started with, and those of the workers that live. */
import type { OpenRequest } from "../job/checked.ts";
import { Refusal } from "./http/failures.ts";
import type { WorkerEntries } from "./queue/workers.ts";

export class OfferedModels {
  readonly #own: ReadonlyMap<string, OpenRequest>;
  readonly #entries: WorkerEntries;

  /** `own`: how each is opened; the first is meant where a request names none. */
  constructor(own: ReadonlyMap<string, OpenRequest>, entries: WorkerEntries) {
    this.#own = own;
    this.#entries = entries;
  }

  /** The name of the one that is meant where none is named. */
  get standing(): string {
    const [name] = this.#own.keys();
    return name!;
  }

  get standingRequest(): OpenRequest {
    return this.#own.get(this.standing)!;
  }

  /** The standing one first. */
  async names(): Promise<readonly string[]> {
    const living = await this.#entries.living();
    return [...new Set([...this.#own.keys(), ...living.flatMap(({ models }) => models)])];
  }

  /** How this process opens it; undefined: it is none of its own. */
  ownRequest(name: string): OpenRequest | undefined {
    return this.#own.get(name);
  }

  /** What opens it, for the hash of its jobs. Throws Refusal `E_MODEL`. */
  async requestOf(name: string): Promise<OpenRequest> {
    const own = this.#own.get(name);
    if (own) return own;
    const names = await this.names();
    if (names.includes(name)) return { model: name };
    const allowed = names.slice(0, 20).map((each) => JSON.stringify(each));
    const problem = `it is not served here (found ${JSON.stringify(name.slice(0, 60))}, allowed ${allowed.join(", ")})`;
    throw new Refusal(404, { code: "E_MODEL", subject: "model", problem, next: "name one of those, or none" });
  }
}
