/** @file The thread that an engine computes in, as its client sees it: a worker of Node's, a web worker, or a test's pair of ports. */
import type { ErrorMessage, FromEngine, ToEngine } from "./messages.ts";

export interface EngineThread {
  post(message: ToEngine): void;
  /** To be called once. `onEnd`: the thread is over, asked to or not; no more messages come, and none are taken. */
  listen(onMessage: (message: FromEngine) => void, onEnd: (why: ErrorMessage) => void): void;
  /** Whether the thread keeps the program alive. */
  keepAlive(on: boolean): void;
  /** Ends it at once. Resolves when it is over. */
  terminate(): Promise<void>;
}
