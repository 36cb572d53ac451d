/** @file A CliContext on strings, with an engine that paints two-byte "pictures". */
import { readdirSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";
import { runCli } from "../../src/cli/program.ts";
import type {
  BudgetOptions,
  CutTexts,
  Engine,
  GenerateJob,
  GenerateOptions,
  OpenEngineOptions,
} from "../../src/job/types.ts";
import type { CliContext } from "../../src/terminal/context.ts";

export interface FakeContext {
  readonly context: CliContext;
  readonly out: () => string;
  readonly err: () => string;
  readonly opened: OpenEngineOptions[];
  /** Of setBudgets. */
  readonly budgets: BudgetOptions[];
  readonly jobs: GenerateJob[];
  /** What came beside each of them. */
  readonly beside: GenerateOptions[];
  /** Presses Ctrl-C. */
  readonly interrupt: () => void;
}

export interface FakeOptions {
  readonly cwd: string;
  /** Lines of standard input. */
  readonly input?: string;
  /** Throws for a job or an opening that shall fail. */
  readonly fail?: (what: {
    readonly check?: OpenEngineOptions;
    readonly open?: OpenEngineOptions;
    readonly job?: GenerateJob;
  }) => void;
  /** What a job says before its first step. */
  readonly note?: string;
  /** Called when a job has made its first step; the job then waits for it, or for its signal. */
  readonly atStep?: (fake: FakeContext) => Promise<void> | void;
}

export function fakeContext({ cwd, input = "", fail, note, atStep }: FakeOptions): FakeContext {
  const handlers = new Set<() => void>();
  const collect = () => {
    const stream = new PassThrough();
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    return { stream, text: () => Buffer.concat(chunks).toString() };
  };
  const [out, err] = [collect(), collect()];
  const fake: FakeContext = {
    out: out.text,
    err: err.text,
    opened: [],
    jobs: [],
    beside: [],
    budgets: [],
    interrupt: () => {
      for (const handler of handlers) handler();
    },
    context: {
      stdin: Readable.from(input === "" ? [] : [input]),
      stdout: out.stream,
      stderr: err.stream,
      cwd,
      env: {},
      openEngine: async (options) => {
        fake.opened.push(options);
        fail?.({ open: options });
        options.onEvent?.({ type: "model", path: options.model ?? "demo", demo: !options.model, backend: "reference" });
        return fakeEngine(fake, { fail, note, atStep });
      },
      checkModel: async (request) => fail?.({ check: request }),
      suspend: async () => {},
      onInterrupt: (handler) => {
        handlers.add(handler);
        return () => handlers.delete(handler);
      },
      exitNow: (code) => {
        throw new Error(`exitNow(${code})`);
      },
    },
  };
  return fake;
}

/** A command line over it: how it ended, its last line of errors, and what lies in its folder then. */
export async function runFake(line: readonly string[], options: FakeOptions) {
  const fake = fakeContext(options);
  const exitCode = await runCli(line, fake.context);
  const { cwd } = fake.context;
  return { ...fake, cwd, exitCode, last: fake.err().trimEnd().split("\n").at(-1)!, files: readdirSync(cwd).sort() };
}

type Behaviour = { readonly [Key in "fail" | "note" | "atStep"]: FakeOptions[Key] | undefined };

function fakeEngine(fake: FakeContext, { fail, note, atStep }: Behaviour): Engine {
  return {
    info: { model: "fake", demo: true, backend: "reference", precision: "fp32", defaultWidth: 128, defaultHeight: 128 },
    async *generate(job, options = {}) {
      fake.jobs.push(job);
      fake.beside.push(options);
      fail?.({ job });
      const { prompt, negativePrompt = "", seed = 0, steps = 30, guidance = 5, width = 128, height = 128 } = job;
      const backend = "reference" as const;
      yield { type: "start", prompt, negativePrompt, seed, steps, guidance, width, height, sampler: "euler", backend };
      if (note !== undefined) yield { type: "note", text: note };
      const pace = { elapsedMs: 1, stepMs: 1, etaMs: 1, readBytes: 0, bytesPerSecond: 0, waitMs: 0 };
      yield { type: "step", step: 1, steps, ...pace };
      await atStep?.(fake);
      options.signal?.throwIfAborted();
      const bytes = Uint8Array.of(Number(BigInt(seed) % 256n), prompt.length);
      const peaks = { peakRssBytes: 3, peakDeviceBytes: 1, peakRamBytes: 2 };
      yield {
        type: "image",
        bytes,
        format: "png",
        width,
        height,
        seed,
        precision: "fp32",
        elapsedMs: 2,
        ...peaks,
        passes: [],
      };
    },
    async *generateMany(requests, { signal } = {}) {
      for (const [index, { job, ...options }] of requests.entries()) {
        try {
          options.signal?.throwIfAborted();
          const either = AbortSignal.any([signal, options.signal].filter((one) => one !== undefined));
          for await (const event of this.generate(job, { ...options, signal: either })) yield { index, event };
        } catch (failure) {
          yield { index, failure };
        }
      }
    },
    plan: async () => {
      throw new Error("the fake engine plans nothing");
    },
    async *watch() {},
    setBudgets: async (budgets) => {
      fake.budgets.push(budgets);
    },
    tokens: async (prompt) => ({ tokenizer: [1, prompt.length], tokenizer_2: [2] }),
    upscale: () => Promise.reject(new Error("not asked for in tests")),
    planUpscale: () => Promise.reject(new Error("not asked for in tests")),
    cutText: async (prompt): Promise<CutTexts> =>
      prompt.length > 77 ? { tokenizer: { limit: 75, tokens: 2, text: prompt.slice(-2) } } : {},
    [Symbol.asyncDispose]: async () => {},
  };
}
