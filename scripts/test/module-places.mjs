/**
 * @file Runs first in each process and thread of the tests (NODE_OPTIONS): where a module of ours imports another by its path, Node
 * need not look which file that is and of what kind. Hundreds of modules an engine, hundreds of engines: a fifth of each start.
 */
import * as nodeModule from "node:module";

// Node 22.12, which the package is tried on, has none.
nodeModule.registerHooks?.({
  resolve(specifier, context, next) {
    const { parentURL } = context;
    const ours = specifier.startsWith(".") && specifier.endsWith(".ts") && parentURL?.startsWith("file:");
    if (!ours || !parentURL.endsWith(".ts")) return next(specifier, context);
    return { url: new URL(specifier, parentURL).href, format: "module-typescript", shortCircuit: true };
  },
});
