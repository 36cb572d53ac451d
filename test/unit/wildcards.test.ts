/** @file Prompts drawn from templates: the generator by its published numbers, the syntax by dynamic prompts' documentation, and bounds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { FullJob } from "../../src/job/job.ts";
import { withDrawnPrompts } from "../../src/pipeline/drawn-prompts.ts";
import { SplitMix64 } from "../../src/prompt/split-mix.ts";
import { drawnPrompt, isTemplate, wildcardLines } from "../../src/prompt/wildcards.ts";

type Files = Readonly<Record<string, readonly string[]>>;

function drawn(template: string, seed: number, files: Files = {}): string {
  const drawing = drawnPrompt(template, new SplitMix64(seed));
  let step = drawing.next();
  while (!step.done) step = drawing.next(files[step.value] ?? []);
  return step.value;
}

/** How often each result comes of so many seeds. */
function results(template: string, files: Files = {}, seeds = 400): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (let seed = 0; seed < seeds; seed++) {
    const text = drawn(template, seed, files);
    found.set(text, (found.get(text) ?? 0) + 1);
  }
  return found;
}
const kinds = (template: string, files: Files = {}) => [...results(template, files).keys()].toSorted();

test("the generator gives SplitMix64's numbers", () => {
  // Of splitmix64.c for the seed 1234567, as published with Rosetta Code's task "Pseudo-random numbers/Splitmix64".
  const draws = new SplitMix64(1234567);
  const numbers = Array.from({ length: 5 }, () => draws.next());
  assert.deepEqual(numbers, [
    6457827717110365317n,
    3203168211198807973n,
    9817491932198370423n,
    4593380528125082431n,
    16408922859458223821n,
  ]);
  assert.equal(new SplitMix64(1234567).unit(), Number(6457827717110365317n >> 11n) / 2 ** 53);
  assert.equal(new SplitMix64("18446744073709551615").next(), new SplitMix64(-1n).next());
});

test("options, weights, several at once, in one another", () => {
  assert.deepEqual(kinds("a {red|blue|} cat"), ["a  cat", "a blue cat", "a red cat"]);
  assert.deepEqual(kinds("{a|{b|c}}{d}"), ["ad", "bd", "cd"]);
  assert.deepEqual(kinds("{2$$a|b}"), ["a,b", "b,a"]);
  assert.deepEqual(kinds("{2$$ and $$a|b}"), ["a and b", "b and a"]);
  assert.deepEqual(kinds("{1-2$$a|b}"), ["a", "a,b", "b", "b,a"]);
  assert.deepEqual(kinds("{-2$$a|b}"), ["a", "a,b", "b", "b,a"]);
  assert.deepEqual(kinds("{2-$$a|b}"), ["a,b", "b,a"]);
  assert.deepEqual(kinds("{9$$a|b}"), ["a,b", "b,a"]);
  assert.deepEqual(kinds("{2$$__x__}", { x: ["p", "q"] }), ["p,q", "q,p"]);
  assert.deepEqual(kinds("{0::a|1::b}"), ["b"]);
  // One in five: 80 of 400, give or take four deviations of 8.
  const rare = results("{0.5::a|2::b}").get("a")!;
  assert.ok(rare > 48 && rare < 112, `${rare} of 400`);
  const even = results("{a|b}").get("a")!;
  assert.ok(even > 160 && even < 240, `${even} of 400`);
});

test("wildcards: lines of files, with weights, that may hold templates", () => {
  // A mark of the byte order is no part of the first line.
  assert.deepEqual(wildcardLines("\ufeff# colours\nred\r\n\n  0.5::blue \n#x"), ["red", "0.5::blue"]);
  const files = { "a/b": ["red", "{x|y}"], c: ["__a/b__!"], d: ["0::no", "1::yes"] };
  assert.deepEqual(kinds("__a/b__", files), ["red", "x", "y"]);
  assert.deepEqual(kinds("<__c__>", files), ["<red!>", "<x!>", "<y!>"]);
  assert.deepEqual(kinds("{__d__|__d__}", files), ["yes"]);
});

test("what is no template stays, with A1111's own syntax; escapes are text", () => {
  for (const text of ["(a:1.2), [b:c:0.5] [d|e] \\(f\\) _ ____ $5 50$$ \\_a b\\", "", "\\", "snake_case a_b__"]) {
    assert.equal(drawn(text, 1), text);
    assert.equal(isTemplate(text), false, text);
  }
  assert.equal(drawn("\\{a\\|b\\} \\__c__", 1), "{a|b} __c__");
  assert.deepEqual(kinds("{a\\|b|c}"), ["a|b", "c"]);
  assert.equal(isTemplate("a {b"), true);
  assert.equal(isTemplate("__a b__"), true);
});

test("each broken or boundless template is one error", () => {
  const many = Array.from({ length: 40 }, () => "__a__").join(" ");
  for (const [template, files, problem] of [
    ["a {b|c", {}, /^a \{ is never closed, at character 3$/],
    ["a b}", {}, /^a \} closes nothing, at character 4$/],
    ["a $" + "{x}", {}, /^variables .* at character 3$/],
    ["__empty__", {}, /^__empty__ holds no line/],
    ["{0::a|0::b}", {}, /^all weights are 0$/],
    ["__a__", { a: ["x __a__"] }, /more than 30 deep/],
    ["__a__", { a: [many] }, /more than 30 deep/],
    ["{".repeat(31) + "}".repeat(31), {}, /more than 30 deep/],
    [
      "__a__",
      { a: ["__b____b__"], b: ["__c____c__"], c: ["y".repeat(20_000)] },
      /too long \(allowed 65536 characters\)/,
    ],
    [
      "__0__",
      Object.fromEntries(
        Array.from({ length: 25 }, (_, i) => [`${i}`, [`__${i + 1}____${i + 1}__`]]).concat([["25", ["{|}"]]]),
      ),
      /asks for too much/,
    ],
  ] as const) {
    assert.throws(
      () => drawn(template, 1, files),
      (error) => {
        const { code, problem: told } = error as { code: string; problem: string };
        assert.equal(code, "E_WILDCARD", String(error));
        assert.match(told, problem);
        return true;
      },
    );
  }
});

test("any text ends in a prompt or in our error", () => {
  const piece = fc.constantFrom("{", "}", "|", "$$", "2", "-", "::", "0.5", "__", "a", "\\", " ", "$", "*");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.nat(), (pieces, seed) => {
      try {
        drawn(pieces.join(""), seed, { a: ["x", "{y|__a__}"] });
      } catch (error) {
        assert.equal((error as { code?: string }).code, "E_WILDCARD", String(error));
      }
    }),
    { numRuns: 3000 },
  );
});

const JOB = { prompt: "a {b|c|d|e|f}", seed: 5, promptSyntax: "a1111", steps: 2 } as FullJob;

test("a job: drawn by its seed in A1111's syntax, once; the template stays; prompts draw apart", async () => {
  const job = await withDrawnPrompts({ ...JOB, negativePrompt: "{x|y}" }, undefined);
  assert.match(job.prompt, /^a [b-f]$/);
  assert.match(job.negativePrompt!, /^[xy]$/);
  assert.deepEqual([job.template, job.negativeTemplate], ["a {b|c|d|e|f}", "{x|y}"]);
  assert.equal((await withDrawnPrompts({ ...JOB, negativePrompt: "{{x|y}|{z|w}}" }, undefined)).prompt, job.prompt);
  // What the second encoder reads, too, and alike where it is alike.
  const second = { prompt2: "a {b|c|d|e|f}, {oil|ink}", negativePrompt2: "{x|y}" };
  const both = await withDrawnPrompts({ ...JOB, negativePrompt: "{x|y}", ...second }, undefined);
  assert.ok(both.prompt2!.startsWith(`${job.prompt}, `));
  assert.equal(both.negativePrompt2, job.negativePrompt);
  assert.deepEqual([both.template2, both.negativeTemplate2], [second.prompt2, second.negativePrompt2]);
  assert.deepEqual([both.prompt, both.negativePrompt], [job.prompt, job.negativePrompt]);
  assert.deepEqual(await withDrawnPrompts({ ...both, seed: 6 }, undefined), { ...both, seed: 6 });
  // Drawn: another seed changes nothing any more.
  assert.deepEqual(await withDrawnPrompts({ ...job, seed: 6 }, undefined), { ...job, seed: 6 });
  const named = { ...JOB, template: "{b|c}", negativePrompt: "{x|y}", negativeTemplate: "{{x|y}}" };
  assert.deepEqual(await withDrawnPrompts(named, undefined), named);
  const prompts = await Promise.all(
    Array.from({ length: 20 }, async (_, seed) => (await withDrawnPrompts({ ...JOB, seed }, undefined)).prompt),
  );
  assert.equal(new Set(prompts).size, 5);
  // Both passes of one picture draw alike; the negative prompt by itself, of the same template too.
  const passes = await Promise.all(
    Array.from({ length: 20 }, (_, seed) =>
      withDrawnPrompts(
        { ...JOB, seed, negativePrompt: JOB.prompt, hiresPrompt: JOB.prompt, hiresNegativePrompt: JOB.prompt },
        undefined,
      ),
    ),
  );
  for (const drawn of passes) {
    assert.deepEqual([drawn.hiresPrompt, drawn.hiresNegativePrompt], [drawn.prompt, drawn.negativePrompt]);
    const { template, negativeTemplate, hiresTemplate, hiresNegativeTemplate } = drawn;
    for (const each of [template, negativeTemplate, hiresTemplate, hiresNegativeTemplate]) {
      assert.equal(each, JOB.prompt);
    }
  }
  assert.ok(passes.some(({ prompt, negativePrompt }) => prompt !== negativePrompt));
  const drawnNothing = { ...JOB, prompt: "a lake" };
  assert.deepEqual(await withDrawnPrompts(drawnNothing, undefined), drawnNothing);
  const plain = { ...JOB, promptSyntax: "plain" } as const;
  assert.equal(await withDrawnPrompts(plain, undefined), plain);
  await assert.rejects(withDrawnPrompts({ ...JOB, prompt: "__a__" }, undefined), {
    code: "E_WILDCARD",
    subject: "__a__",
  });
  let reads = 0;
  const read = async () => {
    reads++;
    return ["x", "y"];
  };
  assert.match((await withDrawnPrompts({ ...JOB, prompt: "__a__ __a__ __a__" }, read)).prompt, /^[xy] [xy] [xy]$/);
  assert.equal(reads, 1);
  const stop = new AbortController();
  const stopping = async () => {
    stop.abort("enough");
    return ["x"];
  };
  const two = withDrawnPrompts({ ...JOB, prompt: "__a__ __b__" }, stopping, stop.signal);
  assert.equal(await two.catch((reason: unknown) => reason), "enough");
});
