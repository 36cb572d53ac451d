/** @file Pictures side by side meet: what is opened and run when, for whom, and that nobody waits for one who stops, fails or leaves. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { Meeting } from "../../src/pipeline/meeting.ts";
import type { PhaseHost, PlannedJob, Runtime } from "../../src/pipeline/runtime.ts";
import type { PassRun } from "../../src/stream/lanes.ts";
import type { OpenPhase, PhaseRun } from "../../src/stream/phase.ts";

/** Phases in a plan's order; those of the steps run their passes for all lanes at once. */
const PHASES = [
  { id: "encode", lanes: 1, passes: [{ id: "text", cyclic: false }] },
  // The cyclic pass is described before what comes once.
  {
    id: "draw",
    lanes: 3,
    passes: [
      { id: "step", cyclic: true },
      { id: "time", cyclic: false },
      { id: "keys", cyclic: false },
    ],
  },
  { id: "decode", lanes: 1, passes: [{ id: "bands", cyclic: false }] },
];
const planned = {
  plan: { phases: PHASES },
  described: { phases: PHASES },
} as unknown as PlannedJob;

const turns = async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

interface Faults {
  readonly open?: (id: string) => Promise<void> | undefined;
  readonly close?: (id: string) => Promise<void> | undefined;
  readonly run?: (id: string, runs: readonly PassRun[]) => Promise<void> | undefined;
}

/** Notes what is asked of the runtime: phases, and passes with their pictures. */
function studio(count: number, faults: Faults = {}) {
  const events: string[] = [];
  const signals: (AbortSignal | undefined)[] = [];
  const runtime = {
    openPhase: async (_: PlannedJob, id: string, signal?: AbortSignal) => {
      signals.push(signal);
      events.push(`open ${id}`);
      await faults.open?.(id);
      return {
        runTogether: async (pass: string, runs: readonly PassRun[]) => {
          events.push(`${pass} ${runs.map(({ lane, picture }) => `${lane}:${picture}`).join(" ")}`);
          await faults.run?.(pass, runs);
          return runs.map(({ picture }) => {
            return { status: "fulfilled", value: new Map([["y", Float32Array.of(picture)]]) };
          });
        },
        [Symbol.asyncDispose]: async () => {
          events.push(`close ${id}`);
          await faults.close?.(id);
        },
      } as unknown as OpenPhase;
    },
  } as unknown as Runtime;
  const meeting = new Meeting(runtime, planned, [60, 61, 62].slice(0, count));
  return { events, signals, meeting };
}

/** Runs passes in a phase, and gives their results. */
async function visit(host: PhaseHost, id: string, passes: readonly string[], signal?: AbortSignal): Promise<number[]> {
  await using phase: PhaseRun = await host.openPhase(planned, id, signal);
  const found: number[] = [];
  for (const pass of passes) {
    const options = signal ? { signal } : {};
    found.push((await phase.run(pass, new Map(), options)).get("y")![0]!);
  }
  return found;
}

/** A lane's whole task: what it does, then it leaves. */
async function task(meeting: Meeting, lane: number, work: (host: PhaseHost) => Promise<unknown>): Promise<unknown> {
  try {
    return await work(meeting.lane(lane));
  } finally {
    meeting.leave(lane);
  }
}

test("each phase is opened once, the plan's first one first; passes of its steps run once for all who wait for them", async () => {
  const { meeting, events } = studio(3);
  const whole = async (host: PhaseHost) => {
    await visit(host, "encode", ["text"]);
    const results = await visit(host, "draw", ["keys", "time", "step", "step"]);
    await visit(host, "decode", ["bands"]);
    return results;
  };
  const results = await Promise.all([0, 1, 2].map((lane) => task(meeting, lane, whole)));
  await meeting[Symbol.asyncDispose]();
  // Each has its own results.
  assert.deepEqual(results, [new Array(4).fill(60), new Array(4).fill(61), new Array(4).fill(62)]);
  assert.deepEqual(events, [
    // Without lanes: each picture has its turn, in the first lane's memory.
    ...["open encode", "text 0:60", "text 0:61", "text 0:62", "close encode"],
    ...["open draw", "keys 0:60 1:61 2:62", "time 0:60 1:61 2:62"],
    ...["step 0:60 1:61 2:62", "step 0:60 1:61 2:62", "close draw"],
    ...["open decode", "bands 0:60", "bands 0:61", "bands 0:62", "close decode"],
  ]);
});

test("whoever has something to do before a cyclic pass is waited for; whoever is in an earlier phase, too", async () => {
  const { meeting, events } = studio(2);
  const late = async (host: PhaseHost) => {
    await visit(host, "encode", ["text"]);
    return await visit(host, "draw", ["time", "keys", "step"]);
  };
  await Promise.all([task(meeting, 0, (host) => visit(host, "draw", ["step", "step"])), task(meeting, 1, late)]);
  assert.deepEqual(events, [
    ...["open encode", "text 0:61", "close encode"],
    ...["open draw", "time 1:61", "keys 1:61", "step 0:60 1:61", "step 0:60", "close draw"],
  ]);
});

test("one that is stopped while it waits hears its reason at once, and the others go on without it", async () => {
  const { meeting, events } = studio(3);
  const stop = new AbortController();
  let others = 0;
  const stopped = task(meeting, 0, (host) => visit(host, "draw", ["step"], stop.signal)).catch((reason) => reason);
  const going = task(meeting, 1, async (host) => {
    others++;
    return await visit(host, "draw", ["step"]);
  });
  await turns();
  // The third is at work: nothing is opened.
  assert.deepEqual([events, others], [[], 1]);
  stop.abort("enough");
  assert.equal(await stopped, "enough");
  meeting.leave(2);
  assert.deepEqual(await going, [61]);
  assert.deepEqual(events, ["open draw", "step 1:61", "close draw"]);
  // One that is stopped already is never asked for.
  assert.equal(await visit(meeting.lane(1), "draw", [], AbortSignal.abort("late")).catch((reason) => reason), "late");
  assert.equal(events.length, 3);
});

test("a phase is opened for all who wait: it stops once all of them are stopped, and what it fails with is told to each of them alone", async () => {
  const gate = Promise.withResolvers<void>();
  const { meeting, events, signals } = studio(3, {
    open: async (id) => {
      if (id !== "encode") return;
      await gate.promise;
      throw new Error("no room");
    },
  });
  const stops = [new AbortController(), new AbortController()];
  const failures = [0, 1].map((lane) =>
    task(meeting, lane, (host) => visit(host, "encode", [], stops[lane]!.signal)).catch((error) => String(error)),
  );
  const other = task(meeting, 2, (host) => visit(host, "draw", ["step"]));
  await turns();
  stops[0]!.abort("first");
  assert.equal(signals[0]!.aborted, false, "the second goes on");
  stops[1]!.abort("second");
  assert.equal(signals[0]!.aborted, true);
  gate.resolve();
  assert.deepEqual(await Promise.all(failures), ["first", "second"]);
  assert.deepEqual(await other, [62]);
  assert.deepEqual(events, ["open encode", "open draw", "step 2:62", "close draw"]);
  const broken = studio(2, { open: (id) => (id === "encode" ? Promise.reject(new Error("no room")) : undefined) });
  const told = [0, 1].map((lane) =>
    task(broken.meeting, lane, (host) => visit(host, "encode", [])).catch((error) => error.message),
  );
  assert.deepEqual(await Promise.all(told), ["no room", "no room"]);
  assert.deepEqual(broken.events, ["open encode"]);
});

test("of a pass, each hears what came of it; what goes wrong with all of it is told to all", async () => {
  const { meeting } = studio(2, { run: (pass) => (pass === "keys" ? Promise.reject(new Error("lost")) : undefined) });
  const told = [0, 1].map((lane) =>
    task(meeting, lane, async (host) => {
      const first = await visit(host, "draw", ["time"]);
      return [first, await visit(host, "draw", ["keys"]).catch((error) => error.message)];
    }),
  );
  assert.deepEqual(await Promise.all(told), [
    [[60], "lost"],
    [[61], "lost"],
  ]);
});

test("a pass that is under way ends before one that is stopped hears of it", async () => {
  const gate = Promise.withResolvers<void>();
  const { meeting, events } = studio(2, { run: () => gate.promise });
  const stop = new AbortController();
  let heard = false;
  const tasks = [0, 1].map((lane) =>
    task(meeting, lane, (host) => visit(host, "draw", ["step"], stop.signal)).then((values) => {
      heard = true;
      return values;
    }),
  );
  await turns();
  assert.equal(events.at(-1), "step 0:60 1:61");
  stop.abort("enough");
  await turns();
  assert.equal(heard, false, "its memory is still written");
  gate.resolve();
  // What came of it is its own affair: here it was done.
  assert.deepEqual(await Promise.all(tasks), [[60], [61]]);
});

test("inputs and options reach the pass; where pictures have turns, one is at work at a time; no listener stays", async () => {
  const seen: (readonly [string, boolean, boolean])[] = [];
  let atWork = 0;
  const { signal } = new AbortController();
  const { meeting } = studio(2, {
    run: async (id, runs) => {
      assert.equal(++atWork, 1);
      for (const { inputs, options } of runs) seen.push([id, inputs.has("x"), options.upcoming?.[0] === "next"]);
      await turns();
      atWork--;
    },
  });
  const work = async (host: PhaseHost) => {
    for (const [id, pass] of [
      ["encode", "text"],
      ["draw", "step"],
    ] as const) {
      await using phase = await host.openPhase(planned, id, signal);
      await phase.run(pass, new Map([["x", new Float32Array(1)]]), { upcoming: ["next"], signal });
    }
  };
  await Promise.all([0, 1].map((lane) => task(meeting, lane, work)));
  assert.deepEqual(
    seen,
    ["text", "text", "step", "step"].map((id) => [id, true, true]),
  );
  assert.equal(getEventListeners(signal, "abort").length, 0, "it outlives them");
});

test("those who waited for their turn in a phase and were stopped don't hold it open", async () => {
  const opened = Promise.withResolvers<void>();
  const { meeting, events } = studio(2, {
    open: (id) => (id === "encode" ? opened.promise : undefined),
    // As that of a device that is gone.
    close: (id) => (id === "encode" ? Promise.reject(new Error("lost")) : undefined),
  });
  const stops = [new AbortController(), new AbortController()];
  const waiting = [0, 1].map((lane) =>
    visit(meeting.lane(lane), "encode", [], stops[lane]!.signal).catch((reason) => reason),
  );
  await turns();
  for (const [lane, stop] of stops.entries()) stop.abort(`stop ${lane}`);
  assert.deepEqual(await Promise.all(waiting), ["stop 0", "stop 1"]);
  const after = [0, 1].map((lane) => task(meeting, lane, (host) => visit(host, "draw", ["step"])));
  opened.resolve();
  assert.deepEqual(await Promise.all(after), [[60], [61]]);
  assert.deepEqual(events, ["open encode", "close encode", "open draw", "step 0:60 1:61", "close draw"]);
});

test("the end waits for what is under way, and closes what was left open", async () => {
  const gate = Promise.withResolvers<void>();
  const { meeting, events } = studio(1, { open: () => gate.promise });
  const left = meeting.lane(0).openPhase(planned, "draw");
  let ended = false;
  const end = meeting[Symbol.asyncDispose]().then(() => {
    ended = true;
  });
  await turns();
  assert.equal(ended, false);
  gate.resolve();
  await left;
  await end;
  assert.deepEqual(events, ["open draw", "close draw"]);
});
