/** @file What a picture's record says of its model and its negative prompt. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSchedulerConfig } from "../../src/checkpoint/scheduler-config.ts";
import { recordOf } from "../../src/engine/picture-record.ts";
import { a1111Parameters, solvayJson } from "../../src/job/infotext.ts";
import type { Checkpoint } from "../../src/models/family.ts";

const { config: scheduler } = parseSchedulerConfig('{"timestep_spacing":"leading"}');
const CHECKPOINT = { scheduleTitle: "DDIM", scheduler } as Checkpoint;
const COMMIT = "0123456789abcdef0123456789abcdef01234567";

function recordFor(model: string, negativePrompt?: string) {
  const job = { prompt: "a lake", negativePrompt, seed: 1, steps: 2, guidance: 5, width: 8, height: 8 };
  const picture = { rgb: new Uint8Array(192), width: 8, height: 8 };
  const info = {
    model,
    demo: false,
    backend: "reference",
    precision: "fp32",
    defaultWidth: 8,
    defaultHeight: 8,
  } as const;
  return recordOf({ ...job, sampler: "euler" }, picture, info, CHECKPOINT);
}

for (const [path, id] of [
  [`/home/u/.cache/huggingface/hub/models--org--name/snapshots/${COMMIT}`, "org/name"],
  [`/home/u/.cache/huggingface/hub/models--org--name/snapshots/${COMMIT}/`, "org/name"],
  [`D:\\hf\\hub\\models--org--a-name_1.0\\snapshots\\${COMMIT}`, "org/a-name_1.0"],
  [`models--name/snapshots/${COMMIT}`, "name"],
] as const) {
  test(`${path} is named ${id}, with its commit`, () => {
    const record = recordFor(path);
    assert.match(a1111Parameters(record), new RegExp(`, Model: ${id}, RNG: CPU, Version`));
    const { model, modelRevision } = JSON.parse(solvayJson(record));
    assert.deepEqual([model, modelRevision], [id, COMMIT]);
  });
}

for (const [path, name] of [
  ["/models/my sdxl/", "my sdxl"],
  ["C:\\models\\demo", "demo"],
  [`/tmp/snapshots/${COMMIT}`, COMMIT],
  [`/hub/models--org--name/snapshots/${COMMIT}/unet`, "unet"],
  ["/hub/models--org--name/snapshots/main", "main"],
] as const) {
  test(`${path} is named ${name}`, () => {
    const text = solvayJson(recordFor(path));
    assert.deepEqual([JSON.parse(text).model, text.includes("modelRevision")], [name, false]);
  });
}

test("an empty negative prompt is told apart from none; all else stays as it was", () => {
  const [none, empty, fog] = [undefined, "", "fog"].map((negative) => solvayJson(recordFor("m", negative)));
  assert.ok(none!.includes('"negativePrompt":""') && !none!.includes("emptyNegativePrompt"));
  assert.equal(empty, none!.replace(/}$/, ',"emptyNegativePrompt":true}'));
  assert.equal(fog, none!.replace('"negativePrompt":""', '"negativePrompt":"fog"'));
});
