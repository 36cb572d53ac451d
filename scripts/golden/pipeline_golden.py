"""Makes fixtures/golden: tiny SDXL folders with seeded random weights, and the pictures diffusers makes with them in fp32.

Run with the packages of requirements.txt: python scripts/golden/pipeline_golden.py
"""

import json
import pathlib
import shutil

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "fixtures" / "golden"
DEMO = ROOT / "models" / "demo"

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
}

LONG = "a very long walk over green hills under white clouds " * 12
JOBS = [
    {"model": "conv-proj", "prompt": "Ein Café am Meer 🌊, \"über\" 42 hills!", "seed": 3, "steps": 3, "guidance": 5, "width": 72, "height": 56},
    {"model": "conv-proj", "prompt": "a sea", "negative": "rain, fog", "seed": 2**32 + 5, "steps": 2, "guidance": 7.5, "width": 64, "height": 96},
    {"model": "deep", "prompt": LONG, "seed": 0, "steps": 3, "guidance": 3, "width": 64, "height": 64},
    {"model": "deep", "prompt": "", "seed": 9, "steps": 2, "guidance": 1, "width": 88, "height": 64},
    {"model": "demo", "prompt": "a desert at night with cactus under the stars", "seed": 2, "steps": 4, "guidance": 5, "width": 128, "height": 128},
]


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Random weights that matter: norms off 1, biases off 0, so that a swapped or missed tensor shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        values = torch.randn(weight.shape, generator=generator)
        if weight.ndim == 1:
            weight.data = 1 + 0.2 * values if "norm" in name and name.endswith("weight") else 0.1 * values
        elif "embedding" in name:
            weight.data = 0.5 * values
        else:
            weight.data = 1.2 * values / weight[0].numel() ** 0.5


def clip_config(settings: dict, act: str) -> CLIPTextConfig:
    vocab = len(json.loads((DEMO / "tokenizer" / "vocab.json").read_text()))
    size = settings["hidden_size"]
    return CLIPTextConfig(
        vocab_size=vocab, hidden_size=size, intermediate_size=3 * size, num_hidden_layers=settings["layers"],
        num_attention_heads=settings["heads"], max_position_embeddings=77, hidden_act=act, projection_dim=size,
        bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=vocab - 1,
    )


def make(name: str, config: dict) -> None:
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    clip, clip2 = clip_config(config["clip"], "quick_gelu"), clip_config(config["clip2"], "gelu")
    unet = UNet2DConditionModel(
        sample_size=8, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=clip2.projection_dim + 48,
        cross_attention_dim=clip.hidden_size + clip2.hidden_size, **config["unet"],
    )
    levels = len(config["vae"]["block_out_channels"])
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels, up_block_types=["UpDecoderBlock2D"] * levels,
        latent_channels=4, sample_size=64, scaling_factor=0.7, **config["vae"],
    )
    parts = {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(clip), "text_encoder_2": CLIPTextModelWithProjection(clip2)}
    for seed, (part, model) in enumerate(parts.items()):
        randomise(model, seed)
        if part == "vae":
            # Brings the picture's spread to about a quarter of the range: neither flat nor clipped.
            model.decoder.conv_out.weight.data *= 0.35
        model.to(config["dtype"]).save_pretrained(folder / part, variant=config["variant"])
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        **{"timestep_spacing": "leading", **config["scheduler"]},
    ).save_pretrained(folder / "scheduler")
    for tokenizer in ("tokenizer", "tokenizer_2"):
        shutil.copytree(DEMO / tokenizer, folder / tokenizer)
        # One tokenizer by tokenizer.json alone, one by vocab.json and merges.txt alone.
        gone = ["vocab.json", "merges.txt"] if tokenizer == "tokenizer" else ["tokenizer.json"]
        for file in gone:
            (folder / tokenizer / file).unlink()
    index = json.loads((DEMO / "model_index.json").read_text())
    index["force_zeros_for_empty_prompt"] = config["force_zeros"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def pipeline(name: str) -> StableDiffusionXLPipeline:
    folder = DEMO if name == "demo" else OUT / name
    variant = "fp16" if name == "demo" else CONFIGS[name]["variant"]
    pipe = StableDiffusionXLPipeline.from_pretrained(folder, variant=variant, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name, config in CONFIGS.items():
        make(name, config)
    manifest = []
    for number, job in enumerate(JOBS):
        image = pipeline(job["model"])(
            job["prompt"], negative_prompt=job.get("negative"), num_inference_steps=job["steps"],
            guidance_scale=job["guidance"], width=job["width"], height=job["height"],
            generator=torch.Generator("cpu").manual_seed(job["seed"]),
        ).images[0]
        pixels = np.asarray(image)
        clipped = ((pixels == 0) | (pixels == 255)).mean()
        print(f"{number} {job['model']}: {image.size}, std {pixels.std():.1f}, clipped {clipped:.1%}")
        file = f"{number:02}-{job['model']}.png"
        image.save(OUT / file)
        manifest.append({**job, "file": file})
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
