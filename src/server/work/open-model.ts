/** @file How a worker opens a model: the engine within what the process's budget leaves, and where its unfinished pictures lie. */
import type { OpenRequest } from "../../job/checked.ts";
import type { Engine, OpenEngineOptions } from "../../job/types.ts";
import type { PictureStore } from "../pictures/picture-store.ts";
import type { OpenModel } from "./model-holder.ts";
import { SavedStates } from "./saved-states.ts";

/** How engines are opened. */
export interface EngineOptions {
  /** What each model's engine opens, by its name; the first is opened at once. The budget of RAM is the whole process's, database included. */
  readonly models: ReadonlyMap<string, OpenRequest>;
  readonly openEngine: (options: OpenEngineOptions) => Promise<Engine>;
  /** Differs where another model would be opened. */
  readonly modelContent: (request: OpenRequest) => Promise<string | undefined>;
}

export interface OpenerParts extends EngineOptions {
  readonly stateStore: PictureStore;
  /** Answers of this process come before what is drawn. */
  readonly givesWay: boolean;
  /** Memory of this process that is the database's. */
  readonly ownBytes: number;
}

/** Its models are opened until the signal. */
export function modelOpener(parts: OpenerParts, signal: AbortSignal): OpenModel {
  const { models, openEngine, modelContent, stateStore, givesWay, ownBytes } = parts;
  return async (model) => {
    const request = withoutDatabase(models.get(model)!, ownBytes);
    const engine = await openEngine({ ...request, onlyNames: true, givesWay, signal });
    const content = await modelContent(request);
    return {
      engine,
      states: new SavedStates({ store: stateStore, request, info: engine.info, modelContent: content }),
    };
  };
}

/** The database lives in the process that --ram bounds. */
function withoutDatabase(request: OpenRequest, databaseBytes: number): OpenRequest {
  const { ram } = request.budgets ?? {};
  if (!ram || databaseBytes === 0) return request;
  const left =
    "bytes" in ram ? { bytes: Math.max(1, ram.bytes - databaseBytes) } : { allBut: ram.allBut + databaseBytes };
  return { ...request, budgets: { ...request.budgets, ram: left } };
}
