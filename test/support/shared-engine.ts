/** @file Engines for the tests of one file that ask for the same, one after the other. */
import { after } from "node:test";
import type { OpenEngineOptions } from "../../src/job/types.ts";
import type { Engine } from "../../src/node.ts";
import { openThreadlessEngine } from "./threadless-engine.ts";

/** Gives the engine without a thread that was asked for last, if it was opened with such options; else closes it and opens another. Closed after all tests. */
export function sharedEngine(): (options: OpenEngineOptions) => Promise<Engine> {
  let opened: { readonly options: string; readonly engine: Engine } | undefined;
  const close = async () => {
    const { engine } = opened ?? {};
    opened = undefined;
    await engine?.[Symbol.asyncDispose]();
  };
  after(close);
  return async (asked) => {
    const options = JSON.stringify(asked);
    if (opened?.options !== options) {
      await close();
      opened = { options, engine: await openThreadlessEngine(asked) };
    }
    return opened.engine;
  };
}

/** How many are open at most. */
const KEPT = 3;

/**
 * For commands, which open an engine and close it: gives one without a thread that was opened with such options before, and closes it
 * after all tests. Opening takes longer than what small models draw. Whoever opens it later gets no events of its opening.
 */
export function keptEngines(): (options: OpenEngineOptions) => Promise<Engine> {
  const kept = new Map<string, Engine>();
  after(async () => {
    for (const engine of kept.values()) await engine[Symbol.asyncDispose]();
  });
  return async ({ signal, onEvent, ...asked }) => {
    const key = JSON.stringify([process.cwd(), asked]);
    const engine =
      kept.get(key) ??
      (await openThreadlessEngine({ ...asked, ...(signal && { signal }), ...(onEvent && { onEvent }) }));
    kept.delete(key);
    kept.set(key, engine);
    for (const [oldest, closed] of kept) {
      if (kept.size <= KEPT) break;
      kept.delete(oldest);
      await closed[Symbol.asyncDispose]();
    }
    return withoutEnd(engine);
  };
}

function withoutEnd(engine: Engine): Engine {
  return new Proxy(engine, {
    get: (target, key) => {
      if (key === Symbol.asyncDispose) return async () => {};
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
