/** @file Files of upscalers and of previews' decoders: which network they hold, of several states the right one, and what doesn't fit refused by what it is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { tinyDecoderSchema } from "../../src/models/tiny-decoder.ts";
import { recogniseTinyDecoder } from "../../src/models/tiny-decoder-file.ts";
import { type UpscalerConfig, upscalerSchema } from "../../src/models/upscaler.ts";
import { recogniseUpscaler } from "../../src/models/upscaler-file.ts";
import { memorySource } from "../../src/source/memory.ts";

const NOWHERE = memorySource("nowhere", new Uint8Array(0));
type Shapes = ReadonlyMap<string, readonly number[]>;

function tableOf(shapes: Shapes, prefix = "", dtype: TensorEntry["dtype"] = "f16"): TensorTable {
  const entries = [...shapes].map(([name, shape]): [string, TensorEntry] => {
    const whole = `${prefix}${name}`;
    return [whole, { name: whole, dtype, shape, source: NOWHERE, startByte: 0, endByte: 0 }];
  });
  return new Map(entries);
}

/** One tensor of `shapes` missing, of another shape, of integers, and one that is too many: each refused by its name. */
function refusesChanges(shapes: Shapes, of: string, recognise: (table: TensorTable) => unknown, code: string): void {
  const [...names] = shapes.keys();
  const table = tableOf(shapes);
  recognise(table);
  const refused = (changed: TensorTable, words: RegExp) =>
    assert.throws(
      () => recognise(changed),
      (error: Error & { code?: string }) => error.code === code && words.test(error.message),
      `${words}`,
    );
  const entry = table.get(of)!;
  const quoted = of.replaceAll(".", "\\.");
  refused(tableOf(new Map([...shapes].filter(([name]) => name !== of))), new RegExp(`${quoted}"? .*is missing`));
  const larger = { ...entry, shape: entry.shape.with(0, entry.shape[0]! + 1) };
  refused(new Map([...table, [of, larger]]), new RegExp(`${quoted}"? has another shape`));
  refused(new Map([...table, [of, { ...entry, dtype: "i32" }]]), new RegExp(`${quoted}"? is i32`));
  const extra = { ...entry, name: names[0]!.replace(/\w+$/, "more") };
  refused(new Map([...table, [extra.name, extra]]), /it has a tensor ".*more" (too many|that .* has not)/);
}

const RRDB = { kind: "RRDBNet", scale: 4, fold: 1, features: 8, growth: 4, blocks: 2, doublings: 2 } as const;
const COMPACT = { kind: "SRVGGNetCompact", scale: 2, fold: 1, features: 6, layers: 3 } as const;

test("upscalers are told by their shapes; of a file's states the averaged one counts, whatever stands first", () => {
  const configs: readonly UpscalerConfig[] = [
    ...[RRDB, COMPACT],
    { ...RRDB, scale: 2, fold: 2 },
    { ...RRDB, scale: 1, fold: 4, blocks: 1 },
    { ...RRDB, scale: 8, doublings: 3 },
    { ...COMPACT, scale: 4, layers: 1 },
  ];
  for (const config of configs) {
    const table = tableOf(upscalerSchema(config), "module.");
    assert.deepEqual(recogniseUpscaler(new Map([["", table]]), "x.pth").config, config);
  }
  const [averaged, plain] = [tableOf(upscalerSchema(RRDB)), tableOf(upscalerSchema({ ...RRDB, blocks: 1 }))];
  for (const [path, other] of [
    ["params_ema", "params"],
    ["params", "state_dict"],
    ["params_ema", "anything"],
  ] as const) {
    const tables = new Map([
      [other, plain],
      [path, averaged],
    ]);
    assert.deepEqual(recogniseUpscaler(tables, "x.pth").config, RRDB, path);
  }
});

test("E_UPSCALER: tensors that don't fit, sizes that no network has, no tensors", () => {
  const recognise = (table: TensorTable) => recogniseUpscaler(new Map([["", table]]), "x.pth");
  refusesChanges(upscalerSchema(RRDB), "body.1.rdb2.conv3.weight", recognise, "E_UPSCALER");
  refusesChanges(upscalerSchema(COMPACT), "body.4.bias", recognise, "E_UPSCALER");
  const resized = (name: string, shape: readonly number[]) =>
    tableOf(new Map([...upscalerSchema(RRDB), [name, shape]]));
  const sized: readonly TensorTable[] = [
    resized("conv_first.weight", [8, 5, 3, 3]),
    resized("conv_first.weight", [8, 27, 3, 3]),
    resized("conv_first.weight", [513, 3, 3, 3]),
    resized("body.0.rdb1.conv1.weight", [513, 8, 3, 3]),
    // 64 blocks are allowed.
    tableOf(upscalerSchema({ ...RRDB, blocks: 65 })),
    tableOf(upscalerSchema({ ...RRDB, scale: 16, doublings: 4 })),
  ];
  for (const [i, table] of sized.entries()) {
    assert.throws(() => recognise(table), /E_UPSCALER x\.pth: its RRDBNet has sizes that no known one has/, `${i}`);
  }
  recognise(tableOf(upscalerSchema({ ...RRDB, blocks: 64 })));
  const compact = (changed: { readonly scale?: number; readonly features?: number }) =>
    tableOf(upscalerSchema({ ...COMPACT, ...changed }));
  for (const table of [compact({ scale: 5 }), compact({ features: 513 })])
    assert.throws(() => recognise(table), /E_UPSCALER .*neither RRDBNet \(ESRGAN\) nor SRVGGNetCompact/);
  assert.throws(() => recogniseUpscaler(new Map(), "x.pth"), /E_UPSCALER x\.pth: it holds no tensors/);
});

const TINY = { latentChannels: 4, channels: 8, blocks: [3, 2, 3, 1] } as const;

test("decoders of previews: by diffusers' names and by their author's numbers, with as many blocks as they have", () => {
  const schema = tinyDecoderSchema(TINY);
  assert.deepEqual(recogniseTinyDecoder(tableOf(schema, "decoder."), "taesdxl").config, TINY);
  // Their first layer has no parameters and is counted.
  const numbered = new Map(
    [...schema].map(([name, shape]) => [name.replace(/^layers\.(\d+)/, (_, n) => `${Number(n) + 1}`), shape]),
  );
  for (const prefix of ["", "taesd_decoder.", "decoder."]) {
    const { config, table } = recogniseTinyDecoder(tableOf(numbered, prefix), "taesdxl");
    assert.deepEqual(config, TINY, prefix);
    assert.deepEqual([...table].map(([name, { shape }]) => [name, shape]).sort(), [...schema].sort());
  }
  for (const blocks of [
    [1, 1, 1, 1],
    [4, 3, 2, 5],
  ] as const) {
    const config = { ...TINY, blocks };
    assert.deepEqual(recogniseTinyDecoder(tableOf(tinyDecoderSchema(config), "decoder."), "x").config, config);
  }
});

test("E_PREVIEWER: tensors that don't fit, widths and depths beyond all sense, a network of other levels", () => {
  const schema = new Map([...tinyDecoderSchema(TINY)].map(([name, shape]) => [`decoder.${name}`, shape]));
  const recognise = (table: TensorTable) =>
    recogniseTinyDecoder(new Map([...table.values()].map((entry) => [entry.name, entry])), "x.pth");
  const refused = (shapes: Shapes, words: RegExp) => assert.throws(() => recognise(tableOf(shapes)), words);
  const plain = new Map([...schema].map(([name, shape]) => [name.replace("decoder.", ""), shape]));
  const asStored = (table: TensorTable) =>
    recognise(new Map([...table.values()].map((entry) => [entry.name, { ...entry, name: `decoder.${entry.name}` }])));
  refusesChanges(plain, "layers.3.conv.2.bias", asStored, "E_PREVIEWER");
  for (const wide of [
    { ...TINY, channels: 2048 },
    { ...TINY, latentChannels: 2048 },
  ])
    refused(new Map([...tinyDecoderSchema(wide)].map(([n, s]) => [`decoder.${n}`, s])), /its layers are too wide/);
  refused(new Map([["anything.weight", [3]]]), /E_PREVIEWER x\.pth.*it is none/);
  const deep = tinyDecoderSchema({ ...TINY, blocks: [3, 200, 3, 1] });
  refused(new Map([...deep].map(([n, s]) => [`decoder.${n}`, s])), /a level of it has more than \d+ blocks/);
  const short = new Map([...schema].filter(([name]) => Number(/layers\.(\d+)/.exec(name)![1]) < 10));
  refused(short, /it has \d levels \(expected 4\)/);
});
