/** @file What pages see of the engine's work: the plan, what lies where as it changes, what was measured; and plans for other budgets and cards. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { BudgetError } from "../../src/errors.ts";
import type { PlanOptions, PlanReport, ResidencyEvent } from "../../src/job/types.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../support/server.ts";

const moment = (atMs: number, resident: string[], loading: string[]): ResidencyEvent => ({
  ...{ atMs, pass: "step", segment: "mid", resident, loading, deviceBytes: 10 * atMs, ramBytes: 5, rssBytes: 6 },
  ...{ readBytes: 7, loadedBytes: 8, waitMs: 9 },
});
const MOMENTS = [moment(1, ["unet/a"], ["unet/b"]), moment(2, ["unet/a", "unet/b"], []), moment(3, ["unet/b"], [])];
const planned: unknown[] = [];

let folder: string;
let server: RunningServer;
before(async () => {
  folder = await serverFolder();
  server = await pretendingServer({
    ...{ folder, moments: MOMENTS },
    async plan(job, options: PlanOptions = {}) {
      planned.push({ prompt: job.prompt, ...options });
      const { as, budgets } = options;
      if (budgets?.vram !== undefined && JSON.stringify(budgets.vram) === '{"bytes":1048576}')
        throw new BudgetError({ code: "E_VRAM", problem: "the decoder needs 2 MiB", next: "give more" });
      const map = [{ key: "unet/a", segment: "mid", owner: "unet", bytes: 3, place: "pinned" }];
      return { machine: as ?? "here", lanes: 1, phases: [{ passes: [{ id: "step", map }] }] } as unknown as PlanReport;
    },
  });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function plan(body: object): Promise<{ status: number; json: Record<string, unknown> }> {
  const answer = await fetch(`${server.url}/api/plan`, {
    ...{ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
  });
  return { status: answer.status, json: (await answer.json()) as Record<string, unknown> };
}

interface Sent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Events until one that `until` takes; then the connection ends. */
async function live(until: (sent: Sent) => boolean): Promise<readonly Sent[]> {
  const seen: Sent[] = [];
  const answer = await fetch(`${server.url}/api/telemetry/live`);
  let text = "";
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)/s.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (event === undefined) continue;
      seen.push({ event, data: JSON.parse(data!) as Sent["data"] });
      if (until(seen.at(-1)!)) return seen;
    }
  }
  return seen;
}

test("moments come as changes from what a listener has seen", async () => {
  const seen = await live(({ event, data }) => event === "moment" && data.atMs === 3);
  const known = new Set<string>();
  for (const { event, data } of seen) {
    if (event !== "moment") continue;
    for (const key of data.arrived as string[]) known.add(key);
    for (const key of data.left as string[]) assert.ok(known.delete(key), `${key} was never there`);
  }
  assert.deepEqual([...known], ["unet/b"]);
  assert.equal(seen.at(-1)!.data.deviceBytes, 30);
  assert.equal(seen.at(-1)!.data.resident, undefined);
});

test("the plan of a job that is drawn, its steps and what it took are told, and stay to be read", async () => {
  const listening = live(({ event, data }) => event === "progress" && data.over === true);
  const answer = await fetch(`${server.url}/api/jobs`, {
    ...{ method: "POST", headers: { "content-type": "application/json" } },
    body: JSON.stringify({ job: { prompt: "a lake", steps: 3 } }),
  });
  const { jobs } = (await answer.json()) as { jobs: { id: string }[] };
  const seen = await listening;
  const kinds = new Set(seen.filter(({ data }) => data.job === jobs[0]!.id).map(({ event }) => event));
  for (const kind of ["plan", "measured", "progress"]) assert.ok(kinds.has(kind), kind);
  const state = (await (await fetch(`${server.url}/api/telemetry`)).json()) as Record<string, { job?: string }>;
  assert.equal(state.plan?.job, jobs[0]!.id);
  assert.equal(state.measured?.job, jobs[0]!.id);
});

test("several plans at once, for budgets and cards; one that doesn't fit says so in its place", async () => {
  planned.length = 0;
  const variants = [{ as: "rtx2060-6g" }, { vram: "4G", ram: 1_000_000_000, count: 4 }, { vram: "1M" }];
  const { status, json } = await plan({ job: { prompt: "a lake" }, variants, brief: true });
  assert.equal(status, 200);
  const plans = json.plans as {
    machine?: string;
    phases?: { passes: { map: unknown[] }[] }[];
    error?: { code: string };
  }[];
  assert.deepEqual(
    plans.map(({ machine, error }) => machine ?? error?.code),
    ["rtx2060-6g", "here", "E_VRAM"],
  );
  assert.deepEqual(plans[0]!.phases![0]!.passes[0]!.map, []);
  assert.deepEqual(planned[1], {
    prompt: "a lake",
    as: undefined,
    budgets: { vram: { bytes: 4 * 2 ** 30 }, ram: { bytes: 1_000_000_000 } },
    count: 4,
  });
  const whole = await plan({ job: { prompt: "a lake" } });
  assert.equal((whole.json.phases as { passes: { map: unknown[] }[] }[])[0]!.passes[0]!.map.length, 1);
});

test("options of plans are checked", async () => {
  for (const variants of ["all", [3], [{ speed: 2 }], [{ count: 0 }], [{ vram: "lots" }], Array(13).fill({})]) {
    assert.equal((await plan({ job: { prompt: "" }, variants })).status, 400, JSON.stringify(variants));
  }
  const { machines } = (await (await fetch(`${server.url}/api/machines`)).json()) as { machines: { name: string }[] };
  assert.ok(machines.some(({ name }) => name === "gtx1060-6g"));
});
