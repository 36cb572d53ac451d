/** @file A job that goes on in another folder: every file of it is still compared with what it held. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { GenerateJob } from "../../src/job/types.ts";
import { hashesHere, jobHere } from "../../src/terminal/moved-job.ts";
import { pictureContents } from "../../src/terminal/unfinished.ts";

test("in another folder files have other names, and are known by what they held; one that was changed is told by its name", async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-moved-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [then, now] = [folder, path.join(folder, "elsewhere")];
  for (const name of ["net", "adapter", "encoder", "fur", "ink"]) writeFileSync(path.join(then, name), name);
  const job: GenerateJob = {
    prompt: "a",
    loras: [{ file: "fur", weight: 1 }],
    hiresLoras: [{ file: "ink", weight: 1 }],
    controls: [{ file: "net" }, { file: "a name alone" }],
    ipAdapters: [{ file: "adapter", encoder: "encoder" }],
  } as GenerateJob;
  const pictures = { ...(await pictureContents(job, then)), "lora fur": "0123", "lora ink": "4567" };
  assert.equal(Object.keys(pictures).length, 5);
  const moved = jobHere(job, then, now);
  const known = hashesHere({ pictures }, job, moved);
  assert.equal(known[`lora ${path.join(then, "fur")}`], "0123");
  assert.equal(known[`lora ${path.join(then, "ink")}`], "4567");
  const differing = async () => {
    const found = Object.entries(await pictureContents(moved, now));
    assert.equal(found.length, 3);
    return found.flatMap(([name, content]) => (known[name] === content ? [] : [name]));
  };
  assert.deepEqual(await differing(), []);
  for (const [what, name] of Object.entries({ control: "net", ipAdapter: "adapter", imageEncoder: "encoder" })) {
    writeFileSync(path.join(then, name), "something else");
    assert.deepEqual(await differing(), [`${what} ${path.join(then, name)}`]);
    writeFileSync(path.join(then, name), name);
  }
});

test("whatever a job names lies where it lay: what is no file there keeps its name, and another file here of that name is not taken", (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), "solvay-moved-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [then, now] = [path.join(folder, "then"), path.join(folder, "now")];
  for (const place of [then, now]) {
    mkdirSync(place);
    writeFileSync(path.join(place, "f"), place);
  }
  const jobOf = (file: string, picture: string): GenerateJob => ({
    ...{ prompt: "f", initImage: picture, maskImage: "data:image/png;base64,AAAA" },
    loras: [{ file, weight: 1 }],
    hiresLoras: [{ file, weight: 2 }],
    controls: [{ file, image: picture, weight: 0.5 }],
    ipAdapters: [{ file, encoder: file, images: [picture], masks: [picture] }],
    embeddings: [file, "a name"],
    hiresUpscaler: file,
  });
  const there = path.join(then, "f");
  assert.deepEqual(jobHere(jobOf("f", "f"), then, now), jobOf(there, there));
  // A picture is always a file.
  assert.deepEqual(jobHere(jobOf("g", "g"), then, now), jobOf("g", path.join(then, "g")));
  assert.deepEqual(jobHere(jobOf(there, there), then, now), jobOf(there, there));
  assert.deepEqual(jobHere(jobOf("f", "f"), then, then), jobOf("f", "f"));
  assert.deepEqual(jobHere({ prompt: "x" }, then, now), { prompt: "x" });
});
