/**
 * @file ONNX Runtime's sessions, kept for the next backend of this process that asks for the same: to make one takes longer than what
 * it computes for small models. A session has no state: all weights are inputs of it.
 */
import { createHash } from "node:crypto";
import type { InferenceSession } from "onnxruntime-node";
import { loadOnnxRuntime } from "../../src/node/onnx.ts";

type MakeSession = (model: Uint8Array, options: InferenceSession.SessionOptions) => Promise<InferenceSession>;

let patched = false;

/** From now on in this thread. They go with the process. */
export async function keepSessions(): Promise<void> {
  if (patched) return;
  patched = true;
  const { InferenceSession: runtime } = await loadOnnxRuntime();
  const make: MakeSession = runtime.create.bind(runtime);
  const kept = new Map<string, Promise<InferenceSession>>();
  const create: MakeSession = async (model, options) => {
    const key = createHash("sha256").update(JSON.stringify(options)).update(model).digest("hex");
    const session = kept.get(key) ?? make(model, options);
    kept.set(key, session);
    return lent(await session);
  };
  Object.assign(runtime, { create });
}

/** Another object of the same session: whoever has released his can't run it any more. */
function lent(session: InferenceSession): InferenceSession {
  let released = false;
  return new Proxy(session, {
    get(target, key) {
      if (key === "release") {
        return async () => {
          released = true;
        };
      }
      if (released) throw new Error("a session is used after its release");
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
