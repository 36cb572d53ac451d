/** @file Pictures that mean harm: bombs, offsets beyond the file, endless chunks, circles, texts of a million anything. Notes or one error. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { ArtifactError } from "../../src/errors.ts";
import { readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { settingsOfComfy } from "../../src/job/comfy-settings.ts";
import { settingsOfInfotext } from "../../src/job/infotext-settings.ts";
import { settingsOfJson } from "../../src/job/json-settings.ts";
import { readPicture } from "../../src/job/read-picture.ts";
import { settingsOfSolvayJson } from "../../src/job/solvay-record.ts";
import { memorySource } from "../../src/source/memory.ts";
import { exifBlock, jpegOf, pngChunk, pngOf, webpOf } from "../support/picture-files.ts";

const read = (bytes: Uint8Array) => readPictureTexts(memorySource("x.png", new Uint8Array(bytes)));
const latin = (text: string) => Buffer.from(text, "latin1");
const packed = (keyword: string, bytes: number) =>
  pngChunk("zTXt", Buffer.concat([latin(`${keyword}\0\0`), deflateSync(Buffer.alloc(bytes, 32))]));

test("a text that unpacks to 100 MB is passed over with a note, and what follows is read", async () => {
  const { texts, notes } = await read(pngOf(packed("bomb", 100e6), pngChunk("tEXt", latin("parameters\0x"))));
  assert.deepEqual(texts, [{ keyword: "parameters", text: "x" }]);
  assert.match(notes.join(), /"bomb" unpacks to more than 8388608 bytes/);
});

test("many texts share one bound, and so do their number and the number of chunks", async () => {
  const many = await read(pngOf(...Array.from({ length: 5 }, (_, i) => packed(`k${i}`, 7e6))));
  assert.equal(many.texts.length, 2);
  assert.equal(many.notes.length, 3);
  const small = await read(pngOf(...Array.from({ length: 300 }, () => pngChunk("tEXt", latin("k\0x")))));
  assert.equal(small.texts.length, 100);
  const chunks = await read(pngOf(...Array.from({ length: 70_000 }, () => pngChunk("abCd", Buffer.alloc(0)))));
  assert.match(chunks.notes.join(), /more than 65536 chunks/);
});

test("a chunk longer than the file, EXIF offsets beyond it, directories in a circle: notes", async () => {
  const long = pngOf();
  long.writeUInt32BE(0xffff_fff0, long.length - 12);
  long.write("tEXt", long.length - 8, "latin1");
  assert.match((await read(long)).notes.join(), /too long/);
  const block = exifBlock(true, [[0x010e, latin("text\0 of some length")]], latin("ASCII\0\0\0x"));
  for (let at = 6; at < block.length; at++) {
    for (const value of [0, 0xff]) {
      const broken = Buffer.from(block);
      broken[at] = value;
      await read(jpegOf(broken));
      await read(webpOf("EXIF", broken));
    }
  }
  const circle = exifBlock(false, [], latin("x"));
  circle.writeUInt32BE(8, 6 + 8 + 2 + 8);
  assert.deepEqual((await read(jpegOf(circle))).texts, []);
});

test("a file that is cut anywhere is read as far as it goes", async () => {
  const block = exifBlock(true, [], Buffer.concat([latin("UNICODE\0"), Buffer.from("Steps: 1", "utf16le")]));
  for (const file of [pngOf(packed("parameters", 100)), jpegOf(block), webpOf("EXIF", block)]) {
    for (let length = 12; length < file.length; length++) await read(file.subarray(0, length));
  }
});

test("any bytes behind a signature are notes, and what is no picture one error", async () => {
  const starts = [pngOf().subarray(0, 8), Buffer.from([0xff, 0xd8, 0xff]), latin("RIFF\xff\xff\xff\x7fWEBP")];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 200 }), async (start, rest) => {
      readPicture(await read(Buffer.concat([start, rest, Buffer.alloc(12)])));
    }),
    { numRuns: 500 },
  );
  await assert.rejects(
    read(latin("GIF89a and more")),
    (error) => error instanceof ArtifactError && error.code === "E_IMAGE_KIND",
  );
  await assert.rejects(read(Buffer.alloc(0)), /E_IMAGE_KIND/);
});

const MB = 2 ** 20;
const LONG = {
  "one name without an end": "a".repeat(2 * MB),
  "names without values": "aa:".repeat(MB / 2),
  "entries by the hundred thousand": "aa: b, ".repeat(MB / 4),
  "brackets that never close": "aa:{, ".repeat(MB / 4),
  "quotes that never close": 'aa:"b, '.repeat(MB / 4),
  "brackets within brackets": `aa:${"[".repeat(MB)}`,
  escapes: `aa:"${"\\".repeat(MB)}`,
  "lines by the million": "x\n".repeat(MB),
  "templates by the hundred thousand": `Steps: 1, Seed: 2, Size: 8x8\n${"Template: a\nb\n".repeat(MB / 8)}`,
  "negative prompts": "Negative prompt: x\n".repeat(MB / 8),
  "deep JSON": `{"a":${"[".repeat(MB / 2)}${"]".repeat(MB / 2)}}`,
  "deep objects": `${'{"prompt":'.repeat(100_000)}1${"}".repeat(100_000)}`,
};

for (const [what, text] of Object.entries(LONG)) {
  // Each takes a fraction of a second; work that grows with the square of the length would take hours.
  test(`texts of megabytes are read in little time: ${what}`, { timeout: 60_000 }, () => {
    for (const settingsOf of [settingsOfInfotext, settingsOfSolvayJson, settingsOfComfy, settingsOfJson]) {
      for (const whole of [text, `p\n${text}Steps: 1, Seed: 2, Size: 8x8`, `{"version":"1","prompt":${text}}`]) {
        const settings = settingsOf(whole);
        assert.ok((settings?.notes.length ?? 0) <= 41);
      }
    }
  });
}

test("names of what objects have anyway are no fields", () => {
  const text = "x\nSteps: 1, Seed: 2, constructor: 3, __proto__: 4, hasOwnProperty: 5, toString: 6";
  const { job } = settingsOfInfotext(text)!;
  // Beside what A1111 leaves out.
  const absent = ["clipSkip", "promptSyntax", "rng", "schedule"];
  assert.deepEqual(Object.keys(job).toSorted(), [...absent, "prompt", "seed", "steps"].toSorted());
  const json = settingsOfSolvayJson('{"version":"1","__proto__":{"steps":9},"constructor":5,"steps":3}')!;
  assert.deepEqual(json.job, { steps: 3 });
  const graph = '{"__proto__":{"class_type":"KSampler","inputs":{"seed":["__proto__",0],"steps":["constructor",0]}}}';
  assert.deepEqual(settingsOfComfy(graph)?.job, {});
});
