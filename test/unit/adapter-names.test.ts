/** @file Names of layers in adapters' files: every module of SDXL in every style is found, and found as itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openAdapter } from "../../src/adapters/adapter.ts";
import type { AdapterFile } from "../../src/adapters/adapter-file.ts";
import { splitKey } from "../../src/adapters/key-table.ts";
import { findRoot, LayerNames } from "../../src/adapters/layer-names.ts";
import { pairShapes, SDXL_NAMES, SDXL_PARTS, shapesFile, wholeFile } from "../support/adapter-file.ts";
import { valuesOf } from "../support/layer-delta.ts";
import { originalNames } from "../support/single-file.ts";

interface Module {
  readonly component: string;
  readonly folder: string;
  readonly name: string;
  readonly shape: readonly number[];
  /** In the original layout, as diffusers reads single files (fixtures/single-file). */
  readonly original: string | undefined;
}

const ORIGINALS = new Map(
  originalNames("sdxl").map(({ folder, original, parameter }) => [
    `${folder}/${parameter}`,
    original.replace("model.diffusion_model.", ""),
  ]),
);

const withoutWeight = (name: string) => name.replace(/\.weight$/, "");
/** Every layer with a matrix. */
const MODULES: readonly Module[] = SDXL_PARTS.flatMap(({ component, folder, schema }) =>
  [...schema].flatMap(([name, shape]) => {
    if (!name.endsWith(".weight") || shape.length < 2) return [];
    const original = folder === "unet" ? withoutWeight(ORIGINALS.get(`unet/${name}`)!) : undefined;
    return [{ component, folder, name: withoutWeight(name), shape, original }];
  }),
);

const flat = (name: string) => name.replaceAll(".", "_");
const short = ({ folder }: Module) => ({ unet: "unet", text_encoder: "te1", text_encoder_2: "te2" })[folder]!;
const omi = ({ folder }: Module) => ({ unet: "unet", text_encoder: "clip_l", text_encoder_2: "clip_g" })[folder]!;
const only =
  (folder: string, name: (module: Module) => string) =>
  (module: Module): string | undefined =>
    module.folder === folder ? name(module) : undefined;

/** A module's name in the file; undefined where the style has none such. Then what follows for the two factors. */
const STYLES: Readonly<Record<string, readonly [(module: Module) => string | undefined, string, string]>> = {
  "kohya, diffusers' blocks": [(m) => `lora_${short(m)}_${flat(m.name)}`, ".lora_down.weight", ".lora_up.weight"],
  "kohya, SGM blocks": [
    (m) => `lora_${short(m)}_${flat(m.original ?? m.name)}`,
    ".lora_down.weight",
    ".lora_up.weight",
  ],
  "diffusers, peft": [(m) => `${m.folder}.${m.name}`, ".lora_A.weight", ".lora_B.weight"],
  "diffusers, peft, without prefix": [only("unet", (m) => m.name), ".lora_A.weight", ".lora_B.weight"],
  "peft, named": [
    only("unet", (m) => `base_model.model.${m.name}`),
    ".lora_A.default.weight",
    ".lora_B.default.weight",
  ],
  "diffusers, peft, named": [(m) => `${m.folder}.${m.name}`, ".lora_A.default_0.weight", ".lora_B.default_0.weight"],
  "peft, bare": [only("unet", (m) => m.name), ".lora_A", ".lora_B"],
  "diffusers, old": [(m) => `${m.folder}.${m.name}`, ".lora.down.weight", ".lora.up.weight"],
  "diffusers, text encoders": [
    (m) => (m.folder === "unet" ? undefined : `${m.folder}.${m.name}`),
    ".lora_linear_layer.down.weight",
    ".lora_linear_layer.up.weight",
  ],
  "diffusers, attention processors": [
    only("unet", (m) =>
      /\.attn[12]\.to_/.test(m.name) ? `unet.${m.name.replace(/\.(to_\w+?)(\.0)?$/, ".processor.$1")}` : "",
    ),
    "_lora.down.weight",
    "_lora.up.weight",
  ],
  "transformers 5": [
    (m) => (m.folder === "unet" ? undefined : `${m.folder}.${m.name.replace(/^text_model\./, "")}`),
    ".lora_A.weight",
    ".lora_B.weight",
  ],
  OMI: [(m) => `${omi(m)}.${m.original ?? m.name}`, ".lora_down.weight", ".lora_up.weight"],
  ComfyUI: [
    (m) => (m.folder === "unet" ? `diffusion_model.${m.original}` : `text_encoders.${omi(m)}.transformer.${m.name}`),
    ".lora_A.weight",
    ".lora_B.weight",
  ],
  "SimpleTuner, LyCORIS": [only("unet", (m) => `lycoris_${flat(m.name)}`), ".lora_down.weight", ".lora_up.weight"],
};

test("SDXL's modules: as many as it has, and their top-level ones", () => {
  // 794 of the UNet, and 6 a layer of the text encoders with a projection: diffusers' modules with a weight of two axes or more.
  assert.deepEqual(
    ["unet", "text_encoder", "text_encoder_2"].map((folder) => MODULES.filter((m) => m.folder === folder).length),
    [794, 12 * 6, 32 * 6 + 1],
  );
  const top = MODULES.filter((m) => /^(conv_|time_|add_)/.test(m.name)).map(({ original }) => original);
  assert.deepEqual(top.sort(), [
    "input_blocks.0.0",
    "label_emb.0.0",
    "label_emb.0.2",
    "out.2",
    "time_embed.0",
    "time_embed.2",
  ]);
});

for (const [style, [nameOf, down, up]] of Object.entries(STYLES)) {
  test(`${style}: every module is found, and is itself`, async () => {
    const named = MODULES.flatMap((module) => {
      const name = nameOf(module);
      return name ? [{ module, name }] : [];
    });
    assert.ok(named.length > 70);
    const shapes = named.flatMap(({ module, name }) => {
      const pair = pairShapes(module.shape, 4);
      return [[`${name}${down}`, pair.down] as const, [`${name}${up}`, pair.up] as const];
    });
    const { adapter, report } = await openAdapter(shapesFile(shapes), SDXL_NAMES);
    assert.deepEqual([report.matched, report.unmatched, report.twins], [shapes.length, [], []]);
    for (const { module, name } of named) {
      const [change, ...more] = adapter.layers.get(module.component)?.get(module.name) ?? [];
      assert.equal(more.length, 0);
      assert.ok(change?.kind === "low-rank" && change.down.name === `${name}${down}`, `${name} -> ${module.name}`);
    }
    assert.equal(
      [...adapter.layers.values()].reduce((sum, { size }) => sum + size, 0),
      named.length,
    );
  });
}

test("what stands before a module's name: each program's words for each of the three networks", () => {
  const unet = "down_blocks.1.attentions.0.proj_in";
  const encoder = "text_model.encoder.layers.0.self_attn.q_proj";
  const prefixes = {
    unet: [
      ...["lora_unet_", "oft_unet_", "lycoris_", "lycoris_unet_"],
      ...["", "unet.", "unet.unet.", "unet.base_model.model.", "base_model.model.", "base_model.model.unet."],
      ...["diffusion_model.", "model.diffusion_model."],
    ],
    text_encoder: [
      ...["lora_te_", "lora_te1_", "oft_te1_", "lycoris_te1_", "lycoris_text_encoder_"],
      ...["text_encoder.", "text_encoder.base_model.model.", "base_model.model.text_encoder.", "te1."],
      ...["clip_l.", "clip_l.transformer.", "text_encoders.clip_l.", "text_encoders.clip_l.transformer."],
    ],
    text_encoder_2: [
      ...["lora_te2_", "oft_te2_", "lycoris_te2_", "lycoris_text_encoder_2_"],
      ...["text_encoder_2.", "text_encoder_2.base_model.model.", "base_model.model.text_encoder_2.", "te2."],
      ...["clip_g.", "clip_g.transformer.", "text_encoders.clip_g.", "text_encoders.clip_g.transformer."],
    ],
  };
  for (const [folder, all] of Object.entries(prefixes)) {
    const module = folder === "unet" ? unet : encoder;
    for (const prefix of all) {
      const found = findRoot(SDXL_NAMES, prefix + (prefix.endsWith("_") ? flat(module) : module));
      assert.deepEqual([found?.layer.folder, found?.layer.module], [folder, module], prefix);
    }
  }
  // Attention processors of old: their names for a text encoder's projections are the UNet's.
  const old = { to_q: "q_proj", to_k: "k_proj", to_v: "v_proj", to_out: "out_proj" };
  for (const [name, own] of Object.entries(old)) {
    for (const folder of ["text_encoder", "text_encoder_2"]) {
      const found = findRoot(SDXL_NAMES, `${folder}.text_model.encoder.layers.3.self_attn.${name}`);
      assert.deepEqual([found?.layer.folder, found?.layer.module.split(".").at(-1)], [folder, own]);
    }
  }
});

test("no name of one module is another's, flattened or not", () => {
  for (const { folder, schema, otherNames } of SDXL_PARTS) {
    const modules = [...schema.keys()].filter((name) => name.endsWith(".weight")).map(withoutWeight);
    const all = [...modules, ...otherNames.keys()];
    assert.equal(new Set(all.map(flat)).size, all.length, folder);
    for (const name of modules) assert.equal(SDXL_NAMES.find(folder, flat(name), true)?.layer.module, name);
    for (const [other, name] of otherNames) assert.equal(SDXL_NAMES.find(folder, other, false)?.layer.module, name);
  }
});

test("a module's own name counts before another's alias; its bias is its own", () => {
  const schema = new Map([
    ["a.weight", [4, 4]],
    ["b.weight", [4, 4]],
    ["b.bias", [4]],
  ]);
  const otherNames = new Map([
    ["b", "a"],
    ["c", "a"],
    ["d", "none"],
  ]);
  const names = new LayerNames([{ component: "unet", folder: "unet", schema, otherNames }]);
  const found = (name: string) => {
    const { layer, byOtherName } = names.find("unet", name, false) ?? {};
    return [layer?.module, layer?.hasBias, byOtherName];
  };
  assert.deepEqual(found("a"), ["a", false, false]);
  assert.deepEqual(found("b"), ["b", true, false]);
  assert.deepEqual(found("c"), ["a", false, true]);
  assert.deepEqual(found("d"), [undefined, undefined, undefined]);
});

test("blocks by both names: diffusers' counts, layers under one name alone are kept", async () => {
  const pair = (root: string, rank: number) =>
    [
      [`${root}.lora_down.weight`, [rank, 640]],
      [`${root}.lora_up.weight`, [640, rank]],
    ] as const;
  const file = shapesFile([
    ...pair("lora_unet_input_blocks_4_1_proj_in", 2),
    ...pair("lora_unet_down_blocks_1_attentions_0_proj_in", 3),
    ...pair("lora_unet_input_blocks_5_1_proj_in", 2),
  ]);
  const { adapter, report } = await openAdapter(file, SDXL_NAMES);
  const ranks = [...adapter.layers.get("unet")!].map(([name, [change]]) => [
    name,
    change?.kind === "low-rank" && change.down.shape[0],
  ]);
  assert.deepEqual(ranks, [
    ["down_blocks.1.attentions.0.proj_in", 3],
    ["down_blocks.1.attentions.1.proj_in", 2],
  ]);
  assert.deepEqual(
    report.twins.map((name) => name.split(".")[0]),
    Array(2).fill("lora_unet_input_blocks_4_1_proj_in"),
  );
  assert.equal(report.matched, 4);
});

test("GLoRA's first release has its pairs the other way round", async () => {
  const root = FF;
  const [outputs, inputs, rank] = [640, 2560, 4];
  const released = (a1: number[], a2: number[], b1: number[], b2: number[]) =>
    shapesFile(Object.entries({ a1, a2, b1, b2 }).map(([name, shape]) => [`${root}.${name}.weight`, shape] as const));
  const namesOf = async (file: ReturnType<typeof shapesFile>) => {
    const { adapter } = await openAdapter(file, SDXL_NAMES);
    return [...adapter.layers.get("unet")!.values()].flat().map((change) => {
      assert.ok(change.kind === "input-low-rank" || change.kind === "low-rank");
      return [
        change.kind,
        ...[change.down, change.up].map(({ name }) => name.slice(root.length + 1, -".weight".length)),
      ];
    });
  };
  const now = released([inputs, rank], [rank, inputs], [outputs, rank], [rank, inputs]);
  const once = released([rank, inputs], [inputs, rank], [rank, inputs], [outputs, rank]);
  assert.deepEqual(await namesOf(now), [
    ["input-low-rank", "a2", "a1"],
    ["low-rank", "b2", "b1"],
  ]);
  assert.deepEqual(await namesOf(once), [
    ["input-low-rank", "a1", "a2"],
    ["low-rank", "b1", "b2"],
  ]);
});

const FF = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_2";
const ROOT = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0";

test("alpha over rank scales the factors, and the bias that goes with them", async () => {
  const { down, up } = pairShapes([640, 640], 4);
  const tensors = (alpha: number) =>
    wholeFile([
      [`${ROOT}.lora_down.weight`, down, 1],
      [`${ROOT}.lora_up.weight`, up, 1],
      [`${ROOT}.lora_up.bias`, [640], 3],
      [`${ROOT}.alpha`, [], alpha],
    ]);
  for (const alpha of [4, 2, 12]) {
    const { adapter } = await openAdapter(await tensors(alpha), SDXL_NAMES);
    const [factors, bias] = [...adapter.layers.get("unet")!.values()].flat();
    assert.equal(factors?.kind === "low-rank" && factors.scale, alpha / 4);
    assert.ok(bias?.kind === "bias");
    assert.deepEqual(new Set(await valuesOf(bias.bias)), new Set([(3 * alpha) / 4]));
  }
});

test("an adapter is the same one while its file is: by its stamp on a disk, by its values in memory", async () => {
  const { down, up } = pairShapes([640, 640], 4);
  const idOf = async (file: AdapterFile) => (await openAdapter(file, SDXL_NAMES)).adapter.id;
  const inMemory = (value: number) =>
    wholeFile([
      [`${ROOT}.lora_down.weight`, down, 1],
      [`${ROOT}.lora_up.weight`, up, value],
    ]);
  assert.equal(await idOf(await inMemory(1)), await idOf(await inMemory(1)));
  assert.notEqual(await idOf(await inMemory(1)), await idOf(await inMemory(2)));
  const onDisk = (stamp: string) => {
    const file = shapesFile([
      [`${ROOT}.lora_down.weight`, down],
      [`${ROOT}.lora_up.weight`, up],
    ]);
    const table = [...file.table].map(([name, entry]) => {
      return [name, { ...entry, source: { ...entry.source, file: { path: "/style.safetensors", stamp } } }] as const;
    });
    return { ...file, table: new Map(table) };
  };
  // Read in pieces of a megabyte: this one has three and a bit, and differs in its last byte.
  const large = (last: number) => {
    const file = shapesFile([[`${FF}.diff`, [640, 2560]]]);
    const [name, entry] = [...file.table][0]!;
    const read = async (at: number, into: Uint8Array) => {
      into.fill(0);
      if (at + into.length === entry.endByte) into[into.length - 1] = last;
    };
    return { ...file, table: new Map([[name, { ...entry, source: { ...entry.source, file: undefined, read } }]]) };
  };
  assert.notEqual(await idOf(large(1)), await idOf(large(2)));
  assert.equal(await idOf(onDisk("1")), await idOf(onDisk("1")));
  assert.notEqual(await idOf(onDisk("1")), await idOf(onDisk("2")));
});

test("keys: the longest end counts, and an adapter's name within is left out", () => {
  const cases = {
    "a.lora_A.my-style.weight": ["a", "down"],
    "a.lora_magnitude_vector.default.weight": ["a", "magnitudeVector"],
    "a.lora_linear_layer.up.weight": ["a", "up"],
    "a.processor.to_out_lora.down.weight": ["a.processor.to_out", "down"],
    "a.b1.weight": ["a", "gloraB1"],
    "a.b3.weight": ["a.b3", "weight"],
    "a.hada_w1_a.default": ["a", "hadaW1A"],
    "a.hada_t2.default": ["a", "hadaT2"],
    "a.lokr_w1.default": ["a", "lokrW1"],
    "a.lokr_w2_b.default": ["a", "lokrW2B"],
    "a.lokr_t2.default": ["a", "lokrT2"],
    "a.oft_R.default.weight": ["a", "oftR"],
    "a.ia3_l.default": ["a", "ia3"],
    "a.lora_B.default.bias": ["a", "upBias"],
    "a.lora_linear_layer.alpha": ["a", "alpha"],
    "a.to_q_lora.alpha": ["a.to_q", "alpha"],
    "a.lora_embedding_A": undefined,
    "a.bias": undefined,
    "": undefined,
  };
  for (const [key, expected] of Object.entries(cases)) {
    const found = splitKey(key);
    assert.deepEqual(found && [found.root, found.role], expected, key);
  }
});
