/** @file OpenAI's image routes: what each field of a request becomes, what a form does, and the events of a stream as openai-node's types have them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { decodePng } from "../../src/image/png.ts";
import type { GenerateJob } from "../../src/job/types.ts";
import { formBody } from "../../src/server/http/openai/forms.ts";
import { imageRequest } from "../../src/server/http/openai/request.ts";
import { openAiRoutes } from "../../src/server/http/openai/routes.ts";
import type { RouteContext } from "../../src/server/http/route.ts";
import { pngChunk } from "../support/picture-files.ts";
import { asJson, type Happening, pretendingServices, routed } from "../support/pretending-services.ts";

const ask = (body: object) => imageRequest({ prompt: "x", ...body });

test("each field of a request has its field of the job, under whichever name; what says nothing of a picture is passed over", () => {
  const extra = (value: object) => ({
    prompt: `a <sd_cpp_extra_args>${JSON.stringify(value)}</sd_cpp_extra_args> lake`,
  });
  const fields: readonly (readonly [object, object])[] = [
    [{}, {}],
    [{ prompt: " a lake " }, { prompt: "a lake" }],
    [{ size: "128x64" }, { width: 128, height: 64 }],
    [{ size: "auto" }, {}],
    [{ size: null }, {}],
    [
      { negative_prompt: "fog", cfg_scale: 3, seed: 7, steps: 4, sampler: "Euler a" },
      { negativePrompt: "fog", guidance: 3, seed: 7, steps: 4, sampler: "euler-a" },
    ],
    [{ negativePrompt: null, seed: null }, {}],
    [
      { output_format: "jpeg", output_compression: 80 },
      { format: "jpeg", quality: 80 },
    ],
    // It says nothing of a PNG, and clients send it along.
    [{ output_compression: 80 }, {}],
    [{ output_format: "png", output_compression: 80 }, { format: "png" }],
    [{ output_format: "jpeg", output_compression: 0 }, { format: "jpeg" }],
    [{ user: "u", quality: "low", style: "vivid", moderation: "low", input_fidelity: "high", no_such: 1 }, {}],
    [extra({ seed: 7 }), { prompt: "a  lake", seed: 7 }],
    [
      extra({ sample_params: { sample_steps: 9, sample_method: "heun", guidance: { txt_cfg: 2 } } }),
      { prompt: "a  lake", steps: 9, sampler: "heun", guidance: 2 },
    ],
    // What stands in the prompt counts before what stands beside it.
    [
      { ...extra({ seed: 7 }), seed: 8, steps: 3 },
      { prompt: "a  lake", seed: 7, steps: 3 },
    ],
    [{ prompt: "a <sd_cpp_extra_args> lake" }, { prompt: "a <sd_cpp_extra_args> lake" }],
  ];
  for (const [body, job] of fields) assert.deepEqual(ask(body).job, { prompt: "x", ...job }, JSON.stringify(body));
});

test("how the answer is wanted: how many, bytes or addresses, as a stream with previews", () => {
  const told = (body: object) => {
    const { job: _, ...rest } = ask(body);
    return rest;
  };
  const standing = { count: 1, asUrl: false, stream: false, partialImages: 0 };
  const answers: readonly (readonly [object, object])[] = [
    [{}, {}],
    [{ n: null, response_format: null, stream: null, partial_images: null, background: null }, {}],
    [{ n: 10 }, { count: 10 }],
    [{ response_format: "url" }, { asUrl: true }],
    [{ response_format: "b64_json" }, {}],
    [
      { stream: true, partial_images: 3 },
      { stream: true, partialImages: 3 },
    ],
  ];
  for (const [body, answer] of answers) assert.deepEqual(told(body), { ...standing, ...answer }, JSON.stringify(body));
  const refused = [
    ...[{ n: 0 }, { n: 11 }, { n: 1.5 }, { n: "2" }, { partial_images: 4 }, { stream: "yes" }],
    ...[{ response_format: "png" }, { background: "transparent" }, { prompt: 7 }],
    ...[{ size: "64" }, { size: "64X64" }, { size: "1x2x3" }, { size: 64 }],
    ...["{", "[1]"].map((text) => ({ prompt: `<sd_cpp_extra_args>${text}</sd_cpp_extra_args>` })),
  ];
  for (const body of refused) {
    assert.throws(() => ask(body), { status: 400, subject: Object.keys(body)[0] }, JSON.stringify(body));
  }
});

/** A PNG of one row; pixels of 4 numbers have alpha. */
function pictureOf(...pixels: readonly (readonly number[])[]): Blob {
  const header = Buffer.from([0, 0, 0, pixels.length, 0, 0, 0, 1, 8, pixels[0]!.length === 4 ? 6 : 2, 0, 0, 0]);
  const data = deflateSync(Buffer.from([0, ...pixels.flat()]));
  const chunks = [pngChunk("IHDR", header), pngChunk("IDAT", data), pngChunk("IEND", Buffer.alloc(0))];
  return new Blob([Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), ...chunks])], { type: "image/png" });
}

/** What the form comes to, with the pixels of its pictures. */
async function read(fields: readonly (readonly [string, string | Blob])[]): Promise<Record<string, unknown>> {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value as string);
  const raw = new Request("http://x/v1/images/edits", { method: "POST", body: form });
  const context = { req: { raw, header: (name: string) => raw.headers.get(name) ?? undefined } };
  const body: Record<string, unknown> = { ...(await formBody(context as unknown as RouteContext)) };
  for (const name of ["initImage", "maskImage"]) {
    if (body[name] === undefined) continue;
    const bytes = Buffer.from(String(body[name]).replace("data:image/png;base64,", ""), "base64");
    body[name] = [...(await decodePng(new Uint8Array(bytes))).pixels];
  }
  return body;
}

test("a form: its numbers and switches as JSON has them, its picture, and what is transparent as what is painted anew", async () => {
  const picture = pictureOf([1, 2, 3], [4, 5, 6]);
  const begun = { initImage: [1, 2, 3, 4, 5, 6] };
  // Without a mask the picture is changed as a whole; with one it is drawn anew there.
  const whole = { ...begun, strength: 0.75 };
  assert.deepEqual(await read([["image", picture]]), whole);
  assert.deepEqual(await read([["image[]", picture]]), whole);
  const texts = { prompt: "7", model: "7", size: "64x64", user: "true" };
  const values = {
    n: "2",
    seed: "-1",
    guidance: "2.5",
    stream: "true",
    x: "false",
    sampler: "heun",
    big: "9".repeat(20),
  };
  assert.deepEqual(
    await read([
      ["image", picture],
      ...Object.entries({ ...texts, ...values, strength: "0.5", initImage: "/etc/passwd" }),
    ]),
    {
      ...{ ...whole, ...texts, n: 2, seed: -1, guidance: 2.5, stream: true, x: false, sampler: "heun" },
      ...{ big: "9".repeat(20), strength: 0.5 },
    },
  );
  // 0 of alpha is all transparent: white. Its colours say nothing.
  const mask = pictureOf([9, 9, 9, 0], [9, 9, 9, 200]);
  const painted = { maskImage: [255, 255, 255, 55, 55, 55], strength: undefined };
  assert.deepEqual(
    await read([
      ["image", picture],
      ["mask", mask],
    ]),
    { ...begun, ...painted },
  );
  const own = pictureOf([1, 2, 3, 0], [4, 5, 6, 200]);
  assert.deepEqual(await read([["image", own]]), { ...begun, ...painted });
  const refused: readonly (readonly [readonly (readonly [string, string | Blob])[], string])[] = [
    [[["prompt", "x"]], "image"],
    [[["image", "text"]], "image"],
    [
      [
        ["image", picture],
        ["image[]", picture],
      ],
      "image",
    ],
    [
      [
        ["image", picture],
        ["mask", picture],
      ],
      "mask",
    ],
  ];
  for (const [fields, subject] of refused) await assert.rejects(read(fields), { status: 400, subject });
});

const GENERATIONS = "/v1/images/generations";

async function generated(body: object, happenings: readonly Happening[]) {
  const pretended = pretendingServices(happenings);
  const answer = await routed(openAiRoutes(pretended.services)).request(GENERATIONS, asJson({ prompt: "x", ...body }));
  return { ...pretended, status: answer.status, text: await answer.text() };
}

test("an answer has each picture in its place; the model that is named draws, and any of OpenAI's names is the standing one", async () => {
  const both: readonly Happening[] = [
    [1, "done"],
    [0, "done"],
  ];
  const { text, asked } = await generated({ n: 2, seed: 5, model: "lake" }, both);
  const { data, created, ...rest } = JSON.parse(text) as { data: { b64_json: string }[]; created: number };
  const pixels = await Promise.all(
    data.map(async ({ b64_json }) => (await decodePng(new Uint8Array(Buffer.from(b64_json, "base64")))).pixels[0]),
  );
  assert.deepEqual(pixels, [0, 1]);
  assert.ok(Math.abs(created - Date.now() / 1000) < 600);
  assert.deepEqual(rest, {
    ...{ quality: "high", background: "opaque", output_format: "png", size: "16x8" },
    usage: {
      ...{ input_tokens: 0, output_tokens: 0, total_tokens: 0 },
      input_tokens_details: { image_tokens: 0, text_tokens: 0 },
    },
  });
  assert.deepEqual(
    asked.map(({ jobs, asking }) => [jobs.map(({ job, model }) => [job.seed, model]), asking.owner]),
    [
      [
        [
          [5, "lake"],
          [6, "lake"],
        ],
        "ann",
      ],
    ],
  );
  const linked = await generated({ n: 2, response_format: "url" }, both);
  assert.deepEqual((JSON.parse(linked.text) as { data: unknown }).data, [
    { url: `http://localhost/api/assets/${"0".repeat(64)}` },
    { url: `http://localhost/api/assets/${"1".repeat(64)}` },
  ]);
  for (const model of ["dall-e-3", "gpt-image-1.5", "chatgpt-image-latest", "", null]) {
    const { asked } = await generated({ model }, [[0, "done"]]);
    assert.equal(asked[0]!.jobs[0]!.model, "mill", String(model));
  }
  for (const model of ["flux", "my-dall-e-3", 7]) {
    const { status, text, asked } = await generated({ model }, []);
    const { error } = JSON.parse(text) as { error: { code: string; type: string; param: string | null } };
    assert.deepEqual([status, error.code, asked.length], [404, "model_not_found", 0], String(model));
  }
});

test("one picture that failed or was cancelled is the answer's failure, in OpenAI's words", async () => {
  const failed = await generated({ n: 2 }, [
    [0, "done"],
    [1, "failed"],
  ]);
  const error = { type: "server_error", param: null };
  assert.deepEqual(
    [failed.status, JSON.parse(failed.text)],
    [500, { error: { ...error, code: "E_TEST", message: "E_TEST: the test says so." } }],
  );
  const cancelled = await generated({}, [[0, "cancelled"]]);
  assert.equal(cancelled.status, 409);
  assert.equal((JSON.parse(cancelled.text) as { error: { code: string } }).error.code, "E_CANCELLED");
});

test("a stream has previews at their shares of the steps and each picture once; what fails is an event, and the others go on", async () => {
  const steps = [1, 2, 3, 4, 5, 6].map((step): Happening => [0, "step", step, 6]);
  const happenings: readonly Happening[] = [
    [0, "started"],
    ...steps.slice(0, 3),
    [1, "failed"],
    ...steps.slice(3),
    [0, "done"],
  ];
  const { text } = await generated({ n: 2, stream: true, partial_images: 2 }, happenings);
  const events = text
    .trim()
    .split("\n\n")
    .map((event) => /^event: (\S+)\ndata: (.*)$/.exec(event)!)
    .map(([, name, data]): Record<string, unknown> => ({ name, ...(JSON.parse(data!) as object) }));
  const facts = await Promise.all(
    events.map(async ({ name, type, partial_image_index: index, size, b64_json, error }) => {
      assert.equal(type, name === "error" ? "error" : name);
      const bytes = typeof b64_json === "string" ? new Uint8Array(Buffer.from(b64_json, "base64")) : undefined;
      return [
        name,
        index,
        size,
        bytes && (await decodePng(bytes)).pixels[0],
        (error as { code: string } | undefined)?.code,
      ];
    }),
  );
  // 2 previews of 6 steps: when a third, and two thirds of them are done. The preview's pixels are its step.
  assert.deepEqual(facts, [
    ["image_generation.partial_image", 0, "16x8", 2, undefined],
    ["error", undefined, undefined, undefined, "E_TEST"],
    ["image_generation.partial_image", 1, "16x8", 4, undefined],
    ["image_generation.completed", undefined, "16x8", 0, undefined],
  ]);
  const { text: plain } = await generated({ stream: true }, [...steps, [0, "done"]]);
  assert.deepEqual(plain.match(/^event: .*$/gm), ["event: image_generation.completed"]);
});

test("edits and variations are drawn from the picture of their form, and their events say so", async () => {
  for (const [route, prompt] of [
    ["edits", "a lake"],
    ["variations", undefined],
  ] as const) {
    const { services, asked } = pretendingServices([[0, "done"]]);
    const form = new FormData();
    form.append("image", pictureOf([1, 2, 3], [4, 5, 6]));
    form.append("size", "64x64");
    form.append("stream", "true");
    if (prompt !== undefined) form.append("prompt", prompt);
    const answer = await routed(openAiRoutes(services)).request(`/v1/images/${route}`, { method: "POST", body: form });
    assert.match(await answer.text(), /^event: image_edit\.completed\ndata: \{"type":"image_edit\.completed"/);
    const { seed: _, ...job } = asked[0]!.jobs[0]!.job as GenerateJob;
    const begun = { initImage: `sha256:${"f".repeat(64)}`, strength: 0.75, width: 64, height: 64 };
    assert.deepEqual(job, { prompt: prompt ?? "", ...begun });
  }
});
