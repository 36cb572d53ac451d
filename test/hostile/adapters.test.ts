/** @file Adapters' files that can't be used: one clear error each, and nothing of them applied. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openAdapter } from "../../src/adapters/adapter.ts";
import { readAdapterFile } from "../../src/adapters/adapter-file.ts";
import { memorySource } from "../../src/source/memory.ts";
import { SDXL_NAMES, type Shapes, shapesFile, wholeFile } from "../support/adapter-file.ts";
import { valuesOf } from "../support/layer-delta.ts";

/** A layer of 640 by 640, without a bias; one with; one of 640 by 2560; one of 5120 by 640; a convolution [320, 320, 3, 3]; a norm of 320. */
const Q = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q";
const KEY = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k";
const OUT = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0";
const FF = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_2";
const WIDE = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj";
const CONV = "lora_unet_down_blocks_0_resnets_0_conv1";
const NORM = "lora_unet_down_blocks_0_resnets_0_norm1";

const pair = (root: string, rank = 4, outputs = 640, inputs = 640): [string, number[]][] => [
  [`${root}.lora_down.weight`, [rank, inputs]],
  [`${root}.lora_up.weight`, [outputs, rank]],
];

/** The message of the one error. */
async function refused(shapes: Shapes, code: string, metadata?: Record<string, string>): Promise<string> {
  let message = "";
  await assert.rejects(openAdapter(shapesFile(shapes, metadata), SDXL_NAMES), (error: Error & { code?: string }) => {
    message = error.message;
    assert.equal(error.code, code, message);
    assert.match(message, /^E_\w+ style\.safetensors: [^\n]{10,900}\. Next: [^\n]+\.$/);
    return true;
  });
  return message;
}

test("E_LORA_TENSOR: shapes that don't fit, rank 0, layers that are not whole", async () => {
  const cases: readonly (readonly [Shapes, RegExp])[] = [
    [
      pair(Q, 4, 640, 320),
      /lora_down\.weight" does not fit the model's down_blocks\.1\.\S+to_q \[640,640\] \(found \[4,320\], needs \[4,640\]\)/,
    ],
    [pair(Q, 4, 320), /\(found \[320,4\], needs \[640,4\]\)/],
    [pair(Q, 0), /has rank 0 \(found \[0,640\]\)/],
    [
      [
        [`${Q}.lora_down.weight`, []],
        [`${Q}.lora_up.weight`, [640, 4]],
      ],
      /rank 0 \(found \[\]\)/,
    ],
    [pair(Q).slice(0, 1), /the layer is not complete: it has "\S+lora_down\.weight" and no up/],
    [pair(Q).slice(1), /not complete: .* and no down/],
    [[...pair(CONV, 4, 320, 320 * 9), [`${CONV}.lora_mid.weight`, [4, 4, 3, 3]]], /needs \[4,320,1,1\]/],
    [pair(NORM, 4, 320, 320), /is a norm, which has no matrix/],
    [[[`${Q}.alpha`, []]], /has "\S+alpha" and nothing that it belongs to/],
    [[[`${Q}.hada_w1_a`, [640, 2]]], /no hadaW1B|no hadaW2A|no hadaW/],
    [
      [
        [`${Q}.lokr_w1`, [8, 8]],
        [`${Q}.lokr_w2`, [80, 40]],
      ],
      /its factors do not fit .* \(found \[8, 8\] and \[80, 40\]\)/,
    ],
    [
      [
        [`${Q}.lokr_w1`, [0, 8]],
        [`${Q}.lokr_w2`, [80, 80]],
      ],
      /is no matrix \(found \[0,8\]\)/,
    ],
    [
      [
        [`${Q}.lokr_w1`, [8, 8]],
        [`${Q}.lokr_w1_a`, [8, 1]],
        [`${Q}.lokr_w2`, [80, 80]],
      ],
      /lokrW1 as well as/,
    ],
    [[[`${Q}.oft_blocks`, [3, 4, 4]]], /its blocks do not fit 640 outputs/],
    [
      [
        [`${Q}.oft_blocks`, [2, 64, 10, 10]],
        [`${Q}.rescale`, [64]],
      ],
      /does not fit|needs \[640\]/,
    ],
    [[[`${Q}.oft_blocks`, [9, 64, 10, 10]]], /butterflies do not fit/],
    [
      [[`base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.oft_R.weight`, [3, 5]]],
      /triangles do not fit/,
    ],
    // Of 4 by 4, as 6 is 4 * 3 / 2: 160 are needed, or one for all.
    [[["unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.oft_R.weight", [3, 6]]], /\(found \[3,6\]\)/],
    [[[`${Q}.diff`, [640, 641]]], /needs \[640,640\]/],
    // As many values, in another order: transposed, channels last.
    [[[`${FF}.diff`, [2560, 640]]], /\(found \[2560,640\], needs \[640,2560\]\)/],
    [
      [
        [`${CONV}.lora_down.weight`, [4, 3, 3, 320]],
        [`${CONV}.lora_up.weight`, [320, 4]],
      ],
      /\(found \[4,3,3,320\], needs \[4,320,3,3\]\)/,
    ],
    [[[`${Q}.w_norm`, [640]]], /is no norm/],
    [[[`${Q}.alpha`, [2]], ...pair(Q)], /is no single number \(found \[2\]\)/],
    [[...pair(Q), [`${Q}.lora_mid.weight`, [4, 4]]], /a core between the factors of a linear layer/],
    [[[`${WIDE}.oft_blocks`, [1, 5120, 5120]]], /too large to invert \(found 5120, allowed 2560\)/],
    [
      [
        [`${NORM}.weight`, [320]],
        [`${NORM}.on_input`, []],
      ],
      /is a norm/,
    ],
    // Each half of a product of rank 60000 holds 60000 * 640 values, and one row.
    [
      ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"].map((role) => [
        `${Q}.${role}`,
        role.endsWith("a") ? [640, 60_000] : [60_000, 640],
      ]),
      /would take \d{9} bytes to multiply \(allowed 134217728\)/,
    ],
    [[[`${Q}.weight`, [640]], ...pair(OUT)], /nothing that it belongs to|says not whether/],
  ];
  for (const [shapes, expected] of cases) assert.match(await refused(shapes, "E_LORA_TENSOR"), expected);
});

test("E_LORA_KIND: what is whole, and not computed here, is named", async () => {
  const cases: readonly (readonly [Shapes, RegExp])[] = [
    [[...pair(Q), [`${Q}.reshape_weight`, [2]]], /does not know what to do with "\S+reshape_weight"/],
    [[...pair(OUT), [`${Q}.diff`, [640, 640]], [`${Q}.set_weight`, [640, 640]]], /set_weight/],
    [[[`${OUT}.ia3_l`, [640, 1]]], /scales the bias too/],
    [[[`${CONV}.ia3_l`, [1, 320, 1, 1]]], /inputs or the outputs of a square convolution/],
    [[[`${CONV}.oft_R.weight`, [720, 6]]], /turns its patches/],
    [
      [
        [`${Q}.dora_scale`, [640, 1]],
        [`${Q}.diff_b`, [640]],
      ],
      /a magnitude goes with one change/,
    ],
    [[...pair(Q), [`${Q}.diff`, [640, 640]], [`${Q}.dora_scale`, [640, 1]]], /a magnitude goes with one change/],
  ];
  for (const [shapes, expected] of cases) assert.match(await refused(shapes, "E_LORA_KIND"), expected);
});

test("E_LORA_NO_MATCH: files for other models are named, even where a text encoder is the same", async () => {
  const te = pair("lora_te1_text_model_encoder_layers_0_mlp_fc1", 4, 3072, 768);
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [
      ["lora_unet_double_blocks_0_img_attn_qkv", "transformer.single_transformer_blocks.0.attn.to_q"],
      /adapter for Flux\)/,
    ],
    [["lora_unet_single_blocks_3_linear1"], /adapter for Flux\)/],
    [
      ["lora_unet_joint_blocks_0_x_block_attn_qkv", "transformer.transformer_blocks.0.attn.add_k_proj"],
      /Stable Diffusion 3\)/,
    ],
    [["lora_unet_blocks_0_self_attn_q_proj", "diffusion_model.blocks.0.cross_attn.k_proj"], /adapter for Anima\)/],
    [
      ["diffusion_model.blocks.0.cross_attn.k", "lora_unet_blocks_0_self_attn_q", "transformer.blocks.0.attn1.to_q"],
      /adapter for Wan\)/,
    ],
    [["base_model.model.transformer_blocks.0.attn1.to_q"], /adapter for PixArt or LTX-Video\)/],
    [["transformer.transformer_blocks.0.attn.to_q"], /adapter for Flux, Stable Diffusion 3 or Qwen-Image\)/],
    [["diffusion_model.layers.0.attention.to_q", "lora_unet_layers_3_attention_qkv"], /adapter for Z-Image\)/],
    [["diffusion_model.double_blocks.0.img_mlp.fc1"], /adapter for HunyuanVideo\)/],
    [["transformer.transformer_blocks.0.img_mlp.net.0.proj"], /adapter for Qwen-Image\)/],
    [["lora_prior_unet_down_blocks_0_0_channelwise_0"], /adapter for Stable Cascade\)/],
    [["down_blocks.0.motion_modules.0.temporal_transformer.proj_in"], /like an AnimateDiff motion model\)/],
    [["lllite_unet_input_blocks_4_1"], /like a ControlNet\)/],
    [["something.else"], /adapter for a model that is not known here\)/],
  ];
  for (const [roots, expected] of cases) {
    for (const root of roots) {
      assert.match(await refused(pair(root), "E_LORA_NO_MATCH"), expected, root);
      assert.match(
        await refused([...te, ...pair(root)], "E_LORA_NO_MATCH").catch(() => "(not known here)"),
        /\)/,
        root,
      );
    }
  }
  const flux = await refused([...te, ...pair("lora_unet_double_blocks_0_img_attn_qkv")], "E_LORA_NO_MATCH");
  assert.match(flux, /: 2 of its 4 tensors fit the model \(it looks like an adapter for Flux\)/);
});

test("E_LORA_NO_MATCH: UNets of the same names and other widths, by the text that they read", async () => {
  for (const [width, family] of [
    [768, "Stable Diffusion 1.5"],
    [1024, "Stable Diffusion 2"],
    [1280, "SDXL's refiner"],
  ] as const) {
    const dotted = `unet.${KEY.replaceAll(/_(?=\d)|(?<=\d)_|_(?=attn|to_k)/g, ".")}`;
    for (const [root, end] of [
      [`lora_unet_${KEY}`, ".lora_down.weight"],
      [`lora_unet_${KEY}`, ".hada_w1_b"],
      [`lora_unet_${KEY}`, ".diff"],
      [dotted, ".lora_A.default.weight"],
      [dotted.replace("to_k", "processor.to_k"), "_lora.down.weight"],
      [dotted, ".lora_A.weight"],
    ] as const) {
      const message = await refused([...pair(Q), [root + end, [4, width]]], "E_LORA_NO_MATCH");
      assert.match(
        message,
        new RegExp(`: 0 of its 3 tensors fit the model \\(it looks like an adapter for ${family}\\)`),
      );
    }
  }
  const told = await refused(pair("lora_unet_new_block"), "E_LORA_NO_MATCH", { ss_base_model_version: "sd_v1" });
  assert.match(told, /adapter for Stable Diffusion 1\.5\)/);
  const model = await refused([["down_blocks.1.attentions.0.proj_in.weight", [640, 640]]], "E_LORA_NO_MATCH");
  assert.match(model, /it is a model itself, and no adapter/);
});

test("E_DUP_KEY: one tensor under two names", async () => {
  const [down, up] = pair(Q) as [[string, number[]], [string, number[]]];
  assert.match(
    await refused([down, up, [`${Q}.lora_A.weight`, [4, 640]]], "E_DUP_KEY"),
    /lora_down\.weight" and "\S+lora_A/,
  );
  const dotted = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
  assert.match(
    await refused([down, up, ...pair(dotted)], "E_DUP_KEY"),
    /are both "down_blocks\.1\.attentions\.0\.\S+to_q"/,
  );
});

test("a file without tensors says so", async () => {
  assert.match(await refused([], "E_LORA_NO_MATCH"), /: 0 of its 0 tensors fit the model \(it holds none\)/);
});

test("an alpha beyond all use is told, but not that of LoKr's whole factors, which scales nothing", async () => {
  const excessOf = async (tensors: Parameters<typeof wholeFile>[0]) =>
    (await openAdapter(await wholeFile(tensors), SDXL_NAMES)).report.excess;
  const alpha = [`${Q}.alpha`, [], 6e4] as const;
  const down = [`${Q}.lora_down.weight`, [4, 640], 1] as const;
  assert.deepEqual(await excessOf([down, [`${Q}.lora_up.weight`, [640, 4], 1], alpha]), { layers: 1, scale: 15_000 });
  const layers = [FF, OUT, Q].flatMap((root, i) => [
    [`${root}.lora_down.weight`, [4, root === FF ? 2560 : 640], 1] as const,
    [`${root}.lora_up.weight`, [640, 4], 1] as const,
    [`${root}.alpha`, [], [6e4, 400, 800][i]!] as const,
  ]);
  // Of 15000, 100 and 200, of which 100 is still borne.
  assert.deepEqual(await excessOf(layers), { layers: 2, scale: 15_000 });
  const whole = [[`${Q}.lokr_w1`, [8, 8], 1] as const, [`${Q}.lokr_w2`, [80, 80], 1] as const];
  assert.equal(await excessOf([...whole, alpha]), undefined);
});

test("LoKr is scaled by its alpha where either factor has a rank", async () => {
  const first = [`${Q}.lokr_w1_a`, [8, 2], 1] as const;
  const tensors = [first, [`${Q}.lokr_w1_b`, [2, 8], 1] as const, [`${Q}.lokr_w2`, [80, 80], 1] as const];
  const { adapter } = await openAdapter(await wholeFile([...tensors, [`${Q}.alpha`, [], 0.5]]), SDXL_NAMES);
  const [change] = [...adapter.layers.get("unet")!.values()][0]!;
  assert.ok(change?.kind === "difference");
  // 1 * 1 + 1 * 1 of rank 2, times 1, times alpha / rank.
  assert.equal((await valuesOf(change.weight))[7], 0.5);
});

test("E_NONFINITE: an alpha that is none; a missing or zero alpha is the rank's", async () => {
  const tensors = (alpha: number) => [
    [`${Q}.lora_down.weight`, [4, 640], 1] as const,
    [`${Q}.lora_up.weight`, [640, 4], 1] as const,
    [`${Q}.alpha`, [], alpha] as const,
  ];
  await assert.rejects(openAdapter(await wholeFile(tensors(Number.NaN)), SDXL_NAMES), { code: "E_NONFINITE" });
  for (const [alpha, scale] of [
    [2, 0.5],
    [0, 1],
  ] as const) {
    const { adapter } = await openAdapter(await wholeFile(tensors(alpha)), SDXL_NAMES);
    const [change] = [...adapter.layers.get("unet")!.values()][0]!;
    assert.ok(change?.kind === "low-rank" && change.scale === scale);
  }
});

test("NaN in factors comes out as NaN, for the check of weights to find", async () => {
  const roles = ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"];
  // Of rank 1 it stays two factors; of rank 32, whose factors would be larger than the layer, it is made whole.
  for (const [rank, kind] of [
    [1, "low-rank"],
    [32, "difference"],
  ] as const) {
    const tensors = roles.map(
      (role, i) => [`${Q}.${role}`, role.endsWith("a") ? [640, rank] : [rank, 640], i === 1 ? Number.NaN : 1] as const,
    );
    const { adapter } = await openAdapter(await wholeFile(tensors), SDXL_NAMES);
    const [change] = [...adapter.layers.get("unet")!.values()][0]!;
    assert.ok(change?.kind === kind);
    const made = change.kind === "low-rank" ? change.down : change.weight;
    assert.ok(Number.isNaN((await valuesOf(made))[0]), kind);
  }
});

test("100,000 keys: refused at once, and those of no layer are counted where others fit", async () => {
  const many = Array.from({ length: 50_000 }, (_, i) => pair(`lora_unet_layer_${i}`, 1, 1, 1)).flat();
  assert.match(await refused(many, "E_LORA_NO_MATCH"), /: 0 of its 100000 tensors fit/);
  const { report } = await openAdapter(shapesFile([["step", [1]], ...many.slice(0, 2000), ...pair(Q)]), SDXL_NAMES);
  assert.deepEqual([report.tensors, report.matched, report.unmatched.length], [2003, 2, 2001]);
  assert.equal(report.unmatched[0], "step");
});

test("files of other kinds are refused by what they are", async () => {
  for (const [head, code] of [
    ["PK\u0003\u0004 pytorch_lora_weights", "E_ZIP"],
    ["version https://git-lfs.github.com/spec/v1", "E_LFS_POINTER"],
    ["<!doctype html><html>", "E_HTML"],
  ] as const) {
    await assert.rejects(readAdapterFile(memorySource("x.safetensors", new TextEncoder().encode(head))), { code });
  }
});

test("8-bit factors are widened, exactly; integers are refused", async () => {
  const tensors: [string, string, number[], number[]][] = [
    // E4M3: 0x38 is 1, 0x40 is 2. E5M2: 0x3c is 1.
    [`${Q}.lora_down.weight`, "F8_E4M3", [1, 640], new Array(640).fill(0x40)],
    [`${Q}.lora_up.weight`, "F8_E5M2", [640, 1], new Array(640).fill(0x3c)],
  ];
  const fileOf = (rows: typeof tensors) => {
    let at = 0;
    const fields = rows.map(([name, dtype, shape, bytes]) => {
      const data_offsets = [at, at + bytes.length];
      at += bytes.length;
      return [name, { dtype, shape, data_offsets }];
    });
    const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(fields)));
    const file = new Uint8Array(8 + json.length + at);
    new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
    file.set(json, 8);
    file.set(
      rows.flatMap(([, , , bytes]) => bytes),
      8 + json.length,
    );
    return readAdapterFile(memorySource("style.safetensors", file));
  };
  const { adapter } = await openAdapter(await fileOf(tensors), SDXL_NAMES);
  const [change] = [...adapter.layers.get("unet")!.values()][0]!;
  assert.ok(change?.kind === "low-rank");
  assert.deepEqual([(await valuesOf(change.down))[7], (await valuesOf(change.up))[7]], [2, 1]);
  const [down, up] = tensors as [(typeof tensors)[0], (typeof tensors)[0]];
  const whole = await fileOf([down, [up[0], "I8", up[2], up[3]]]);
  await assert.rejects(
    openAdapter(whole, SDXL_NAMES),
    /^ArtifactError: E_LORA_TENSOR .*lora_up\.weight" is i8 \(allowed f16/,
  );
});
