/** @file The one check of jobs and open requests: limits at both ends, types, unknown fields, other programs' names, budgets. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod";
import { UsageError } from "../../src/errors.ts";
import { schemaOf } from "../../src/job/field-schema.ts";
import { type Field, fieldMeant, type ValuesOf } from "../../src/job/field-type.ts";
import { BUDGET_FIELDS, JOB_FIELDS, type OPEN_FIELDS } from "../../src/job/fields.ts";
import { completeJob, type FullJob, type GenerateJob, type PlanJob } from "../../src/job/job.ts";
import {
  checkBudgets,
  checkGenerateOptions,
  checkJob,
  checkOpen,
  checkPlanJob,
  checkPlanOptions,
} from "../../src/job/schema.ts";
import { seedAfter } from "../../src/job/seed.ts";
import { valueFromText } from "../../src/job/text.ts";
import type { BudgetOptions, GenerateOptions, OpenEngineOptions } from "../../src/job/types.ts";
import { GiB, MiB } from "../../src/ledger/byte-text.ts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Plain<T> = { [Key in keyof T]: T[Key] };

test("the published interfaces, written by hand for their docs, are what the tables say (else this does not compile)", () => {
  const job: Same<Plain<GenerateJob>, Plain<ValuesOf<typeof JOB_FIELDS>>> = true;
  type Options = Omit<OpenEngineOptions, "budgets" | "signal" | "onEvent">;
  const open: Same<Plain<Options>, Plain<ValuesOf<typeof OPEN_FIELDS>>> = true;
  const budgets: Same<keyof BudgetOptions, keyof typeof BUDGET_FIELDS> = true;
  type Shaping = {
    [Name in keyof typeof JOB_FIELDS]: (typeof JOB_FIELDS)[Name] extends { readonly shapesPlan: true } ? Name : never;
  }[keyof typeof JOB_FIELDS];
  const plan: Same<keyof PlanJob, Shaping> = true;
  assert.ok(job && open && budgets && plan);
});

const refusal = (code: string, subject: string, problem: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UsageError, String(error));
  assert.equal(error.code, code);
  assert.equal(error.subject, subject);
  assert.match(error.problem, problem);
  assert.match(error.message, /^E_\w+ .+: .+\. Next: .+\.$/);
  return true;
};
const refuseJob = (job: unknown, field: string, problem: RegExp) =>
  assert.throws(() => checkJob(job), refusal("E_JOB", field, problem));

for (const [name, field] of Object.entries<Field>(JOB_FIELDS)) {
  const { kind } = field;
  test(`${name}: its limits hold at both ends, in the check and in text`, () => {
    const accept = (value: unknown) =>
      assert.deepEqual(checkJob({ prompt: "", [name]: value }), { prompt: "", [name]: value });
    const refuse = (value: unknown) =>
      refuseJob({ prompt: "", [name]: value }, name, /^out of range \(found .+, allowed .+\)$/);
    if (kind.type === "text") {
      accept("");
      accept("x".repeat(kind.maxChars));
      refuse("x".repeat(kind.maxChars + 1));
    } else if (kind.type === "whole" || kind.type === "decimal") {
      const step = kind.type === "decimal" ? 0.001 : (kind.multiple ?? 1);
      const inside = [kind.min, kind.min + step, kind.max - step, kind.max];
      const outside = [kind.min - step, kind.max + step, Number.NaN, Number.POSITIVE_INFINITY];
      if (kind.type === "whole") outside.push(kind.min + 0.5);
      if (kind.type === "whole" && kind.multiple !== undefined) outside.push(kind.min + kind.multiple / 2);
      for (const value of inside) {
        accept(value);
        assert.equal(valueFromText(kind, "--x", String(value)), value);
      }
      for (const value of outside) {
        refuse(value);
        assert.throws(() => valueFromText(kind, "--x", String(value)), /E_USAGE.*--x must be/);
      }
    }
  });
}

test("seeds are torch's, 0 to 2^64 - 1, exact also where numbers are not; -1 leaves it to chance", () => {
  const largest = "18446744073709551615";
  const read = (seed: unknown) => checkJob({ prompt: "", seed }).seed;
  for (const [given, seed] of [
    [0, 0],
    [2 ** 53 - 1, 2 ** 53 - 1],
    ["9007199254740991", 2 ** 53 - 1],
    ["9007199254740993", "9007199254740993"],
    [largest, largest],
    ["007", 7],
    [-1, undefined],
    ["-1", undefined],
  ] as const) {
    assert.equal(read(given), seed);
    assert.equal(valueFromText(JOB_FIELDS.seed.kind, "--seed", String(given)), seed);
  }
  for (const wrong of [-2, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    refuseJob(
      { prompt: "", seed: wrong },
      "seed",
      /^out of range .* \(above 9007199254740991 as a string of digits\)\)$/,
    );
  }
  for (const wrong of ["18446744073709551616", "9".repeat(5000), "-2", "1.0", "1e3", "", " 7", "abc", null, [7], 7n]) {
    refuseJob(
      { prompt: "", seed: wrong },
      "seed",
      /^a whole number from 0 to 18446744073709551615, or -1 for a random/,
    );
  }
  for (const wrong of ["18446744073709551616", "-2", "0.5", "1e3", "", "abc"]) {
    assert.throws(() => valueFromText(JOB_FIELDS.seed.kind, "--seed", wrong), /E_USAGE.*--seed must be a whole number/);
  }
  assert.equal(seedAfter(2 ** 53 - 1, 2), "9007199254740993");
  assert.equal(seedAfter("9007199254740993", 0), "9007199254740993");
  assert.equal(seedAfter(largest, 0), largest);
  assert.equal(seedAfter("18446744073709551614", 2), undefined);
  const drawn = completeJob(checkJob({ prompt: "", seed: -1 }), { width: 16, height: 16, sampler: "euler" }).seed;
  assert.ok(Number.isInteger(drawn) && Number(drawn) >= 0);
  const described = z.toJSONSchema(schemaOf(JOB_FIELDS), { io: "input" }).properties!.seed;
  assert.match(JSON.stringify(described), /seed of the noise.*"integer".*9007199254740991.*"string"/);
});

test("a wrong type is said as a type, and what is missing as missing", () => {
  refuseJob({ prompt: "x", steps: "2" }, "steps", /^a whole number from 1 to 1000 is wanted \(found a string "2"\)$/);
  refuseJob({ prompt: "x", steps: null }, "steps", /is wanted \(found null\)$/);
  refuseJob({ prompt: "x", guidance: [5] }, "guidance", /^a number from 0 to 100 is wanted \(found an array\)$/);
  refuseJob({ prompt: 5 }, "prompt", /^text of at most 65536 characters is wanted \(found 5\)$/);
  refuseJob({ prompt: "x", negativePrompt: {} }, "negativePrompt", /found an object/);
  refuseJob({}, "prompt", /^is missing/);
  for (const nothing of [null, "a lake", 7, undefined, ["a lake"]]) {
    assert.throws(() => checkJob(nothing), /^UsageError: E_JOB: a job is an object \(found .+\)\./);
  }
});

test("unknown fields are refused by name, with the field that was meant", () => {
  for (const [name, meant] of [
    ["num_inference_steps", "steps"],
    ["guidance_scale", "guidance"],
    ["cfg_scale", "guidance"],
    ["negative_prompt", "negativePrompt"],
    ["Negative-Prompt", "negativePrompt"],
    ["SEED", "seed"],
  ] as const) {
    refuseJob({ prompt: "x", [name]: 1 }, name, new RegExp(`^there is no such field \\(did you mean ${meant}\\?\\)$`));
    assert.equal(fieldMeant(JOB_FIELDS, name), meant);
  }
  refuseJob({ prompt: "x", stepz: 1 }, "stepz", /^there is no such field$/);
  refuseJob({ prompt: "x", __proto__x: 1 }, "__proto__x", /^there is no such field$/);
  refuseJob(JSON.parse('{"prompt":"x","__proto__":1}'), "__proto__", /^there is no such field$/);
  refuseJob({ prompt: "x", signal: AbortSignal.abort() }, "signal", /beside the job/);
  refuseJob({ prompt: "x", telemetry: true }, "telemetry", /beside the job/);
  refuseJob({ prompt: "x", ["a".repeat(5000)]: 1 }, "a".repeat(60), /no such field/);
});

test("whoever calls a field otherwise is told its name, and not to leave it out", () => {
  assert.throws(() => checkJob({ prompt: "x", num_inference_steps: 3 }), /\. Next: name it steps\.$/);
  assert.throws(() => checkJob({ prompt: "x", signal: 1 }), /generate\(job, \{ signal \}\)\)\. Next: put it there\.$/);
  assert.throws(() => checkOpen({ vram: "4G" } as OpenEngineOptions), /it goes into budgets\)\. Next: put it there\.$/);
  assert.throws(
    () => checkJob({ prompt: "x", "a\nb": 1 }),
    /^UsageError: E_JOB a b: there is no such field\. Next: .*\.$/,
  );
});

test("what is wrong inside a list is told by its item and setting", () => {
  for (const [fields, subject, problem] of [
    [{ loras: [{ file: "a", weight: "1" }] }, "loras[0].weight", 'a number is wanted (found a string "1")'],
    [{ loras: [{ file: "a" }, { weight: 1 }] }, "loras[1].file", "is missing (text is wanted)"],
    [{ loras: ["a:0.8"] }, "loras[0]", 'an object with a file and its settings is wanted (found a string "a:0.8")'],
    [{ loras: [{ file: "a", weight: 101 }] }, "loras[0].weight", "out of range (found 101, allowed at most 100)"],
    [{ loras: [{ file: "a", from: -0.5 }] }, "loras[0].from", "out of range (found -0.5, allowed at least 0)"],
    [{ loras: [{ file: "a", strength: 1 }] }, "loras[0].strength", "there is no such setting"],
    [{ controls: [{ file: "a", weight: null }] }, "controls[0].weight", "a number is wanted (found null)"],
    [{ ipAdapters: [{ file: "a", scale: 1 }] }, "ipAdapters[0].scale", "there is no such setting"],
    [{ embeddings: ["a", 5] }, "embeddings[1]", "text is wanted (found 5)"],
  ] as const) {
    const isTold = (error: Error) =>
      error instanceof UsageError && error.subject === subject && error.problem === problem;
    assert.throws(() => checkJob({ prompt: "x", ...fields }), isTold, JSON.stringify(fields));
  }
  assert.throws(
    () => checkJob({ prompt: "x", loras: [{ file: "a", strength: 1 }] }),
    /Next: leave it out: there are file, weight, unet, te, from, to\.$/,
  );
});

test("no two fields are called the same by other programs", () => {
  const names = Object.entries<Field>(JOB_FIELDS).flatMap(([name, { aliases = [] }]) => [name, ...aliases]);
  assert.equal(new Set(names).size, names.length);
});

test("a checked job crosses threads as it is: plain JSON", () => {
  const job = {
    prompt: "a lake",
    negativePrompt: "",
    seed: 2 ** 53 - 1,
    steps: 4,
    guidance: 2.5,
    width: 64,
    height: 72,
  };
  assert.deepEqual(checkJob(job), job);
  assert.deepEqual(JSON.parse(JSON.stringify(checkJob(job))), job);
  assert.deepEqual({ ...checkPlanJob({ steps: 2, width: 64 }) }, { prompt: "", steps: 2, width: 64 });
  assert.throws(() => checkPlanJob({ steps: 0 }), /E_JOB steps/);
  assert.throws(() => checkPlanJob(null), /E_JOB/);
});

test("a job is completed by the table, the model and chance, in the order of the table", () => {
  const model = { width: 512, height: 768, sampler: "euler" } as const;
  const full: FullJob = completeJob({ prompt: "x" }, model);
  assert.deepEqual(full, { prompt: "x", seed: full.seed, steps: 30, guidance: 5, ...model });
  assert.ok(Number.isInteger(full.seed) && Number(full.seed) >= 0 && Number(full.seed) < 2 ** 32);
  const given = {
    prompt: "",
    negativePrompt: "",
    seed: 0,
    steps: 1,
    guidance: 0,
    width: 16,
    height: 16,
    sampler: "euler",
  };
  assert.deepEqual(completeJob(given, model), given);
  // What stands at a default that records leave out is as if it were not there; a variation's seed is drawn where there is one.
  const standing = { schedule: "default", guidanceRescale: 0, rng: "cpu", subseed: 4, subseedStrength: 0 };
  assert.deepEqual(completeJob({ ...given, ...standing }, model), given);
  assert.equal(completeJob({ ...given, subseed: 4, subseedStrength: 0.5 }, model).subseed, 4);
  assert.ok(Number.isInteger(completeJob({ ...given, subseedStrength: 0.5 }, model).subseed));
  assert.deepEqual(Object.keys(completeJob({ height: 64, prompt: "x", seed: 1 }, model)).slice(0, 2), [
    "prompt",
    "seed",
  ]);
});

test("an open request: checked, budgets read once, and nothing in it that can't cross to a thread", () => {
  const options = {
    model: "m",
    backend: "cpu",
    budgets: { vram: "6G" },
    onEvent: () => {},
    signal: new AbortController().signal,
  };
  const request = checkOpen(options as OpenEngineOptions);
  assert.deepEqual({ ...request }, { model: "m", backend: "cpu", budgets: { vram: { bytes: 6 * GiB } } });
  structuredClone(request);
  const refuse = (asked: object, field: string, problem: RegExp) =>
    assert.throws(() => checkOpen(asked as OpenEngineOptions), refusal("E_OPTION", field, problem));
  refuse({ modle: "m" }, "modle", /^there is no such field$/);
  refuse({ device: "cuda" }, "device", /did you mean backend\?/);
  refuse({ vram: "6G" }, "vram", /goes into budgets/);
  refuse({ backend: "gpu" }, "backend", /^one of auto, webgpu, cpu, reference is wanted \(found a string "gpu"\)$/);
  refuse({ precision: "fp8" }, "precision", /^one of fp32, fp16 is wanted/);
  refuse({ compat: 1 }, "compat", /^true or false is wanted \(found 1\)$/);
  refuse({ model: 5 }, "model", /^text of at most/);
  refuse({ budgets: { vrm: "6G" } }, "vrm", /^there is no such field$/);
  refuse({ signal: { aborted: false } }, "signal", /^an AbortSignal is wanted \(found an object\)$/);
  refuse({ onEvent: "log" }, "onEvent", /^a function is wanted \(found a string "log"\)$/);
});

test("budgets can be described to programs, too", () => {
  const { properties } = z.toJSONSchema(schemaOf(BUDGET_FIELDS), { io: "input" });
  const { anyOf, description } = properties!.vram as { anyOf: readonly { type: string }[]; description: string };
  assert.deepEqual(
    anyOf.slice(0, 2).map(({ type }) => type),
    ["string", "integer"],
  );
  assert.match(description, /bound of device memory.*default: chosen by what is free/);
});

test("budgets: text, a number of bytes, or a value; read into bytes, or all but so many", () => {
  assert.deepEqual(checkBudgets({}), {});
  assert.deepEqual(checkBudgets({ vram: "512M", ram: "-1G" }), { vram: { bytes: 512 * MiB }, ram: { allBut: GiB } });
  assert.deepEqual(checkBudgets({ vram: 7 }), { vram: { bytes: 7 } });
  const values = { vram: { bytes: 5 }, ram: { allBut: 6 } };
  assert.deepEqual(checkBudgets(values), values);
  assert.deepEqual(checkBudgets(checkBudgets({ vram: "6G" })), { vram: { bytes: 6 * GiB } });
  assert.throws(() => checkBudgets({ vram: "lots" }), refusal("E_BUDGET_SYNTAX", "--vram", /"lots" is no amount/));
  for (const wrong of [0, -1, 1.5, Number.NaN, true, {}, { bytes: 0 }, { bytes: "6G" }, { bytes: 1, allBut: 1 }]) {
    assert.throws(() => checkBudgets({ ram: wrong }), refusal("E_OPTION", "ram", /^an amount of memory/));
  }
});

test("what stands beside a job, and an open request, are checked by name and type", () => {
  const refused = (code: string, pattern: RegExp) => (error: unknown) =>
    error instanceof UsageError && error.code === code && pattern.test(error.message);
  assert.deepEqual(checkGenerateOptions({ telemetry: true, states: undefined }), {
    telemetry: true,
    states: undefined,
  });
  const from = { step: 1, x: new Float32Array(4), history: [] };
  assert.deepEqual(checkGenerateOptions({ from }), { from });
  for (const wrong of [{ step: 1.5 }, { x: [1] }, { history: [1] }, { history: {} }, { retry: 1 }]) {
    assert.throws(
      () => checkGenerateOptions({ from: { ...from, ...wrong } } as unknown as GenerateOptions),
      refused("E_OPTION", /from: a step's state is wanted/),
    );
  }
  const unknown = { telemtry: true } as object;
  assert.throws(() => checkGenerateOptions(unknown), refused("E_OPTION", /telemtry: there is no such option/));
  const wrong = { states: "yes" } as unknown as GenerateOptions;
  assert.throws(
    () => checkGenerateOptions(wrong),
    refused("E_OPTION", /states: a boolean is wanted \(found a string "yes"\)/),
  );
  const besides = (value: object) => () => checkGenerateOptions(value as GenerateOptions);
  assert.throws(besides({ from: 5n }), refused("E_OPTION", /from: an object is wanted \(found the bigint 5n\)/));
  assert.throws(besides({ signal: {} }), refused("E_OPTION", /signal: an AbortSignal is wanted \(found an object\)/));
  assert.throws(
    besides({ states: () => true }),
    refused("E_OPTION", /states: a boolean is wanted \(found a function\)/),
  );
  assert.deepEqual(checkPlanOptions({ as: "gtx1060-6g", budgets: { vram: "1G" } }), {
    as: "gtx1060-6g",
    budgets: { vram: { bytes: 2 ** 30 } },
  });
  assert.throws(() => checkPlanOptions({ machine: "x" } as object), refused("E_OPTION", /machine: there is no such/));
  assert.throws(() => checkOpen(null as unknown as object), refused("E_OPTION", /an open request is an object/));
  assert.throws(() => checkOpen({ budgets: 0 as unknown as object }), refused("E_OPTION", /budget/));
});
