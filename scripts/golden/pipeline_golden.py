"""
Makes fixtures/golden: tiny SDXL folders with seeded random weights, and the pictures diffusers makes with them in fp32.

Run with the packages of requirements.txt: python scripts/golden/pipeline_golden.py [MODEL ...]
With names, only those models and their pictures are made again. Jobs with an artifact need lzr2_golden.py's.
"""

import json
import sys

import torch
from lzr2_format import decode_artifact
from PIL import Image
from tiny_sdxl import DEMO, OUT, ROOT, describe, load_pipeline, make_folder, picture

LZR2 = ROOT / "fixtures" / "lzr2"

CONFIGS = {
    # Two levels, 1x1-convolution projections, three layers, karras, v-prediction, fp32 files, no zeros for no prompt.
    "conv-proj": {
        "unet": {
            "block_out_channels": [16, 32], "layers_per_block": 3, "transformer_layers_per_block": [1, 2],
            "attention_head_dim": [2, 4], "norm_num_groups": 8, "use_linear_projection": False,
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        },
        "vae": {"block_out_channels": [8, 16, 16, 16], "layers_per_block": 2, "norm_num_groups": 4, "use_post_quant_conv": False},
        "clip": {"hidden_size": 16, "heads": 2, "layers": 2}, "clip2": {"hidden_size": 32, "heads": 4, "layers": 4},
        "scheduler": {"prediction_type": "v_prediction", "use_karras_sigmas": True, "timestep_spacing": "linspace"},
        "dtype": torch.float32, "variant": None, "force_zeros": False,
    },
    # Three levels as SDXL has them, other depths, groups and heads, trailing spacing, bf16 files.
    "deep": {
        "unet": {
            "block_out_channels": [12, 24, 36], "layers_per_block": 1, "transformer_layers_per_block": [1, 1, 3],
            "attention_head_dim": [1, 3, 6], "norm_num_groups": 6, "use_linear_projection": True,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        },
        "vae": {"block_out_channels": [6, 12, 12], "layers_per_block": 1, "norm_num_groups": 3, "mid_block_add_attention": False},
        "clip": {"hidden_size": 24, "heads": 3, "layers": 3}, "clip2": {"hidden_size": 16, "heads": 2, "layers": 2},
        "scheduler": {"timestep_spacing": "trailing"},
        "dtype": torch.bfloat16, "variant": None, "force_zeros": True,
    },
    # Four levels of different depth (nested lists), one number of heads for all, fp16 shards, legacy end-of-text id, another
    # projection width, both encoders' activations exchanged, squared-cosine betas, the last sigma above zero.
    "nested": {
        "unet": {
            "block_out_channels": [8, 12, 16, 20], "layers_per_block": [1, 2, 1, 1], "attention_head_dim": 2,
            "transformer_layers_per_block": [1, [2, 1], [1], 2],
            "reverse_transformer_layers_per_block": [2, [1, 2], [1, 1, 2], 1],
            "norm_num_groups": 4, "use_linear_projection": True, "norm_eps": 1e-6, "only_cross_attention": False,
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        },
        "vae": {"block_out_channels": [4, 8, 8, 12], "layers_per_block": 1, "norm_num_groups": 2, "use_quant_conv": False},
        "clip": {"hidden_size": 12, "heads": 3, "layers": 2, "hidden_act": "gelu", "eos_token_id": 2},
        "clip2": {
            "hidden_size": 20, "heads": 2, "layers": 3, "hidden_act": "quick_gelu", "eos_token_id": 2, "projection_dim": 24,
            "vocab_size": 811,
        },
        "scheduler": {"beta_schedule": "squaredcos_cap_v2", "final_sigmas_type": "sigma_min", "steps_offset": 0},
        "dtype": torch.float16, "variant": "fp16", "force_zeros": False,
        "shards": {"unet": "150KB", "text_encoder_2": "40KB"}, "tokenizer_files": {"tokenizer": "pair", "tokenizer_2": "both"},
    },
    # Odd numbers: groups of 5, odd embedding widths, sine before cosine, right-and-bottom padding on the way down, a middle
    # without attention, latents with mean and deviation, eight pixels by three levels only, zero terminal SNR.
    "odd": {
        "unet": {
            "block_out_channels": [15, 20], "layers_per_block": 1, "attention_head_dim": [3, 4], "norm_num_groups": 5,
            "transformer_layers_per_block": 1, "use_linear_projection": False, "flip_sin_to_cos": False, "freq_shift": 1,
            "addition_time_embed_dim": 7, "downsample_padding": 0, "mid_block_type": "UNetMidBlock2D", "sample_size": 11,
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        },
        "vae": {
            "block_out_channels": [6, 9, 9], "layers_per_block": 2, "norm_num_groups": 3, "scaling_factor": 0.13025,
            "latents_mean": [0.1, -0.2, 0.3, 0.05], "latents_std": [0.2, 0.15, 0.1, 0.25],
        },
        "clip": {"hidden_size": 10, "heads": 1, "layers": 2, "intermediate_size": 17}, "clip2": {"hidden_size": 14, "heads": 7, "layers": 2},
        "scheduler": {
            "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
            "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02,
        },
        "dtype": torch.float16, "variant": "fp16", "force_zeros": True, "tokenizer_files": {"tokenizer": "json", "tokenizer_2": "json"},
    },
    # One level, sixteen pixels a latent cell, eight latent channels, text encoders of one layer, sample prediction,
    # exponential sigmas, log-linear interpolation.
    "flat": {
        "unet": {
            "block_out_channels": [24], "layers_per_block": 2, "attention_head_dim": [3], "norm_num_groups": 8,
            "transformer_layers_per_block": [2], "use_linear_projection": True, "in_channels": 8, "out_channels": 8,
            "down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"], "upcast_attention": True,
        },
        "vae": {
            "block_out_channels": [4, 4, 8, 8, 8], "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 8,
            "shift_factor": 0.3, "scaling_factor": 1.5, "force_upcast": False,
        },
        "clip": {"hidden_size": 8, "heads": 2, "layers": 1}, "clip2": {"hidden_size": 12, "heads": 3, "layers": 1},
        "scheduler": {"prediction_type": "sample", "use_exponential_sigmas": True, "interpolation_type": "log_linear"},
        "dtype": torch.float16, "variant": None, "force_zeros": True, "tokenizer_files": {"tokenizer": "pair", "tokenizer_2": "pair"},
    },
}  # fmt: skip

LONG = "a very long walk over green hills under white clouds " * 12
FAMILY = "a family \U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466, \U0001f1e9\U0001f1ea! don't... (it's:1.2) \u201cÅ ﬁ ǅ\u201d 日本 ٣½"
JOBS = [
    {"model": "conv-proj", "prompt": "Ein Café am Meer 🌊, \"über\" 42 hills!", "seed": 3, "steps": 3, "guidance": 5, "width": 72, "height": 56},
    {"model": "conv-proj", "prompt": "a sea", "negative": "rain, fog", "seed": 2**32 + 5, "steps": 2, "guidance": 7.5, "width": 64, "height": 96},
    {"model": "deep", "prompt": LONG, "seed": 0, "steps": 3, "guidance": 3, "width": 64, "height": 64},
    {"model": "deep", "prompt": "", "seed": 9, "steps": 2, "guidance": 1, "width": 88, "height": 64},
    {"model": "demo", "prompt": "a desert at night with cactus under the stars", "seed": 2, "steps": 4, "guidance": 5, "width": 128, "height": 128},
    {"model": "nested", "prompt": FAMILY, "seed": 11, "steps": 3, "guidance": 6, "width": 120, "height": 72},
    {"model": "nested", "prompt": "", "negative": LONG, "seed": 2**53 - 1, "steps": 2, "guidance": 1.5, "width": 64, "height": 64},
    {"model": "odd", "prompt": "<|endoftext|> a lake <|startoftext|> at   dawn\n\tAND dusk", "seed": 4, "steps": 4, "guidance": 2, "width": 72, "height": 80},
    {"model": "odd", "prompt": "hills", "negative": "", "seed": 5, "steps": 1, "guidance": 9, "width": 56, "height": 72},
    {"model": "flat", "prompt": "\u200d\ufeff...", "seed": 6, "steps": 5, "guidance": 4, "width": 112, "height": 72},
    {"model": "flat", "prompt": "a mill", "negative": FAMILY, "seed": 7, "steps": 2, "guidance": 0, "width": 64, "height": 64},
    {"model": "deep", "artifact": "deep", "prompt": "a windmill", "seed": 8, "steps": 3, "guidance": 4, "width": 72, "height": 64},
    {"model": "deep", "artifact": "deep-compat", "compat": True, "prompt": "a windmill", "seed": 8, "steps": 2, "guidance": 4, "width": 64, "height": 64},
]  # fmt: skip


def pipeline(job: dict):
    name = job["model"]
    pipe = load_pipeline(DEMO if name == "demo" else OUT / name, "fp16" if name == "demo" else CONFIGS[name]["variant"])
    if "artifact" in job:
        state = pipe.unet.state_dict()
        for record, weight, _ in decode_artifact((LZR2 / f"{job['artifact']}.lzr2").read_bytes()):
            if weight is not None:
                assert state[record.key].shape == weight.shape
                state[record.key] = torch.from_numpy(weight).float()
        pipe.unet.load_state_dict(state)
    return pipe


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or [*CONFIGS, "demo"]
    for name in wanted:
        if name in CONFIGS:
            make_folder(OUT / name, CONFIGS[name])
    manifest = []
    for number, job in enumerate(JOBS):
        file = f"{number:02}-{job['model']}.png"
        if job["model"] in wanted:
            pixels = picture(pipeline(job), job)
            print(f"{file}: {describe(pixels)}")
            Image.fromarray(pixels).save(OUT / file)
        manifest.append({**job, "file": file})
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
