/** @file Infotexts read back: by A1111's own pattern, of the programs that people have, and of ourselves for any job. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Field, Fields } from "../../src/job/field-type.ts";
import { JOB_FIELDS } from "../../src/job/fields.ts";
import { a1111Parameters, type ImageRecord, solvayJson } from "../../src/job/infotext.ts";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { parseInfotext } from "../../src/job/infotext-text.ts";
import { settingsOfSolvayJson } from "../../src/job/solvay-record.ts";
import { SAMPLERS, type SamplerName } from "../../src/sampler/samplers.ts";
import { SCHEDULES, type ScheduleName } from "../../src/sampler/schedules.ts";

/** As it stands in A1111's modules/infotext_utils.py (v1.10); Python's \w is any letter, digit or underscore. */
const A1111_PATTERN = /\s*([\p{L}\p{N}_][\p{L}\p{N}_ \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/gu;

test("a line of settings is taken apart as A1111's pattern does", () => {
  const piece = fc.constantFrom(
    "Steps",
    "a",
    " ",
    ":",
    ",",
    '"',
    "\\",
    "é",
    "-",
    "/",
    "7",
    "b_",
    "\t",
    "山",
    "(",
    "CFG scale: 7, ",
  );
  const line = fc.array(piece, { maxLength: 40 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(line, (text) => {
      // Three entries that are there in any case, so that the line counts.
      const settings = `A1: 1, B1: 2, C1: 3, ${text}`.trim();
      const wanted = new Map<string, string>();
      for (const [, name, value] of settings.matchAll(A1111_PATTERN)) {
        let plain = value!.trim();
        if (/^".*"$/s.test(value!)) {
          try {
            plain = JSON.parse(value!) as string;
          } catch {
            plain = value!;
          }
        }
        wanted.set(name!, plain);
      }
      assert.deepEqual(parseInfotext(`x\n${settings}`).entries, wanted);
    }),
    { numRuns: 2000 },
  );
});

/** What is read: fields of a job, the tool, and what a note must name. */
const CORPUS: readonly {
  readonly what: string;
  readonly text: string;
  readonly tool: string;
  readonly job: Readonly<Record<string, unknown>>;
  readonly facts?: Readonly<Record<string, string>>;
  readonly notes?: readonly RegExp[];
}[] = [
  {
    what: "A1111 1.10",
    text:
      "masterpiece, (a cat:1.2), <lora:fur:0.8>\nby the window\nNegative prompt: lowres, bad\nanatomy\n" +
      "Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 1234567890, Size: 832x1216, " +
      "Model hash: 31e35c80fc, Model: sd_xl_base_1.0, RNG: CPU, " +
      'Lora hashes: "fur: 0123456789ab, other: ba9876543210", Version: v1.10.1',
    tool: "A1111 v1.10.1",
    job: {
      prompt: "masterpiece, (a cat:1.2), <lora:fur:0.8>\nby the window",
      negativePrompt: "lowres, bad\nanatomy",
      ...{ steps: 28, guidance: 6.5, seed: 1234567890, width: 832, height: 1216 },
    },
    facts: { model: "sd_xl_base_1.0", modelHash: "31e35c80fc" },
    notes: [/networks/],
  },
  {
    what: "Forge",
    text:
      "a lake\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 42, Size: 1024x1024, " +
      "Model hash: e3c47aedb0, Model: animagineXL, Version: f2.0.1v1.10.1-previous-659-gc055f2d4, Module 1: sdxl_vae",
    tool: "Forge f2.0.1v1.10.1-previous-659-gc055f2d4",
    job: { prompt: "a lake", steps: 20, guidance: 7, seed: 42, width: 1024, height: 1024 },
    facts: { model: "animagineXL", modelHash: "e3c47aedb0" },
  },
  {
    what: "Civitai's own generator, with JSON that is not quoted",
    text:
      "a tower, dusk\nNegative prompt: fog\nSteps: 30, Sampler: Euler a, CFG scale: 7.0, Seed: 3816, Size: 832x1216, " +
      'Clip skip: 2, Created Date: 2024-11-25T22:29:48.1234567Z, Civitai resources: [{"type":"checkpoint",' +
      '"modelVersionId":290640,"modelName":"Pony, V6","modelVersionName":"V6: start"},{"type":"lora","weight":0.8,' +
      '"modelVersionId":1}], Civitai metadata: {}',
    tool: "Civitai",
    job: {
      prompt: "a tower, dusk",
      negativePrompt: "fog",
      steps: 30,
      guidance: 7,
      seed: 3816,
      width: 832,
      height: 1216,
    },
  },
  {
    what: "the resource hashes that an extension adds",
    text:
      "x\nSteps: 4, Sampler: LCM, CFG scale: 1.5, Seed: 18446744073709551615, Size: 512x512, Version: v1.6.0, " +
      'Hashes: {"vae": "551eac7037", "model": "31e35c80fc"}',
    tool: "A1111 v1.6.0",
    job: { prompt: "x", steps: 4, guidance: 1.5, seed: "18446744073709551615", width: 512, height: 512 },
  },
  {
    what: "dynamic prompts, whose templates follow",
    text:
      "a red cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512\n" +
      "Template: a {red|blue} __animal__\nof two lines\nNegative Template: {dog|Steps: 1, Seed: 2, Size: 3x3}",
    tool: "unknown (it wrote A1111's format)",
    job: { prompt: "a red cat", negativePrompt: "dog", steps: 20, guidance: 7, seed: 1, width: 512, height: 512 },
  },
  {
    what: "a second pass and a wrong type",
    text:
      "x\nSteps: many, Sampler: Euler, CFG scale: NaN, Seed: -5, Size: 1024x1001, Denoising strength: 0.55, " +
      "Face restoration: CodeFormer, Version: v1.10.1",
    tool: "A1111 v1.10.1",
    job: { prompt: "x", width: 1024 },
    notes: [
      /^Steps must be a whole number from 1 to 1000 \(found "many"\): left out$/,
      /^CFG scale must be /,
      /^Seed must be /,
      /^Size must be a multiple of 8 .*"1001"/,
      /^Face restoration: CodeFormer is not understood/,
    ],
  },
  {
    what: "quoting: JSON strings, also of names that hold the separators",
    text: 'a\nSteps: 2, Seed: 7, CFG scale: 5, Model: "m, \\"x\\": y\\n", Artifact: "a,b", Version: Solvay 0.1.0',
    tool: "Solvay 0.1.0",
    job: { prompt: "a", steps: 2, seed: 7, guidance: 5 },
    facts: { model: 'm, "x": y\n', artifact: "a,b", version: "Solvay 0.1.0" },
  },
];

for (const { what, text, tool, job, facts = {}, notes = [] } of CORPUS) {
  test(`read: ${what}`, () => {
    const settings = settingsOfInfotext(text)!;
    assert.equal(settings.tool, tool);
    for (const [name, value] of Object.entries(job)) {
      assert.deepEqual((settings.job as Readonly<Record<string, unknown>>)[name], value, name);
    }
    for (const name of ["steps", "seed", "guidance", "height"] as const) {
      if (!(name in job)) assert.equal(settings.job[name], undefined, name);
    }
    for (const [name, value] of Object.entries(facts)) assert.equal(settings.facts[name], value, name);
    for (const note of notes)
      assert.ok(
        settings.notes.some((each) => note.test(each)),
        `${note} in ${settings.notes}`,
      );
    // CR and LF are one line's end.
    assert.deepEqual(settingsOfInfotext(text.replaceAll("\n", "\r\n")), settings);
  });
}

test("values that hold JSON are read whole", () => {
  const { others } = settingsOfInfotext(CORPUS[2]!.text)!;
  assert.equal((JSON.parse(others.get("Civitai resources")!) as unknown[]).length, 2);
  assert.equal(others.get("Civitai metadata"), "{}");
  assert.deepEqual(JSON.parse(settingsOfInfotext(CORPUS[3]!.text)!.others.get("Hashes")!), {
    vae: "551eac7037",
    model: "31e35c80fc",
  });
  const { job: drawn } = settingsOfInfotext(CORPUS[4]!.text)!;
  assert.equal(drawn.template, "a {red|blue} __animal__\nof two lines");
  assert.equal(drawn.negativeTemplate, "{dog|Steps: 1, Seed: 2, Size: 3x3}");
});

test("what A1111 leaves out is so: its syntax, its generator; and one name stands for the strength of two passes", () => {
  const job = (more: string) => settingsOfInfotext(`(x:1.2)\nSteps: 2, CFG scale: 3, Seed: 4${more}`)!.job;
  assert.equal(job("").promptSyntax, "a1111");
  assert.equal(job("").rng, "philox");
  assert.equal(job(", RNG: CPU").rng, "cpu");
  assert.equal(job(", RNG: NV").rng, "philox");
  assert.equal(job(", RNG: GPU").rng, "philox");
  // Ours leave out the default, which is another.
  const own = job(", Version: Solvay 0.1.0");
  assert.deepEqual([own.promptSyntax, own.rng], [undefined, undefined]);
  assert.equal(job(", Prompt syntax: a1111, Version: Solvay 0.1.0").promptSyntax, "a1111");
  // What stands there was drawn, whatever is in it: it is not drawn again.
  const braces = settingsOfInfotext("a {b|c}\nNegative prompt: d\nSteps: 2, CFG scale: 3, Seed: 4")!.job;
  assert.deepEqual([braces.template, braces.negativeTemplate], ["a {b|c}", undefined]);
  const first = job(", Denoising strength: 0.55");
  assert.deepEqual([first.strength, first.hiresStrength], [0.55, undefined]);
  const second = job(", Denoising strength: 0.55, Hires upscale: 2, Hires steps: 12, Hires upscaler: Latent");
  assert.deepEqual([second.strength, second.hiresStrength], [undefined, 0.55]);
  assert.deepEqual([second.hiresScale, second.hiresSteps], [2, 12]);
});

test("a line with fewer than three entries is part of the prompt, and a text without settings is none", () => {
  assert.equal(parseInfotext("a\nSteps: 3, Seed: 4").prompt, "a\nSteps: 3, Seed: 4");
  assert.equal(settingsOfInfotext("a photo of: a cat"), undefined);
  assert.equal(settingsOfInfotext(""), undefined);
  assert.equal(parseInfotext("Steps: 1, Seed: 2, Size: 8x8").prompt, "");
});

/** Any value of a field. Lines of texts as A1111's format keeps them: without spaces around, none empty at the start. */
function anyValue({ kind }: Field): fc.Arbitrary<unknown> {
  switch (kind.type) {
    case "text": {
      const word = fc.constantFrom(
        "cat",
        "a, b",
        "x: y",
        "(fog:1.2)",
        "山",
        'say "hi"',
        "é",
        "Steps: 7",
        "\\(",
        "BREAK",
      );
      const line = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join(" "));
      return fc.array(line, { minLength: 1, maxLength: 3 }).map((lines) => lines.join("\n"));
    }
    case "whole": {
      const { min, max, multiple = 1 } = kind;
      return fc.integer({ min: Math.ceil(min / multiple), max: Math.floor(max / multiple) }).map((n) => n * multiple);
    }
    case "decimal":
      return fc
        .integer({ min: 0, max: 1000 })
        .map((n) => Number((kind.min + ((kind.max - kind.min) * n) / 1000).toFixed(3)));
    case "choice":
      return fc.constantFrom(...kind.values);
    case "named":
      return fc.constantFrom(...kind.table.names);
    case "switch":
      return fc.boolean();
    case "loras":
      return fc.array(
        fc.record(
          {
            file: fc.constantFrom("fur", "C:\\a b, c.safetensors", 'x"y.safetensors', "dir/é: 2"),
            weight: fc.integer({ min: -200, max: 200 }).map((n) => n / 100),
            te: fc.constantFrom(0, 0.5, 1),
            from: fc.constantFrom(0, 0.25),
            to: fc.constantFrom(0.5, 1),
          },
          { requiredKeys: ["file"], noNullPrototype: true },
        ),
        { minLength: 1, maxLength: 3 },
      );
    case "controls":
      return fc.array(
        fc.record(
          {
            file: fc.constantFrom("edges", "C:\\a b, c.safetensors", 'x"y.safetensors', "dir/é: 2"),
            image: fc.constantFrom("a.png", "C:\\a, b.webp", `sha256:${"0f".repeat(32)}`),
            weight: fc.integer({ min: 0, max: 99 }).map((n) => n / 100),
            start: fc.constantFrom(0.1, 0.25),
            end: fc.constantFrom(0.5, 0.75),
            guess: fc.constant(true),
            preprocess: fc.constantFrom("canny", "tile"),
          },
          { requiredKeys: ["file", "image"], noNullPrototype: true },
        ),
        { minLength: 1, maxLength: 3 },
      );
    case "ipAdapters":
      return fc.array(
        fc.record(
          {
            file: fc.constantFrom("plus", "C:\\a b, c.safetensors", 'x"y.bin', "dir/é: 2"),
            encoder: fc.constantFrom("vit-h", "C:\\d, e"),
            images: fc.array(fc.constantFrom("a.png", "C:\\a, b.webp", 'c"d.png', `sha256:${"0f".repeat(32)}`), {
              minLength: 1,
            }),
            masks: fc.array(fc.constantFrom("a.png", "C:\\a, b.webp"), { minLength: 1, maxLength: 3 }),
            weight: fc.integer({ min: 0, max: 99 }).map((n) => n / 100),
            start: fc.constantFrom(0.1, 0.25),
            end: fc.constantFrom(0.5, 0.75),
          },
          { requiredKeys: ["file", "images"], noNullPrototype: true },
        ),
        { minLength: 1, maxLength: 3 },
      );
    case "pictures":
    case "files":
      return fc.array(fc.constantFrom("fox", "C:\\a b, c.pt", 'x"y.safetensors', "dir/é: 2"), {
        minLength: 1,
        maxLength: 3,
      });
    case "seed":
      return fc.oneof(
        fc.nat(),
        fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }).map(String),
        fc.constant(Number.MAX_SAFE_INTEGER),
      );
    case "pair": {
      const number = fc.integer({ min: kind.min, max: kind.max });
      return fc.tuple(number, number).map((pair) => pair.join(kind.separator));
    }
    case "picture":
      return fc.constantFrom("a.png", "C:\\\\pictures\\\\b.webp", `sha256:${"0f".repeat(32)}`);
    case "amount":
      throw new Error("a job has no amounts");
  }
}

/** With everything, but that a second pass and a picture to begin with exclude one another. */
const ANY_JOB: fc.Arbitrary<Record<string, unknown>> = fc
  .tuple(
    fc.record(Object.fromEntries(Object.entries(JOB_FIELDS as Fields).map(([name, field]) => [name, anyValue(field)]))),
    fc.constantFrom(/^strength$/, /^hires/),
  )
  .map(([job, excluded]) => Object.fromEntries(Object.entries(job).filter(([name]) => !excluded.test(name))));
const MADE = { sampler: "euler", samplerName: "Euler", scheduleType: "DDIM", backend: "cpu", version: "0.1.0" };

test("what is written of any job is read back: each entry of the infotext, and the JSON to the letter", () => {
  fc.assert(
    fc.property(ANY_JOB, (job) => {
      const samplerName = SAMPLERS[job.sampler as SamplerName].title;
      const scheduleType = SCHEDULES[job.schedule as ScheduleName].title;
      const record = { ...MADE, ...job, samplerName, scheduleType } as unknown as ImageRecord;
      const exact = settingsOfSolvayJson(solvayJson(record))!;
      assert.deepEqual(exact.notes, []);
      const text = settingsOfInfotext(a1111Parameters(record))!;
      assert.deepEqual(text.notes, []);
      for (const [name, field] of Object.entries(JOB_FIELDS as Fields)) {
        // What records leave out is read as not there.
        const same = (read: object, what: string) => {
          const value = (read as Record<string, unknown>)[name];
          const standing = field.omitsDefault ? field.default : undefined;
          assert.deepEqual(value ?? standing, job[name], `${name} of the ${what}`);
        };
        same(exact.job, "JSON");
        const without = ["prompt", "negativePrompt", "template", "negativeTemplate", "height", "hiresStrength"];
        const told = field.infotext !== undefined || without.includes(name);
        if (told) same(text.job, "infotext");
      }
    }),
    { numRuns: 300 },
  );
});

test("no negative prompt, and an empty one, are told apart", () => {
  const record = { ...MADE, prompt: "x", negativePrompt: "", seed: 1, steps: 2, guidance: 3, width: 64, height: 64 };
  const read = (more: object) => settingsOfSolvayJson(solvayJson({ ...record, ...more } as ImageRecord))!.job;
  assert.equal(read({}).negativePrompt, undefined);
  assert.equal(read({ emptyNegativePrompt: true }).negativePrompt, "");
  const text = (more: object) => settingsOfInfotext(a1111Parameters({ ...record, ...more } as ImageRecord))!.job;
  assert.deepEqual([text({}).negativePrompt, text({ emptyNegativePrompt: true }).negativePrompt], [undefined, ""]);
  assert.equal(text({ prompt: "", emptyNegativePrompt: true }).prompt, "");
});

test("our JSON with values that can't be: each is left out with a note, the others stay", () => {
  const record = {
    version: "0.1.0",
    prompt: ["x"],
    seed: 1.5,
    steps: "7",
    width: 1e300,
    height: null,
    guidance: {},
    model: 3,
  };
  const { job, notes, facts } = settingsOfSolvayJson(JSON.stringify(record))!;
  assert.deepEqual(job, { steps: 7 });
  assert.equal(notes.length, 4);
  assert.equal(facts.model, "3");
  assert.equal(settingsOfSolvayJson("[]"), undefined);
  assert.equal(settingsOfSolvayJson('{"prompt":"x"}'), undefined);
  assert.equal(settingsOfSolvayJson('{"version":"1","seed":18446744073709551615}')!.job.seed, "18446744073709551615");
});

test("what would change the picture and isn't understood is told and taken by nothing: a seed's shift, a list with one bad item", () => {
  const read = (more: string) =>
    settingsOfInfotext(
      `a lake\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, ${more}, Version: v1.10.1`,
    )!;
  for (const neutral of ["ENSD: 0", "Hires resize: 0x0", "Hires resize: 0", "User: x", "Hashes: x"])
    assert.deepEqual(read(neutral).notes, [], neutral);
  assert.deepEqual(read("Hires resize: 900x900").notes, ["Hires resize: 900x900 is not understood here: left out"]);
  assert.deepEqual(read("ENSD: 31337").notes, ["ENSD: 31337 is not understood here: left out"]);
  const { job, notes } = read('ControlNet 0: "nonsense"');
  assert.deepEqual([job.controls, notes], [undefined, ["ControlNet 0: nonsense is not understood here: left out"]]);
});
