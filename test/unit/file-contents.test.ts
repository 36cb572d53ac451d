/** @file What names in weight files say: the network they belong to, what nobody reads, what the file is, and what it is not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileKind, kindOfTables } from "../../src/checkpoint/file-kind.ts";
import type { TensorEntry, TensorTable } from "../../src/container/table.ts";
import { isLeftAside, isMarker, partsOf, placeOf, tensorsOfNetwork } from "../../src/models/sdxl/file-parts.ts";
import { foreignFile, placeOfOther, withoutUnet } from "../../src/models/sdxl/foreign-files.ts";
import { memorySource } from "../../src/source/memory.ts";

const NOWHERE = memorySource("file", new Uint8Array(0));
const tableOf = (...names: string[]): TensorTable =>
  new Map(
    names.map((name): [string, TensorEntry] => [
      name,
      { name, dtype: "f16", shape: [3], source: NOWHERE, startByte: 0, endByte: 6 },
    ]),
  );

test("what stands before a network's names says whose they are, and falls away", () => {
  const PREFIXES = {
    unet: ["model.diffusion_model.", "diffusion_model.", "unet."],
    vae: ["first_stage_model.", "vae."],
    text_encoder: [
      ...["conditioner.embedders.0.transformer.", "text_encoders.clip_l.transformer.", "text_encoder."],
      ...["clip_l.transformer.", "clip_l.", "te1.", "te."],
    ],
    text_encoder_2: [
      ...["conditioner.embedders.1.model.", "conditioner.embedders.0.model.", "text_encoders.clip_g.transformer."],
      ...["text_encoder_2.", "clip_g.transformer.", "clip_g.", "te2."],
    ],
  };
  for (const [folder, prefixes] of Object.entries(PREFIXES)) {
    for (const prefix of prefixes) {
      assert.deepEqual(placeOf(`${prefix}a.weight`), { folder, name: "a.weight" }, prefix);
      assert.equal(placeOf(`x.${prefix}a.weight`), undefined, prefix);
    }
  }
  for (const name of ["text_encoder_3.a", "te3.a", "clip_h.a", "conditioner.embedders.2.model.a", "vaex.a", "unet"])
    assert.equal(placeOf(name), undefined, name);
});

const LEFT_ASIDE = [
  ...["model_ema.decay", "model_ema.diffusion_model.x", "optimizer.state", "optimizer_states.0", "lr_schedulers.0"],
  ...["callbacks.x", "embedding_manager.x", "denoiser.sigmas", "first_stage_model.loss.logvar", "betas", "logvar"],
  ...["text_encoder.text_model.embeddings.position_ids", "clip_l.logit_scale", "alphas_cumprod", "alphas_cumprod_prev"],
  ...["log_one_minus_alphas_cumprod", "sqrt_alphas_cumprod", "posterior_variance", "global_step", "num_updates"],
];
const READ = [
  "first_stage_model.decoder.loss",
  "model.diffusion_model.out.0.weight",
  "xbetas",
  "betas.weight",
  "x.denoiser.y",
];
const MARKERS = ["v_pred", "ztsnr", "edm_vpred.sigma_min", "edm_vpred.sigma_max", "edm_mean", "edm_std"];

test("what training leaves and what is computed is left aside; markers are no weights; all else is read, or told", () => {
  assert.deepEqual(
    LEFT_ASIDE.filter((name) => !isLeftAside(name)),
    [],
  );
  assert.deepEqual([...READ, ...MARKERS].filter(isLeftAside), []);
  assert.deepEqual([...LEFT_ASIDE, ...READ, ...MARKERS].filter(isMarker), MARKERS);
  for (const name of ["v_predx", "x.v_pred", "edm_vpred.sigma", "edm_meanx"]) assert.equal(isMarker(name), false, name);
  const parts = partsOf(tableOf("unet.conv_in.weight", ...LEFT_ASIDE, ...MARKERS, "nobody's", "conv_in.bias"), "file");
  assert.deepEqual(
    [...parts.tables].map(([folder, table]) => [folder, [...table.keys()]]),
    [["unet", ["conv_in.weight"]]],
  );
  assert.deepEqual(parts.leftAside, LEFT_ASIDE);
  assert.deepEqual([...parts.markers.keys()], MARKERS);
  // A UNet's own name without a prefix counts where there is no UNet with one.
  assert.deepEqual(parts.unknown, ["nobody's", "conv_in.bias"]);
  const bare = partsOf(tableOf("conv_in.bias", "te.final_layer_norm.bias", "x.conv_in.bias"), "file");
  assert.deepEqual(
    [...bare.tables].map(([folder, table]) => [folder, [...table.keys()]]),
    [
      ["text_encoder", ["final_layer_norm.bias"]],
      ["unet", ["conv_in.bias"]],
    ],
  );
  assert.deepEqual(bare.unknown, ["x.conv_in.bias"]);
});

test("one network out of a file: of a checkpoint its own part, of a file with it alone all", () => {
  const whole = tableOf(
    "vae.decoder.conv_in.bias",
    "vae.decoder.norm_out.bias",
    "unet.conv_in.bias",
    "vae.loss.logvar",
  );
  assert.deepEqual(
    [...tensorsOfNetwork("vae", whole, "f").keys()],
    ["decoder.conv_in.bias", "decoder.conv_norm_out.bias"],
  );
  assert.deepEqual(
    [...tensorsOfNetwork("vae", tableOf("decoder.norm_out.bias"), "f").keys()],
    ["decoder.conv_norm_out.bias"],
  );
  const twice = tableOf("vae.decoder.norm_out.bias", "first_stage_model.decoder.conv_norm_out.bias");
  for (const read of [() => tensorsOfNetwork("vae", twice, "f"), () => partsOf(twice, "f")])
    assert.throws(read, {
      code: "E_DUP_KEY",
      message: /"vae\.decoder\.norm_out\.bias" and "first_stage_model\..*" are both/,
    });
});

test("a fused tensor of OpenCLIP becomes three, and a projection is turned", () => {
  const layer = "te2.transformer.resblocks.7.";
  const rows = tableOf(`${layer}attn.in_proj_bias`);
  const [entry] = rows.values();
  const fused = tensorsOfNetwork(
    "text_encoder_2",
    new Map([[entry!.name, { ...entry!, shape: [6], startByte: 10, endByte: 22 }]]),
    "f",
  );
  const own = "text_model.encoder.layers.7.self_attn.";
  assert.deepEqual(
    [...fused].map(([name, { shape, startByte, endByte }]) => [name, shape, startByte, endByte]),
    [
      [`${own}q_proj.bias`, [2], 10, 14],
      [`${own}k_proj.bias`, [2], 14, 18],
      [`${own}v_proj.bias`, [2], 18, 22],
    ],
  );
  const odd = new Map([[entry!.name, { ...entry!, shape: [7] }]]);
  assert.deepEqual(
    [...tensorsOfNetwork("text_encoder_2", odd, "f").keys()],
    ["transformer.resblocks.7.attn.in_proj_bias"],
  );
});

/** Of several that fit, the first counts; so each has names that only it has. */
const KINDS: readonly (readonly [words: RegExp, ...names: string[]])[] = [
  [/a Control-LoRA/, "lora_controlnet"],
  [
    /a ControlNet or T2I-Adapter/,
    ...["lllite_unet_x.down", "control_model.x", "controlnet_cond_embedding.x", "zero_convs.0", "input_hint_block.0"],
    ...["adapter.body.0", "adapter.conv_in.weight", "body.0.resnets.0", "body.0.block1.x", "body.1.block2.x"],
  ],
  [
    /a LoRA/,
    ...[
      "x.lora_A.weight",
      "x_lora.up",
      "lora_unet_x",
      "lora_te1_x",
      "lycoris_x",
      "oft_unet_x",
      "x.hada_w1_a",
      "x.lokr_w1",
    ],
    ...["x.oft_blocks", "x.oft_diag", "x.oft_R.weight", "x.ia3_l", "x.dora_scale", "x.on_input", "x.diff", "x.diff_b"],
  ],
  [/an IP-Adapter/, "image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"],
  [/a textual inversion/, "emb_params", "string_to_param", "clip_l", "clip_g", "text_encoders_0", "text_encoders_1"],
  [
    /an upscaler/,
    ...[
      "model.1.sub.0",
      "conv_first.weight",
      "body.3.rdb1.x",
      "body.2.weight",
      "RRDB_trunk.0",
      "params.x",
      "params_ema.x",
    ],
    "layers.0.residual_group.x",
  ],
  [
    /a tiny autoencoder/,
    "decoder.layers.0.weight",
    "taesd_decoder.1.weight",
    "encoder.2.conv.0.weight",
    "3.conv.0.weight",
  ],
  [/an image encoder/, "vision_model.x", "visual.proj"],
  [/an AnimateDiff motion model/, "down_blocks.0.motion_modules.0.x", "motion_modules.0"],
  [/a whole checkpoint/, "model.diffusion_model.x", "diffusion_model.x", "unet.x"],
  [/a UNet/, "input_blocks.0", "output_blocks.0", "middle_block.0", "down_blocks.0", "mid_block.x", "up_blocks.0"],
  [
    /a VAE by itself/,
    ...["encoder.down.0", "decoder.up_blocks.0", "decoder.mid.x", "encoder.conv_in.weight", "quant_conv.bias"],
    ...["post_quant_conv.bias", "first_stage_model.x", "vae.x"],
  ],
  [
    /a text encoder by itself/,
    ...["text_model.x", "transformer.resblocks.0", "conditioner.x", "text_encoder.x", "text_encoders.x", "te1.x"],
    ...["embeddings.x", "encoder.layers.0"],
  ],
];

test("a file is what only such a file has names of; the telling name may stand anywhere", () => {
  for (const [words, ...names] of KINDS) {
    for (const name of names) assert.match(fileKind(["something", name, "else"])?.words ?? "nothing", words, name);
  }
  assert.equal(fileKind(["something", "xlora", "x.lora", "model.weight"]), undefined);
  for (const [i, [words, name]] of KINDS.entries()) {
    const later = KINDS.slice(i + 1).map(([, other]) => other!);
    assert.match(fileKind([...later, name!])!.words, words, `${name} among later ones`);
  }
});

test("tables of torch.save are told by their path and names, a state dict's by its names alone", () => {
  const inner = new Map([["control_model.x", 0]]);
  for (const path of ["", "state_dict"]) assert.match(kindOfTables(new Map([[path, inner]]))!.words, /a ControlNet/);
  assert.equal(kindOfTables(new Map([["other", inner]])), undefined);
  assert.match(kindOfTables(new Map([["params_ema", new Map([["x", 0]])]]))!.words, /an upscaler/);
});

test("what is no SDXL is told by names, by the width of its text, and by what its UNet reads beside the latent", () => {
  const of = (...tensors: [name: string, ...shape: number[]][]) =>
    foreignFile(tensors.map(([name, ...shape]) => ({ name, shape })));
  for (const [name, words] of [
    ["conditioner.embedders.0.model.x", /an SDXL refiner/],
    ["model.diffusion_model.double_blocks.0.img_attn.x", /a Flux model/],
    ["single_transformer_blocks.0.x", /a Flux model/],
    ["model.diffusion_model.joint_blocks.3.x", /a Stable Diffusion 3/],
    ["cond_stage_model.model.x", /a Stable Diffusion 2 checkpoint/],
    ["cond_stage_model.transformer.x", /a Stable Diffusion 1 checkpoint/],
    ["unet.time_embedding.cond_proj.weight", /an LCM with its guidance built in/],
    ["transformer_blocks.0.scale_shift_table", /another family/],
    ["image_proj.x", /an IP-Adapter, no model/],
  ] as const)
    assert.match(of(["unet.down_blocks.0.x", 1], [name, 1]) ?? "an SDXL", words, name);
  const unet = (context: number, reads = 4, gives = 4) =>
    of(
      ["first_stage_model.encoder.conv_in.weight", 128, 8, 3, 3],
      ["first_stage_model.decoder.conv_out.weight", 5, 128, 3, 3],
      ["unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight", 640, context],
      ["unet.conv_in.weight", 320, reads, 3, 3],
      ["unet.conv_out.weight", gives, 320, 3, 3],
    );
  assert.match(unet(768)!, /a Stable Diffusion 1 UNet/);
  assert.match(unet(1024)!, /a Stable Diffusion 2 UNet/);
  assert.match(unet(1280)!, /an SDXL refiner's UNet/);
  assert.match(unet(2048, 5)!, /depth maps/);
  assert.match(unet(2048, 8)!, /InstructPix2Pix/);
  for (const sizes of [[2048], [2048, 9], [2048, 8, 8], [2048, 5, 5], [640]] as const)
    assert.equal(unet(...(sizes as [number])), undefined, sizes.join());
  assert.equal(of(["te1.attn2.to_k.weight", 1, 768]), undefined);
});

test("where such a file belongs is told where there is a place for it", () => {
  assert.equal(placeOfOther(["x.lora_A.weight"]), "give it with --lora");
  assert.equal(placeOfOther(["vae.x"]), undefined);
  assert.equal(placeOfOther(["image_proj.x"]), undefined);
  assert.equal(withoutUnet(["vae.x"]), "a VAE by itself: give it with --vae, over a model");
  assert.equal(withoutUnet(["te1.x"]), "a text encoder by itself");
  assert.equal(withoutUnet(["x"]), "a file without a UNet");
});
