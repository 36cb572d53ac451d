/** @file An engine for the tests of one file that ask for the same, one after the other. */
import { after } from "node:test";
import type { OpenEngineOptions } from "../../src/job/types.ts";
import { type Engine, openEngine } from "../../src/node.ts";

/** Gives the engine that was asked for last, if it was opened with such options; else closes it and opens another. Closed after all tests. */
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
      opened = { options, engine: await openEngine(asked) };
    }
    return opened.engine;
  };
}
