/** @file A picture that is enlarged by itself: what its plan counts beside the network, what it tells, and which texts it keeps. */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { type EncodedPicture, OpenedUpscale } from "../../src/engine/upscale-job.ts";
import type { PictureToWrite } from "../../src/image/picture-writer.ts";
import { encodePng, type PngText } from "../../src/image/png.ts";
import { resample, resampleBytes } from "../../src/image/resample.ts";
import type { UpscaleEvent, UpscaleJob } from "../../src/job/upscale.ts";
import { MiB } from "../../src/ledger/byte-text.ts";
import { openUpscaler } from "../../src/node/upscaler-files.ts";
import { FaultyDevice, shortError } from "../faulty-device.ts";
import { TEST_MACHINE } from "../graph-run.ts";
import { exifBlock, jpegOf } from "../support/picture-files.ts";

/** It makes pictures twice as large. */
const UPSCALER = fileURLToPath(new URL("../../fixtures/upscalers/compact-x2.pth", import.meta.url));
const [WIDTH, HEIGHT] = [6, 4];
const alpha = Uint8Array.from({ length: WIDTH * HEIGHT }, (_, i) => 10 * i);

interface Source {
  readonly text?: readonly PngText[];
  readonly alpha?: Uint8Array<ArrayBuffer>;
  /** As large as it comes out of the network. */
  readonly isLarge?: boolean;
  /** The file, if it isn't a PNG with that text. */
  readonly bytes?: Uint8Array<ArrayBuffer>;
}

/** Opens the job, and tells what is written. */
async function opened(job: Partial<UpscaleJob>, source: Source = {}) {
  const { text = [], isLarge = false } = source;
  const times = isLarge ? 2 : 1;
  const size = { width: times * WIDTH, height: times * HEIGHT };
  const colours = new Uint8Array(3 * size.width * size.height).map((_, i) => (i * 29) % 256);
  const bytes = source.bytes ?? (await encodePng({ ...size, rgb: colours, text }));
  const picture = { ...size, rgb: colours, ...(source.alpha && { alpha: source.alpha }), notes: ["turned"] };
  const encoded: EncodedPicture = { name: "in.png", bytes, decode: async () => picture };
  const written: PictureToWrite[] = [];
  const writer = {
    lost: (texts: readonly PngText[]) => texts.filter(({ keyword }) => keyword === "big").map(({ keyword }) => keyword),
    write: async (image: PictureToWrite) => {
      written.push(image);
      return new Uint8Array(1);
    },
  };
  const host = {
    openPicture: async () => encoded,
    openUpscaler: async () => await openUpscaler(UPSCALER, "compact-x2.pth"),
    openPictureWriter: async () => writer,
  };
  const whole = { image: "in.png", upscaler: path.join("models", "compact-x2.pth"), ...job };
  return { upscale: await OpenedUpscale.open(host, whole), written, fileBytes: bytes.length };
}

const computeOn = (device: Device, ramBytes = 64 * MiB, reopen?: () => Promise<Device>) => ({
  device,
  machine: TEST_MACHINE,
  budgets: { deviceBytes: 64 * MiB, ramBytes },
  processBytes: 1000,
  now: () => 0,
  pause: async () => {},
  reopen,
});

test("the plan counts the file, alpha, what is resized and what the encoder takes, of the size that is asked for", async () => {
  const device = new HostDevice(createReferenceBackend());
  /** RAM beside the process and the file. */
  const plannedBytes = async (job: Partial<UpscaleJob>, source?: Source) => {
    const { upscale, fileBytes } = await opened(job, source);
    await using _ = upscale;
    return (await upscale.plan(computeOn(device))).peak.ramBytes - 1000 - fileBytes;
  };
  const [wide, high] = [2 * WIDTH, 2 * HEIGHT];
  const own = await plannedBytes({});
  const pixels = wide * high;
  // Bytes a pixel of the encoders: 9 for PNG, 16 for JPEG (encoderBytesPerPixel).
  assert.equal((await plannedBytes({ format: "jpeg" })) - own, (16 - 9) * pixels);
  // Alpha as it is, resized, and laid beside the colours; the encoder has four channels in place of three.
  const resizedAlpha = resampleBytes({ width: WIDTH, height: HEIGHT, channels: 1 }, { width: wide, height: high });
  const withAlpha = await plannedBytes({}, { alpha });
  assert.equal(withAlpha - own, WIDTH * HEIGHT + resizedAlpha + 4 * pixels + 9 * pixels * (4 / 3 - 1));
  const resized = (width: number, height: number) =>
    resampleBytes({ width: wide, height: high, channels: 3 }, { width, height }) + 9 * (width * height - pixels);
  for (const [width, height] of [
    [wide - 2, high],
    [wide, high - 2],
    [wide - 2, high - 2],
  ] as const) {
    assert.equal((await plannedBytes({ width, height })) - own, resized(width, height), `${width}x${height}`);
  }
  assert.equal((await plannedBytes({ width: wide, height: high })) - own, 0);
  assert.equal((await plannedBytes({}, { text: [{ keyword: "Comment", text: "long ".repeat(999) }] })) - own, 0);
  // The last run, which is as one of the picture that the first has made; and the picture itself.
  const [once, twice] = [await plannedBytes({ scale: 4 }), await plannedBytes({ scale: 4 }, { alpha })];
  assert.equal(once - (await plannedBytes({}, { isLarge: true })), 3 * WIDTH * HEIGHT);
  const larger = resampleBytes({ width: WIDTH, height: HEIGHT, channels: 1 }, { width: 2 * wide, height: 2 * high });
  assert.equal(twice - once, WIDTH * HEIGHT + larger + 4 * 4 * pixels + 9 * 4 * pixels * (4 / 3 - 1));
});

test("what can't be decoded within the RAM that is there is refused before it is", async () => {
  const { upscale } = await opened({});
  await using _ = upscale;
  await assert.rejects(upscale.plan(computeOn(new HostDevice(createReferenceBackend()), 1000)), {
    code: "E_RAM",
    subject: "in.png",
  });
});

test("texts stay, an infotext in EXIF by PNG's name for it; an upscaler's name of before does not", async () => {
  const comment = Buffer.from("UNICODE\0a cat", "latin1");
  const unicode = Buffer.concat([comment.subarray(0, 8), Buffer.from("a cat", "utf16le").swap16()]);
  const frame = Buffer.from("ffc0000b08000400060101110000", "hex");
  const exif = jpegOf(exifBlock(false, [], unicode));
  const jpeg = Buffer.concat([exif.subarray(0, 2), frame.subarray(0, 13), exif.subarray(2)]);
  const own = { keyword: "Upscaler", text: "compact-x2.pth, 2x" };
  for (const [source, expected] of [
    [
      {
        text: [
          { keyword: "parameters", text: "a dog" },
          { keyword: "Upscaler", text: "old.pth, 4x" },
        ],
      },
      ["parameters: a dog"],
    ],
    [{ text: [{ keyword: "big", text: "b" }] }, ["big: b"]],
    [{ bytes: Uint8Array.from(jpeg) }, ["parameters: a cat"]],
  ] satisfies [Source, string[]][]) {
    const { upscale, written } = await opened({ image: "in.png" }, source);
    await using _ = upscale;
    const notes: string[] = [];
    const onEvent = (event: UpscaleEvent) => void (event.type === "note" && notes.push(event.text));
    await upscale.run(computeOn(new HostDevice(createReferenceBackend())), { onEvent });
    const texts = written[0]!.text.map(({ keyword, text }) => `${keyword}: ${text}`);
    assert.deepEqual(texts, [...expected, `${own.keyword}: ${own.text}`]);
    assert.deepEqual(notes, ["turned", ...(expected[0] === "big: b" ? ["big: left out"] : [])]);
  }
});

test("several runs are told as one: tiles in a row, each once; alpha comes by Lanczos, and a JPEG says that it has none", async () => {
  const { upscale, written } = await opened({ scale: 3, format: "jpeg" }, { alpha });
  await using _ = upscale;
  const events: UpscaleEvent[] = [];
  const device = new HostDevice(createReferenceBackend());
  const made = await upscale.run(computeOn(device), { onEvent: (event) => void events.push(event) });
  assert.deepEqual([made.width, made.height, made.format], [3 * WIDTH, 3 * HEIGHT, "jpeg"]);
  const tiles = events.flatMap((event) => (event.type === "tile" ? [`${event.done}/${event.tiles}`] : []));
  assert.deepEqual(tiles, ["0/2", "1/2", "2/2"]);
  assert.equal(events.filter(({ type }) => type === "plan").length, 2);
  assert.deepEqual(
    events.flatMap((event) => (event.type === "note" ? [event.text] : [])),
    ["turned", "a JPEG has no transparent parts: they are laid over white"],
  );
  const size = { width: 3 * WIDTH, height: 3 * HEIGHT };
  const [image] = written;
  assert.deepEqual(
    image!.alpha,
    resample({ width: WIDTH, height: HEIGHT, channels: 1, bytes: alpha }, size, "lanczos"),
  );
  assert.equal(image!.rgb.length, 3 * size.width * size.height);
  assert.equal(image!.text.at(-1)!.text, "compact-x2.pth, 3x");
});

test("stopped when the last tile is made, it is stopped: nothing is written", async () => {
  const { upscale, written } = await opened({});
  await using _ = upscale;
  const stop = new AbortController();
  const onEvent = (event: UpscaleEvent) => void (event.type === "tile" && event.done === 1 && stop.abort("enough"));
  const run = upscale.run(computeOn(new HostDevice(createReferenceBackend())), { onEvent, signal: stop.signal });
  assert.equal(await run.then(String, (reason: unknown) => reason), "enough");
  assert.deepEqual(written, []);
});

test("whoever has stopped it gets no new device, and neither does what a new device can't help", async () => {
  for (const [fault, expected] of [
    [
      (stop: AbortController, device: FaultyDevice) => {
        stop.abort("enough");
        device.lose();
      },
      /^enough$/,
    ],
    [() => assert.fail("short"), /short/],
    [
      () => {
        throw shortError("an arena");
      },
      /E_VRAM/,
    ],
  ] as const) {
    const stop = new AbortController();
    const device: FaultyDevice = new FaultyDevice({ before: (call) => void (call === "run" && fault(stop, device)) });
    const { upscale } = await opened({});
    await using _ = upscale;
    const reopen = async () => assert.fail("opened again");
    const run = upscale.run(computeOn(device, 64 * MiB, reopen), { signal: stop.signal });
    assert.match(await run.then(String, String), expected);
  }
});

test("a device that broke in the first run is not asked for the second", async () => {
  const broken: FaultyDevice = new FaultyDevice({ before: (call) => void (call === "run" && broken.lose()) });
  const { upscale, written } = await opened({ scale: 4 });
  await using _ = upscale;
  let reopened = 0;
  const reopen = async () => {
    reopened++;
    return new FaultyDevice();
  };
  const notes: string[] = [];
  const onEvent = (event: UpscaleEvent) => void (event.type === "note" && notes.push(event.text));
  await upscale.run(computeOn(broken, 64 * MiB, reopen), { onEvent });
  assert.equal(reopened, 1);
  assert.equal(notes.length, 2, "turned, and going on");
  const plain = await opened({ scale: 4 });
  await using __ = plain.upscale;
  await plain.upscale.run(computeOn(new FaultyDevice()), {});
  assert.deepEqual(written[0]!.rgb, plain.written[0]!.rgb);
});
