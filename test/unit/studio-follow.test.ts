/** @file What the studio's pages follow, without a browser: the server's schema, the engine's moments, the library, what is kept for all browsers, one stream for all tabs. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { openStudioPage } from "../support/studio-page.ts";

interface Signal<T> {
  value: T;
}
const page = openStudioPage();
const form = await page.load<{
  form: Signal<Record<string, unknown>>;
  prompts: Signal<readonly string[]>;
  schema: Signal<object | undefined>;
  model: Signal<object | undefined>;
}>("state/form.ts");
const turns = async () => {
  for (let i = 0; i < 30; i++) await turn();
};
beforeEach(() => {
  form.form.value = {};
  page.requests.length = 0;
});

test("LoRAs of the form: each once, weighed by itself, gone without a trace; trigger words are added once", async () => {
  const loras = await page.load<{
    loras: Signal<readonly object[]>;
    useLora: (file: string, field?: string) => void;
    dropLora: (file: string) => void;
    weighLora: (file: string, weight: number) => void;
    addWords: (words: string) => void;
  }>("state/loras.ts");
  for (const file of ["a", "b", "a"]) loras.useLora(file);
  loras.weighLora("a", 0.5);
  loras.useLora("c", "hiresLoras");
  assert.deepEqual(form.form.value, {
    loras: [
      { file: "a", weight: 0.5 },
      { file: "b", weight: 1 },
    ],
    hiresLoras: [{ file: "c", weight: 1 }],
  });
  loras.dropLora("a");
  assert.deepEqual(loras.loras.value, [{ file: "b", weight: 1 }]);
  loras.dropLora("b");
  assert.deepEqual(Object.keys(form.form.value), ["hiresLoras"]);
  form.form.value = {};
  for (const words of ["oil", "thick paint", "OIL"]) loras.addWords(words);
  assert.deepEqual(form.form.value, { prompt: "oil, thick paint" });
  form.form.value = { prompt: "a lake, " };
  loras.addWords("oil");
  assert.equal(form.form.value.prompt, "a lake, oil");
});

test("a server that starts, or is away, is asked again for its fields until it tells them; what it refuses is told", async ({
  mock,
}) => {
  const { followServer } = await page.load<{ followServer: (onFailure: (error: unknown) => void) => () => void }>(
    "state/server.ts",
  );
  mock.timers.enable({ apis: ["setTimeout"] });
  const answers = [503, new TypeError("away"), { fields: [] }];
  page.answer = ({ path }) =>
    path === "/api/models" ? { models: [{ name: "mill" }, { name: "lake" }] } : answers.shift();
  const failures: unknown[] = [];
  const end = followServer((error) => failures.push(error));
  for (let tries = 0; tries < 3; tries++) {
    await turns();
    mock.timers.tick(1000);
  }
  assert.deepEqual([form.schema.value, form.model.value, failures], [{ fields: [] }, { name: "mill" }, []]);
  end();
  answers.push(401);
  followServer((error) => failures.push(error))();
  await turns();
  assert.deepEqual(
    failures.map((error) => (error as { status: number }).status),
    [401],
  );
});

test("moments of the engine: what came and left, rates from its counters, which begin again with each picture", async () => {
  const { followWork, blocks, samples, plan, plannedJob, progress } = await page.load<{
    followWork: (onFailure: (error: unknown) => void) => () => void;
    blocks: Signal<{ resident: ReadonlySet<string>; loading: ReadonlySet<string>; segment: string | undefined }>;
    samples: Signal<readonly object[]>;
    plan: Signal<object | undefined>;
    plannedJob: Signal<string | undefined>;
    progress: Signal<object | undefined>;
  }>("views/solvay/engine-state.ts");
  form.schema.value = undefined;
  const end = followWork(() => {});
  page.happens("open", {});
  page.happens("plan", { job: "1", plan: { machine: "here" } });
  page.happens("progress", { job: "1", title: "Denoise", step: 1 });
  assert.deepEqual(
    [plan.value, plannedJob.value, progress.value],
    [{ machine: "here" }, "1", { job: "1", title: "Denoise", step: 1 }],
  );
  page.happens("progress", { job: "1", title: "", over: true });
  assert.equal(progress.value, undefined);
  const moment = (
    atMs: number,
    loadedBytes: number,
    readBytes: number,
    waitMs: number,
    arrived: string[],
    left: string[],
  ) =>
    page.happens("moment", {
      atMs,
      loadedBytes,
      readBytes,
      waitMs,
      arrived,
      left,
      loading: ["x"],
      segment: "unet",
      deviceBytes: 9,
      ramBytes: 8,
    });
  moment(1000, 100, 10, 0, ["a", "b"], []);
  moment(1500, 300, 20, 250, ["c"], ["a"]);
  // Another picture: 50 and 5 bytes since it began.
  moment(2500, 50, 5, 100, [], ["c"]);
  assert.deepEqual(
    [[...blocks.value.resident], [...blocks.value.loading], blocks.value.segment],
    [["b"], ["x"], "unet"],
  );
  const bytes = { deviceBytes: 9, ramBytes: 8 };
  assert.deepEqual(samples.value, [
    { atS: 1, ...bytes, loadedRate: 0, readRate: 0, waiting: 0 },
    { atS: 1.5, ...bytes, loadedRate: 400, readRate: 20, waiting: 0.5 },
    { atS: 2.5, ...bytes, loadedRate: 50, readRate: 5, waiting: 0.1 },
  ]);
  // Another engine, whose clock begins anew.
  page.happens("open", {});
  moment(500, 1, 1, 0, ["d"], []);
  assert.deepEqual([[...blocks.value.resident], samples.value.length], [["d"], 1]);
  end();
});

test("adapters are found by all words that are typed, wherever these stand", async () => {
  const { library, words, found } = await page.load<{
    library: Signal<object>;
    words: Signal<string>;
    found: Signal<readonly { readonly name: string }[]>;
  }>("views/models/library-state.ts");
  const adapter = (name: string, more: object) => ({ name, folder: "", what: "LoRA", triggers: [], tags: [], ...more });
  library.value = {
    imports: [],
    adapters: [adapter("Oil", { tags: ["thick paint"] }), adapter("ink", { triggers: ["OIL"] }), adapter("pen", {})],
  };
  for (const [text, names] of [
    ["", ["Oil", "ink", "pen"]],
    ["oil", ["Oil", "ink"]],
    [" PAINT  oil ", ["Oil"]],
    ["oil pen", []],
    ["lora", ["Oil", "ink", "pen"]],
  ] as const) {
    words.value = text;
    assert.deepEqual(
      found.value.map(({ name }) => name),
      names,
      text,
    );
  }
});

test("an adapter's masks: none where all are white, else one for each picture in its place", async () => {
  const { masksWith } = await page.load<{
    masksWith: (
      masks: readonly string[] | undefined,
      pictures: number,
      at: number,
      value: string | undefined,
    ) => Promise<unknown>;
  }>("likeness/masks.ts");
  const white = `sha256:${"f".repeat(64)}`;
  page.answer = () => ({ sha256: "f".repeat(64) });
  const context = { fillRect() {} };
  Object.assign(globalThis, {
    OffscreenCanvas: class {
      getContext = () => context;
      convertToBlob = async () => new Blob(["x"]);
    },
  });
  assert.deepEqual(await masksWith(undefined, 3, 1, "m"), [white, "m", white]);
  assert.deepEqual(await masksWith(["a", "b"], 2, 1, "m"), ["a", "m"]);
  assert.deepEqual(await masksWith(["a", "m"], 2, 1, undefined), ["a", white]);
  assert.equal(await masksWith([white, "m"], 2, 1, undefined), undefined);
  assert.equal(await masksWith(undefined, 2, 0, undefined), undefined);
});

test("what is kept for all browsers: this one's prompts first, others' settings taken over, and only what changed sent", async ({
  mock,
}) => {
  const { followSettings } = await page.load<{ followSettings: () => () => void }>("state/shared-settings.ts");
  const { theme, languageSetting } = await page.load<{ theme: Signal<string>; languageSetting: Signal<string> }>(
    "state/settings.ts",
  );
  mock.timers.enable({ apis: ["setTimeout"] });
  form.prompts.value = ["own", "both"];
  page.answer = ({ method }) =>
    method === "GET" ? { settings: { prompts: ["both", 7, "theirs"], theme: "dark", language: "xx" } } : {};
  const end = followSettings();
  await turns();
  assert.deepEqual(
    [form.prompts.value, theme.value, languageSetting.value],
    [["own", "both", "theirs"], "dark", "system"],
  );
  theme.value = "light";
  mock.timers.tick(1499);
  assert.equal(page.requests.length, 1);
  mock.timers.tick(1);
  await turns();
  form.prompts.value = ["new"];
  mock.timers.tick(1500);
  const sent = page.requests.slice(1).map(({ body }) => (body as { settings: object }).settings);
  assert.deepEqual(sent, [
    { prompts: ["own", "both", "theirs"], language: "system", theme: "light" },
    { prompts: ["new"] },
  ]);
  end();
});

test("one tab has the stream, and tells the others all that comes; a stream that a browser gave up is opened again", async ({
  mock,
}) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const channels: EventTarget[] = [];
  const BroadcastChannel = class extends EventTarget {
    constructor() {
      super();
      channels.push(this);
    }
    postMessage(data: object) {
      for (const other of channels)
        if (other !== this) other.dispatchEvent(Object.assign(new Event("message"), { data }));
    }
  };
  const streams: (EventTarget & { readyState?: number })[] = [];
  const leaders: (() => Promise<never>)[] = [];
  const EventSource = Object.assign(
    function open() {
      const stream = new EventTarget();
      streams.push(stream);
      return stream;
    },
    { CLOSED: 2 },
  );
  const locks = {
    request: (_: string, lead: () => Promise<never>) => {
      if (leaders.push(lead) === 1) return lead();
      return new Promise(() => {});
    },
  };
  Object.assign(globalThis, { BroadcastChannel, EventSource, navigator: { locks } });
  Object.assign((globalThis as unknown as { window: object }).window, { BroadcastChannel });
  const { followStream } = await page.load<{
    followStream: (path: string, types: readonly string[], listener: object) => void;
  }>("api/shared-stream.ts");
  const tab = () => {
    const heard: string[] = [];
    followStream("/api/events", ["done"], {
      onOpen: () => heard.push("open"),
      onLost: () => heard.push("lost"),
      onEvent: (type: string, text: string) => heard.push(`${type} ${text}`),
    });
    return heard;
  };
  const first = tab();
  const second = tab();
  assert.equal(streams.length, 1);
  streams[0]!.dispatchEvent(new Event("open"));
  streams[0]!.dispatchEvent(Object.assign(new Event("done"), { data: "1" }));
  // One that comes later learns how things are.
  const third = tab();
  assert.deepEqual([first, second, third], [["open", "done 1"], ["open", "done 1"], ["open"]]);
  // A connection that is lost for a moment is the browser's own to open again.
  streams[0]!.dispatchEvent(new Event("error"));
  mock.timers.tick(10_000);
  assert.deepEqual([streams.length, first.at(-1), third.at(-1)], [1, "lost", "lost"]);
  streams[0]!.readyState = EventSource.CLOSED;
  streams[0]!.dispatchEvent(new Event("error"));
  mock.timers.tick(2000);
  assert.equal(streams.length, 2);
  streams[1]!.dispatchEvent(new Event("open"));
  streams[1]!.dispatchEvent(Object.assign(new Event("done"), { data: "2" }));
  assert.deepEqual(
    [first.slice(-2), third.slice(-2)],
    [
      ["open", "done 2"],
      ["open", "done 2"],
    ],
  );
});
