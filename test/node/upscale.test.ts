/** @file Upscalers against PyTorch (scripts/golden/upscaler_golden.py), under any budget, and files that are none. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Device } from "../../src/backend/device.ts";
import { HostDevice } from "../../src/backend/host-device.ts";
import { createReferenceBackend } from "../../src/backend/reference/backend.ts";
import { ArtifactError, BudgetError } from "../../src/errors.ts";
import { MiB } from "../../src/ledger/byte-text.ts";
import { type RgbPicture, tileCuts, Upscaling } from "../../src/models/upscaling.ts";
import { hostMachine, PROCESS_BYTES } from "../../src/node/host-machine.ts";
import { loadOnnxRuntime, openOnnxBackend } from "../../src/node/onnx.ts";
import { openUpscaler } from "../../src/node/upscaler-files.ts";
import { planUpscale, recoveredUpscale, upscale } from "../../src/pipeline/upscale.ts";
import { smallestDeviceBytes } from "../../src/plan/requirements.ts";
import { findTestAdapter, openTestDevice } from "../backend/software-vulkan.ts";
import { FaultyDevice } from "../faulty-device.ts";
import { sameBytes } from "../support/same.ts";
import { randomOf } from "../unit/store-fixture.ts";

const adapter = await findTestAdapter();
const gpuOptions = adapter.skip === undefined ? {} : { skip: `skipped: ${adapter.skip}` };

const FIXTURES = fileURLToPath(new URL("../../fixtures/upscalers/", import.meta.url));
const golden = JSON.parse(readFileSync(path.join(FIXTURES, "golden.json"), "utf8")) as {
  readonly width: number;
  readonly height: number;
  readonly rgb: string;
  readonly networks: Readonly<
    Record<string, { readonly scale: number; readonly files: readonly string[]; readonly rgb: string }>
  >;
};
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, "base64"));
const picture: RgbPicture = { width: golden.width, height: golden.height, rgb: bytesOf(golden.rgb) };

interface RunOptions {
  readonly deviceBytes?: number;
  readonly ramBytes?: number;
  readonly signal?: AbortSignal;
}

async function enlarge(device: Device, file: string, source: RgbPicture, options: RunOptions = {}) {
  const { config, table, source: opened } = await openUpscaler(path.join(FIXTURES, file), file);
  await using _ = opened;
  const settings = {
    device,
    machine: hostMachine(),
    budgets: { deviceBytes: options.deviceBytes ?? 2048 * MiB, ramBytes: options.ramBytes ?? 1024 * MiB },
    processBytes: PROCESS_BYTES,
    now: () => performance.now(),
    pause: () => new Promise<void>((resume) => setImmediate(resume)),
  };
  const planned = planUpscale(settings, new Upscaling(config, source), table, 0);
  const tiles: number[] = [];
  const onTile = (done: number) => tiles.push(done);
  const result = await upscale(settings, planned, source, { signal: options.signal, onTile });
  return { result, tiles, config, planned };
}

function nearGolden(found: Uint8Array, rgb: string): void {
  const expected = bytesOf(rgb);
  assert.equal(found.length, expected.length);
  let largest = 0;
  for (const [i, value] of found.entries()) largest = Math.max(largest, Math.abs(value - expected[i]!));
  // A value of x.5 in another order of sums.
  assert.ok(largest <= 1, `up to ${largest} of 255 off`);
  assert.ok(new Set(expected).size > 20, "the golden picture should not be flat");
}

for (const [name, { scale, files, rgb }] of Object.entries(golden.networks)) {
  for (const file of files) {
    test(`${name} from ${file}: PyTorch's picture`, async () => {
      await using device = new HostDevice(createReferenceBackend());
      const { result, config } = await enlarge(device, file, picture);
      assert.equal(config.scale, scale);
      assert.deepEqual([result.width, result.height], [picture.width * scale, picture.height * scale]);
      nearGolden(result.rgb, rgb);
    });
  }
}

test("the same bytes under every budget, in tiles", async (t) => {
  const why = await loadOnnxRuntime().then(() => undefined, String);
  if (why !== undefined) return t.skip(why);
  const random = randomOf(3);
  const source = { width: 300, height: 170, rgb: Uint8Array.from({ length: 300 * 170 * 3 }, () => random() * 256) };
  await using device = new HostDevice(await openOnnxBackend(2));
  const wide = await enlarge(device, "x4.pth", source);
  assert.deepEqual(
    wide.tiles,
    Array.from({ length: 3 * 2 + 1 }, (_, i) => i),
  );
  // Blocks pass through a ring there, in place of staying; from another form of the file.
  const least = smallestDeviceBytes(wide.planned.input);
  assert.ok(least < wide.planned.plan.peak.deviceBytes);
  const tight = await enlarge(device, "x4.safetensors", source, { deviceBytes: least });
  assert.ok(tight.planned.plan.phases[0]!.residency.ringBytes > 0, "weights should stream");
  sameBytes(tight.result.rgb, wide.result.rgb);
  await assert.rejects(enlarge(device, "x4.pth", source, { deviceBytes: least - 4096 }), BudgetError);
  await assert.rejects(enlarge(device, "x4.pth", source, { deviceBytes: 8 * MiB }), BudgetError);
  await assert.rejects(enlarge(device, "x4.pth", source, { ramBytes: PROCESS_BYTES + 1024 }), BudgetError);
});

for (const name of ["x4", "compact-x4", "x2"]) {
  test(`${name} on a graphics adapter: PyTorch's picture`, gpuOptions, async () => {
    await using device = await openTestDevice(adapter);
    const { files, rgb } = golden.networks[name]!;
    nearGolden((await enlarge(device, files[0]!, picture)).result.rgb, rgb);
  });
}

test("stopping stops between segments, with its reason", async () => {
  await using device = new HostDevice(createReferenceBackend());
  const reason = new Error("stop");
  await assert.rejects(
    enlarge(device, "x4.pth", picture, { signal: AbortSignal.abort(reason) }),
    (error) => error === reason,
  );
});

test("tiles cover every length, each pixel once, with the overlap around it", () => {
  for (const tile of [8, 20]) {
    for (let length = 1; length < 90; length++) {
      const cuts = tileCuts(length, tile, 2);
      let next = 0;
      for (const [i, { start, from, to }] of cuts.entries()) {
        assert.equal(from, next);
        assert.ok(to > from && start >= 0 && start + Math.min(tile, length) <= length);
        assert.ok(i === 0 ? from === 0 : from - start >= 2, `${length}: left of tile ${i}`);
        assert.ok(i === cuts.length - 1 ? to === length : start + tile - to >= 2, `${length}: right of tile ${i}`);
        next = to;
      }
      assert.equal(next, length);
    }
  }
});

for (const [file, code, about] of [
  ["../upscalers/swinir.pth", "E_UPSCALER", /SwinIR/],
  ["../torch-files/plain.pth", "E_UPSCALER", /not known here/],
  ["../torch-files/runs-code.pth", "E_PICKLE", /system/],
  ["golden.json", "E_", /./],
] as const) {
  test(`${file} is refused by what it is`, async () => {
    await assert.rejects(openUpscaler(path.join(FIXTURES, file), file), (error: unknown) => {
      assert.ok(error instanceof ArtifactError, String(error));
      assert.ok(error.code.startsWith(code), error.code);
      assert.match(error.message, about);
      return true;
    });
  });
}

test("a device that breaks between tiles: the others go on on another one, to the same pixels; twice is too much", async () => {
  const random = randomOf(5);
  const wide: RgbPicture = {
    width: 170,
    height: 4,
    rgb: Uint8Array.from({ length: 3 * 170 * 4 }, () => 256 * random()),
  };
  const { config, table, source } = await openUpscaler(path.join(FIXTURES, "compact-x2.pth"), "compact-x2.pth");
  await using _ = source;
  const draw = async (devices: FaultyDevice[]) => {
    const tiles: number[] = [];
    const notes: string[] = [];
    const settings = {
      device: devices.shift()!,
      machine: hostMachine(),
      budgets: { deviceBytes: 256 * MiB, ramBytes: 1024 * MiB },
      processBytes: PROCESS_BYTES,
      now: () => performance.now(),
      pause: async () => {},
    };
    const planned = planUpscale(settings, new Upscaling(config, wide), table, 0);
    const recovery = { reopen: async () => devices.shift()!, onLost: (text: string) => void notes.push(text) };
    const onTile = (done: number) => void tiles.push(done);
    const { rgb } = await recoveredUpscale(settings, planned, wide, { onTile }, recovery);
    return { rgb, tiles, notes };
  };
  const expected = await draw([new FaultyDevice()]);
  assert.deepEqual([expected.tiles, expected.notes], [[0, 1, 2], []]);
  // In the middle of the second tile.
  const breaking = () => {
    let reads = 0;
    return new FaultyDevice({ before: (call, _, device) => call === "read" && ++reads === 2 && device.lose() });
  };
  const found = await draw([breaking(), new FaultyDevice()]);
  sameBytes(found.rgb, expected.rgb);
  assert.deepEqual(found.tiles, [0, 1, 1, 2]);
  assert.match(found.notes.join(), /^E_GPU_LOST.* in tile 2 of 2\. Going on with a new device$/);
  await assert.rejects(draw([breaking(), new FaultyDevice({ before: (_, __, device) => device.lose() })]));
});
