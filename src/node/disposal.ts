/**
 * @file What TypeScript's lowered `using` and our own code need of explicit resource management, where the platform lacks it: Node 22
 * has the symbols, not the classes. Importing this file, before any other, defines what is missing; it replaces nothing.
 * As ECMAScript defines them, but that disposers are called in turn without the extra ticks.
 */
type Disposer = () => unknown;

/** The disposers of both stacks, and who holds them. */
class Held {
  #disposers: Disposer[] | undefined = [];

  get disposed(): boolean {
    return this.#disposers === undefined;
  }

  push(disposer: Disposer): void {
    this.#open().push(disposer);
  }

  /** Gives up all of them: this is disposed then. */
  take(): Disposer[] {
    const taken = this.#open();
    this.#disposers = undefined;
    return taken;
  }

  move(): Held {
    const moved = new Held();
    moved.#disposers = this.take();
    return moved;
  }

  #open(): Disposer[] {
    if (!this.#disposers) throw new ReferenceError("a disposed stack holds nothing");
    return this.#disposers;
  }
}

/** Several failures in one: the later one, in `error`, hides the one before it, in `suppressed`. */
class Failures {
  #failure: { readonly error: unknown } | undefined;

  add(error: unknown): void {
    this.#failure = { error: this.#failure ? new SuppressedError(error, this.#failure.error) : error };
  }

  rethrow(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

function method(value: object, symbols: readonly symbol[]): () => unknown {
  for (const symbol of symbols) {
    const found: unknown = Reflect.get(value, symbol);
    if (typeof found === "function") return () => Reflect.apply(found, value, []);
    if (found !== undefined && found !== null) break;
  }
  throw new TypeError("the value can't be disposed of");
}

export class SuppressedErrorClass extends Error {
  readonly error: unknown;
  readonly suppressed: unknown;

  constructor(error: unknown, suppressed: unknown, message = "") {
    super(message);
    this.error = error;
    this.suppressed = suppressed;
  }

  static {
    Object.defineProperty(SuppressedErrorClass.prototype, "name", {
      value: "SuppressedError",
      writable: true,
      configurable: true,
    });
  }
}

export class DisposableStackClass implements DisposableStack {
  #held = new Held();

  get disposed(): boolean {
    return this.#held.disposed;
  }

  get [Symbol.toStringTag](): string {
    return "DisposableStack";
  }

  use<T extends Disposable | null | undefined>(value: T): T {
    if (value !== null && value !== undefined) this.#held.push(method(value, [Symbol.dispose]));
    return value;
  }

  adopt<T>(value: T, onDispose: (value: T) => void): T {
    this.#held.push(() => onDispose(value));
    return value;
  }

  defer(onDispose: () => void): void {
    this.#held.push(onDispose);
  }

  move(): DisposableStack {
    const moved = new DisposableStackClass();
    moved.#held = this.#held.move();
    return moved;
  }

  dispose(): void {
    if (this.disposed) return;
    const failures = new Failures();
    for (const disposer of this.#held.take().reverse()) {
      try {
        disposer();
      } catch (error) {
        failures.add(error);
      }
    }
    failures.rethrow();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

export class AsyncDisposableStackClass implements AsyncDisposableStack {
  #held = new Held();

  get disposed(): boolean {
    return this.#held.disposed;
  }

  get [Symbol.toStringTag](): string {
    return "AsyncDisposableStack";
  }

  use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T {
    if (value !== null && value !== undefined) this.#held.push(method(value, [Symbol.asyncDispose, Symbol.dispose]));
    return value;
  }

  adopt<T>(value: T, onDisposeAsync: (value: T) => PromiseLike<void> | void): T {
    this.#held.push(() => onDisposeAsync(value));
    return value;
  }

  defer(onDisposeAsync: () => PromiseLike<void> | void): void {
    this.#held.push(onDisposeAsync);
  }

  move(): AsyncDisposableStack {
    const moved = new AsyncDisposableStackClass();
    moved.#held = this.#held.move();
    return moved;
  }

  async disposeAsync(): Promise<void> {
    if (this.disposed) return;
    const failures = new Failures();
    for (const disposer of this.#held.take().reverse()) {
      try {
        await disposer();
      } catch (error) {
        failures.add(error);
      }
    }
    failures.rethrow();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.disposeAsync();
  }
}

for (const [name, value] of Object.entries({
  SuppressedError: SuppressedErrorClass,
  DisposableStack: DisposableStackClass,
  AsyncDisposableStack: AsyncDisposableStackClass,
})) {
  if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
}
