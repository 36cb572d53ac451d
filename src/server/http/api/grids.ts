/** @file Our own route for grids: one job with values of up to three fields, a cell each, asked for at once so that cells share passes over the weights. */

import { UsageError } from "../../../errors.ts";
import { JOB_FIELDS } from "../../../job/fields.ts";
import { type GridAxis, parseAxis, requireApart } from "../../../job/grid-axis.ts";
import { drawSeed } from "../../../job/seed.ts";
import type { GenerateJob } from "../../../job/types.ts";
import { askEach, type Services } from "../../services.ts";
import { checkServed } from "../../work/served-job.ts";
import { GRID } from "../answers.ts";
import { jsonOf, MAX_PICTURE_BODY_BYTES } from "../bodies.ts";
import { Refusal } from "../failures.ts";
import type { Route } from "../route.ts";
import { jobSchema, jobView } from "./jobs.ts";

const MAX_CELLS = 400;
const AXES = ["x", "y", "z"] as const;

export function gridRoutes(services: Services): readonly Route[] {
  const axis = {
    type: "string",
    description: 'a field and values: "steps=10,20-40:10", "sampler=euler,dpm++ 2m", "prompt-sr=cat,dog"',
  };
  const from = {
    ...{ type: "integer", minimum: 0, maximum: MAX_CELLS },
    description:
      "only as many cells as the queue has room for, after so many that were asked for; next says where to go on",
  };
  return [
    {
      ...{
        method: "post",
        path: "/api/grids",
        summary: "Ask for a grid: a picture for each pair of values, of one seed",
        ...{ answer: GRID, status: 201 },
      },
      body: {
        schema: {
          type: "object",
          properties: { job: jobSchema(), model: { type: "string" }, x: axis, y: axis, z: axis, from },
          required: ["job", "x"],
          additionalProperties: false,
        },
      },
      async handle(context) {
        const { job, model, from, ...others } = await jsonOf(context, MAX_PICTURE_BODY_BYTES);
        const axes = axesOf(others);
        const asked = checkServed(job);
        const cells = cellsOf({ ...asked, seed: asked.seed ?? drawSeed() }, axes);
        const owner = context.get("owner");
        const order = sharingOrder(axes);
        const begin = beginOf(from);
        const room = from === undefined ? order.length : await services.queue.room(owner);
        const part = order.slice(begin, begin + fitting(order.length - begin, room));
        const jobs = await askEach(
          services,
          part.map((cell) => cells[cell]!),
          { owner, ...(model !== undefined && { model: String(model) }) },
        );
        const found = new Map(part.map((cell, at) => [cell, jobView(jobs[at]!)]));
        const end = begin + part.length;
        return context.json(
          {
            axes: axes.map(({ name, texts }) => ({ name, texts })),
            jobs: cells.map((_, cell) => found.get(cell) ?? null),
            ...(from !== undefined && { next: end < order.length ? end : null }),
          },
          201,
        );
      },
    },
  ];
}

/** Throws Refusal. */
function beginOf(from: unknown): number {
  if (from === undefined) return 0;
  if (typeof from === "number" && Number.isInteger(from) && from >= 0 && from <= MAX_CELLS) return from;
  const problem = `a whole number from 0 to ${MAX_CELLS} is wanted`;
  throw new Refusal(400, { code: "E_GRID", subject: "from", problem, next: "give the next of the answer before" });
}

/** Of so many cells: all, or as many as leave an eighth of the room for others. */
function fitting(cells: number, room: number): number {
  return cells <= room ? Math.max(0, cells) : Math.ceil((room * 7) / 8);
}

/** Throws UsageError `E_GRID`, or Refusal. */
function axesOf(given: Readonly<Record<string, unknown>>): readonly GridAxis[] {
  const named: Record<string, GridAxis> = {};
  for (const [name, text] of Object.entries(given)) {
    if (!AXES.some((each) => each === name) || typeof text !== "string") {
      const problem = "a grid has a job and the axes x, y and z, each as text";
      throw new Refusal(400, { code: "E_GRID", subject: name.slice(0, 60), problem, next: 'give x as "steps=10,20"' });
    }
    named[name] = parseAxis(name, text);
  }
  const axes = AXES.flatMap((name) => named[name] ?? []);
  requireApart(named);
  const problem = gridProblem(axes);
  if (problem === undefined) return axes;
  throw new UsageError({ code: "E_GRID", problem, next: "give other axes, or fewer values" });
}

function gridProblem(axes: readonly GridAxis[]): string | undefined {
  if (axes.length === 0) return "a grid without an axis is a picture";
  if (axes.some(({ opens }) => opens)) return "a server has one model open";
  const cells = axes.reduce((count, { texts }) => count * texts.length, 1);
  return cells > MAX_CELLS ? `the grid has too many cells (found ${cells}, allowed ${MAX_CELLS})` : undefined;
}

/** Places on each axis of cell number `cell`: the first axis counts fastest. */
function placesOf(cell: number, axes: readonly GridAxis[]): readonly number[] {
  let left = cell;
  return axes.map(({ texts }) => {
    const place = left % texts.length;
    left = Math.floor(left / texts.length);
    return place;
  });
}

function cellCount(axes: readonly GridAxis[]): number {
  return axes.reduce((count, { texts }) => count * texts.length, 1);
}

/** Throws UsageError for a value that no job takes. */
function cellsOf(job: GenerateJob, axes: readonly GridAxis[]): readonly GenerateJob[] {
  return Array.from({ length: cellCount(axes) }, (_, cell) => {
    const places = placesOf(cell, axes);
    return checkServed(axes.reduce((made, axis, at) => axis.apply(made, places[at]!), job));
  });
}

/** Cells in an order in which those that one plan fits are neighbours: axes that plans depend on count slowest. */
function sharingOrder(axes: readonly GridAxis[]): readonly number[] {
  const shapes = ({ field }: GridAxis) =>
    field !== undefined && "shapesPlan" in JOB_FIELDS[field as keyof typeof JOB_FIELDS];
  const slow = axes.flatMap((axis, at) => (shapes(axis) ? [at] : []));
  const keyOf = (cell: number) => slow.map((at) => placesOf(cell, axes)[at]!);
  const cells = Array.from({ length: cellCount(axes) }, (_, cell) => cell);
  return cells.toSorted((a, b) => {
    const [one, other] = [keyOf(a), keyOf(b)];
    const at = one.findIndex((place, index) => place !== other[index]);
    return at < 0 ? a - b : one[at]! - other[at]!;
  });
}
