/** @file One entry in the table is enough: a made-up field, and what follows from it everywhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Command } from "commander";
import * as z from "zod";
import { schemaOf } from "../../src/job/field-schema.ts";
import { type Fields, fieldMeant } from "../../src/job/field-type.ts";
import { JOB_FIELDS } from "../../src/job/fields.ts";
import { a1111Parameters, type ImageRecord, solvayJson } from "../../src/job/infotext.ts";
import { checker } from "../../src/job/schema.ts";
import { fieldCommands, type Values } from "../../src/repl/field-commands.ts";
import { addFields, valuesOf } from "../../src/terminal/options.ts";

const FIELDS = {
  ...JOB_FIELDS,
  clipSkip: {
    kind: { type: "whole", min: 1, max: 12 },
    description: "last layers of the text encoder that are left out",
    default: 1,
    flag: { usage: "--clip-skip <n>", group: "Picture" },
    loop: { word: "skip", usage: "N" },
    infotext: { name: "Clip skip" },
    omitsDefault: true,
    aliases: ["clip_skip"],
  },
} as const satisfies Fields;

const RECORD: ImageRecord = {
  prompt: "a cat",
  negativePrompt: "",
  seed: 1,
  steps: 30,
  guidance: 7.25,
  width: 1024,
  height: 768,
  sampler: "euler",
  samplerName: "Euler",
  scheduleType: "DDIM",
  model: "m",
  artifact: "a.lzr2",
  backend: "cpu",
  precision: "fp16 (shader-f16)",
  retry: "NaN, in step 3",
  version: "0.1.0",
};

test("the flag: in the help under its heading, with limits and default; read, and refused by its name", () => {
  const command = addFields(new Command("x"), FIELDS)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  const help = command.helpInformation().replace(/\s+/g, " ");
  assert.match(
    help,
    /Picture: .*--clip-skip <n> last layers of the text encoder that are left out, 1 to 12 \(default: 1\)/,
  );
  const read = (...line: string[]) => valuesOf(FIELDS, command.parse(line, { from: "user" }).opts());
  assert.equal(read().clipSkip, undefined);
  assert.equal(read("--clip-skip", "2").clipSkip, 2);
  assert.throws(
    () => read("--clip-skip", "13"),
    /E_USAGE: --clip-skip must be a whole number from 1 to 12 \(found "13"\)/,
  );
});

test("the loop's word: shows, changes, refuses by its own name", async () => {
  let values: Values = {};
  const settings = {
    read: () => values,
    change: (changed: Values) => {
      values = { ...values, ...changed };
    },
  };
  const { skip, size, seed } = fieldCommands(FIELDS);
  assert.equal(skip!.usage, ":skip N");
  assert.equal(await skip!.run(settings, ""), "Skip: 1");
  assert.equal(await skip!.run(settings, "3"), "Skip: 3");
  assert.deepEqual(values, { clipSkip: 3 });
  await assert.rejects(
    skip!.run(settings, "abc"),
    /E_USAGE: :skip must be a whole number from 1 to 12 \(found "abc"\)/,
  );
  assert.equal(await size!.run(settings, "64x128"), "Size: 64x128");
  await assert.rejects(size!.run(settings, "64"), /:size must be 2 values with an x between them \(found "64"\)/);
  await assert.rejects(size!.run(settings, "64x3"), /:size must be a multiple of 8 from 16 to 4096 \(found "3"\)/);
  assert.equal(await size!.run(settings, ""), "Size: 64x128");
  assert.equal(await size!.run(settings, "default"), "Size: the model's own");
  assert.equal(await seed!.run(settings, "random"), "Seed: random");
});

test("the check, with its limits, its default and the name that others have for it", () => {
  const check = checker({ code: "E_JOB", what: "a job", fields: FIELDS });
  assert.deepEqual(check({ prompt: "x", clipSkip: 12 }), { prompt: "x", clipSkip: 12 });
  assert.throws(
    () => check({ prompt: "x", clipSkip: 13 }),
    /E_JOB clipSkip: out of range \(found 13, allowed a whole number from 1 to 12\)/,
  );
  assert.throws(
    () => check({ prompt: "x", clip_skip: 2 }),
    /E_JOB clip_skip: there is no such field \(did you mean clipSkip\?\)/,
  );
  assert.equal(fieldMeant(FIELDS, "clip_skip"), "clipSkip");
  const { properties, required, additionalProperties } = z.toJSONSchema(schemaOf(FIELDS), { io: "input" });
  const { type, minimum, maximum, description, default: standing } = properties!.clipSkip as Record<string, unknown>;
  assert.deepEqual([type, minimum, maximum, standing], ["integer", 1, 12, 1]);
  assert.equal(description, FIELDS.clipSkip.description);
  assert.deepEqual([required, additionalProperties], [["prompt"], false]);
});

test("the infotext and our JSON: as they have always been, and the new field in its place", () => {
  assert.equal(
    a1111Parameters(RECORD),
    "a cat\nSteps: 30, Sampler: Euler, Schedule type: DDIM, CFG scale: 7.25, Seed: 1, Size: 1024x768, Model: m, RNG: CPU, " +
      'Artifact: a.lzr2, Precision: fp16 (shader-f16), Retry: "NaN, in step 3", Version: Solvay 0.1.0',
  );
  assert.equal(
    solvayJson(RECORD),
    '{"version":"0.1.0","prompt":"a cat","negativePrompt":"","seed":1,"steps":30,"guidance":7.25,"width":1024,"height":768,' +
      '"sampler":"euler","scheduleType":"DDIM","rng":"torch-cpu","model":"m","artifact":"a.lzr2","backend":"cpu",' +
      '"precision":"fp16 (shader-f16)","retry":"NaN, in step 3"}',
  );
  const skipped = { ...RECORD, clipSkip: 2 };
  assert.match(a1111Parameters(skipped, FIELDS), /Size: 1024x768, Model: m, Clip skip: 2, RNG: CPU/);
  assert.match(solvayJson(skipped, FIELDS), /"height":768,"clipSkip":2,"sampler":"euler"/);
  const standing = { ...RECORD, clipSkip: 1 };
  assert.equal(a1111Parameters(standing, FIELDS), a1111Parameters(RECORD));
  assert.equal(solvayJson(standing, FIELDS), solvayJson(RECORD));
});
