/** @file A1111's extras: pictures made larger, to the pixels of Pillow 12 (resize, Image.blend, paste) as postprocessing_upscale.py calls it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readPictureTexts } from "../../src/image/metadata/picture-texts.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { extraBatch, extraSingle } from "../../src/server/http/a1111/extras.ts";
import { memorySource } from "../../src/source/memory.ts";

/** A server without networks. */
const NONE = { files: [], enlarge: () => assert.fail("no network is asked") };
const WIDTH = 6;
const HEIGHT = 4;

/** The picture that Pillow had. */
async function picture(): Promise<string> {
  const rgb = new Uint8Array(WIDTH * HEIGHT * 3);
  for (let at = 0; at < rgb.length; at++) {
    const [x, y, channel] = [Math.floor(at / 3) % WIDTH, Math.floor(at / 3 / WIDTH), at % 3];
    rgb[at] = x * 40 + y * 30 + channel * 50 + x * y * 7;
  }
  const text = [{ keyword: "parameters", text: "a mill\nSteps: 3" }];
  return Buffer.from(await encodePng({ width: WIDTH, height: HEIGHT, rgb, text })).toString("base64");
}

const bytesOf = (image: unknown) => new Uint8Array(Buffer.from(String(image), "base64"));

async function facts(image: unknown) {
  const { width, height, pixels } = await decodePng(bytesOf(image));
  return [width, height, [...pixels.subarray(0, 9)], pixels.reduce((sum, value) => sum + value, 0)];
}

test("two upscalers, one laid over the other; the infotext goes along", async () => {
  const how = { upscaler_1: "Lanczos", upscaler_2: "Nearest", extras_upscaler_2_visibility: 0.25, upscaling_resize: 4 };
  const { image, html_info } = await extraSingle({ image: await picture(), ...how }, NONE);
  assert.deepEqual(await facts(image), [24, 16, [0, 43, 93, 0, 45, 95, 0, 48, 98], 140038]);
  assert.equal(html_info, "");
  const { texts } = await readPictureTexts(memorySource("made", bytesOf(image)));
  assert.deepEqual(texts, [{ keyword: "parameters", text: "a mill\nSteps: 3" }]);
});

test("to a size, cut to its middle; several; without an upscaler as it is", async () => {
  const image = await picture();
  const size = { resize_mode: 1, upscaling_resize_w: 16, upscaling_resize_h: 32, upscaler_1: "Lanczos" };
  const { images } = await extraBatch(
    {
      imageList: [{ data: image, name: "a" }, { data: `data:image/png;base64,${image}` }],
      ...size,
    },
    NONE,
  );
  assert.equal((images as unknown[]).length, 2);
  for (const each of images as unknown[]) {
    assert.deepEqual(await facts(each), [16, 32, [58, 112, 135, 62, 116, 136, 67, 120, 143], 193243]);
  }
  const whole = await extraSingle({ image, ...size, upscaling_crop: false }, NONE);
  assert.deepEqual((await facts(whole.image)).slice(0, 2), [48, 32]);
  assert.deepEqual(await facts((await extraSingle({ image }, NONE)).image), await facts(image));
});

test("refused: faces, networks that are not here, results that are too large or none (E_REQUEST)", async () => {
  const image = await picture();
  const refusals: [object, RegExp][] = [
    [{ gfpgan_visibility: 1 }, /gfpgan_visibility: faces/],
    [{ upscaler_1: "../4x.pth" }, /upscaler_1: there is no such upscaler \(allowed None, Lanczos, Nearest\)/],
    [{ upscaler_1: "constructor" }, /upscaler_1: there is no such/],
    [{ upscaler_1: "Lanczos", upscaling_resize: 9 }, /upscaling_resize: a number from 0.125 to 8/],
    [{ upscaler_1: "Lanczos", upscaling_resize: 0.2 }, /the result would be 0 x 0/],
    [{ upscaler_1: "Lanczos", resize_mode: 1, upscaling_resize_w: 4096, upscaling_resize_h: 4096 }, /6144 x 4096/],
    [{ image: "http://127.0.0.1/a.png" }, /image: /],
    [{ image: 7 }, /image: base64/],
  ];
  for (const [body, message] of refusals) {
    await assert.rejects(extraSingle({ image, ...body }, NONE), { message }, JSON.stringify(body));
  }
  await assert.rejects(extraBatch({ imageList: Array(17).fill({ data: image }) }, NONE), { message: /imageList/ });
});
