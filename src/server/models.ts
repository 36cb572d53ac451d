/** @file The models that jobs may name: those that this process was started with, and those of the workers that live. */
import type { OpenRequest } from "../job/checked.ts";
import type { EngineInfo } from "../job/types.ts";
import { Refusal } from "./http/failures.ts";
import type { WorkerEntries, WorkerEntry } from "./queue/workers.ts";

export interface OfferedModelsParts {
  /** How each is opened; the first is meant where a request names none. */
  readonly own: ReadonlyMap<string, OpenRequest>;
  readonly entries: WorkerEntries;
  /** What its files hold; undefined: not known, or nobody else could mean another by its name. */
  readonly contentOf: (request: OpenRequest) => Promise<string | undefined>;
  /** This process draws itself. */
  readonly draws: boolean;
}

export interface MeantModel {
  readonly model: string;
  readonly request: OpenRequest;
  /** What its files hold; undefined: whichever has the name. */
  readonly content: string | undefined;
}

export class OfferedModels {
  readonly #parts: OfferedModelsParts;
  /** Of its own ones, once each: a model that is open stays as it was. */
  readonly #contents = new Map<string, Promise<string | undefined>>();

  constructor(parts: OfferedModelsParts) {
    this.#parts = parts;
  }

  /** The name of the one that is meant where none is named. */
  get standing(): string {
    const [name] = this.#parts.own.keys();
    return name!;
  }

  get standingRequest(): OpenRequest {
    return this.#parts.own.get(this.standing)!;
  }

  /** The standing one first. */
  async names(): Promise<readonly string[]> {
    const living = await this.#parts.entries.living();
    return [...new Set([...this.#parts.own.keys(), ...living.flatMap(({ models }) => models)])];
  }

  /** How this process opens it; undefined: it is none of its own. */
  ownRequest(name: string): OpenRequest | undefined {
    return this.#parts.own.get(name);
  }

  /** What opens it, for the hash of its jobs. Throws Refusal `E_MODEL`. */
  async requestOf(name: string): Promise<OpenRequest> {
    const own = this.#parts.own.get(name);
    if (own) return own;
    const names = await this.names();
    if (names.includes(name)) return { model: name };
    const allowed = names.slice(0, 20).map((each) => JSON.stringify(each));
    const problem = `it is not served here (found ${JSON.stringify(name.slice(0, 60))}, allowed ${allowed.join(", ")})`;
    throw new Refusal(404, { code: "E_MODEL", subject: "model", problem, next: "name one of those, or none" });
  }

  /** A model of jobs to come, as they are told of it. Throws Refusal `E_MODEL`. */
  async meant(name: string): Promise<MeantModel> {
    return { model: name, request: await this.requestOf(name), content: await this.contentOf(name) };
  }

  /** What the files of one's own hold, by their names. */
  async ownContents(): Promise<Readonly<Record<string, string>>> {
    const found: Record<string, string> = {};
    for (const name of this.#parts.own.keys()) {
      const content = await this.#ownContent(name);
      if (content !== undefined) found[name] = content;
    }
    return found;
  }

  /**
   * What the files of the model hold that jobs of this name mean: this process's own, else that of the worker that has been there for longest.
   * Throws Refusal `E_MODEL` where only others of that name could draw them.
   */
  async contentOf(name: string): Promise<string | undefined> {
    const { own, entries, draws } = this.#parts;
    const content = await this.#ownContent(name);
    if (draws && own.has(name)) return content;
    const there = (await entries.living()).filter(({ models }) => models.includes(name));
    if (!own.has(name)) return there.find(({ contents }) => contents[name] !== undefined)?.contents[name];
    const means = ({ contents }: WorkerEntry) => content === undefined || (contents[name] ?? content) === content;
    if (there.length === 0 || there.some(means)) return content;
    const problem = `the workers that live have another model of the name ${JSON.stringify(name.slice(0, 60))}`;
    throw new Refusal(409, {
      code: "E_MODEL",
      subject: "model",
      problem,
      next: "start servers and workers with the same",
    });
  }

  /** What a worker has said of the model that it has open: the standing one, if one of them has. */
  async announced(): Promise<EngineInfo | undefined> {
    const living = await this.#parts.entries.living();
    const isStanding = ({ models }: WorkerEntry) => models[0] === this.standing;
    return (living.find((each) => each.info && isStanding(each)) ?? living.find(({ info }) => info))?.info;
  }

  async #ownContent(name: string): Promise<string | undefined> {
    const request = this.#parts.own.get(name);
    if (!request) return undefined;
    const known = this.#contents.get(name) ?? this.#parts.contentOf(request);
    this.#contents.set(name, known);
    return await known;
  }
}
