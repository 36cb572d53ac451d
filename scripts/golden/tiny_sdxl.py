"""Tiny SDXL folders with seeded random weights, and the pictures diffusers makes with them in fp32: shared by the golden scripts."""

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

# Fixtures must not depend on how many cores sum a matrix.
torch.set_num_threads(1)


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
    """`settings`: hidden_size, heads, layers; further keys go to CLIPTextConfig as they are."""
    vocab = len(json.loads((DEMO / "tokenizer" / "vocab.json").read_text()))
    size = settings["hidden_size"]
    further = {key: value for key, value in settings.items() if key not in ("hidden_size", "heads", "layers")}
    return CLIPTextConfig(**{
        "vocab_size": vocab, "hidden_size": size, "intermediate_size": 3 * size, "num_hidden_layers": settings["layers"],
        "num_attention_heads": settings["heads"], "max_position_embeddings": 77, "hidden_act": act, "projection_dim": size,
        "bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": vocab - 1, **further,
    })  # fmt: skip


def make_folder(folder: pathlib.Path, config: dict) -> None:
    """
    `config`: unet, vae, scheduler (keyword arguments of diffusers' classes), clip and clip2 (see `clip_config`), dtype,
    variant, force_zeros; optional shards (component -> max_shard_size), tokenizer_files (tokenizer -> what it is read
    from) and contrast (factor of the VAE's last layer).
    """
    shutil.rmtree(folder, ignore_errors=True)
    clip, clip2 = clip_config(config["clip"], "quick_gelu"), clip_config(config["clip2"], "gelu")
    time_dim = config["unet"].get("addition_time_embed_dim", 8)
    unet = UNet2DConditionModel(**{
        "sample_size": 8, "addition_embed_type": "text_time", "addition_time_embed_dim": time_dim,
        "projection_class_embeddings_input_dim": clip2.projection_dim + 6 * time_dim,
        "cross_attention_dim": clip.hidden_size + clip2.hidden_size, **config["unet"],
    })  # fmt: skip
    levels = len(config["vae"]["block_out_channels"])
    vae = AutoencoderKL(**{
        "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": 4, "sample_size": 64, "scaling_factor": 0.7, **config["vae"],
    })  # fmt: skip
    parts = {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(clip), "text_encoder_2": CLIPTextModelWithProjection(clip2)}
    for seed, (part, model) in enumerate(parts.items()):
        randomise(model, seed)
        if part == "vae":
            # Brings the picture's spread to about a quarter of the range: neither flat nor clipped.
            model.decoder.conv_out.weight.data *= config.get("contrast", 0.35)
        shards = {"max_shard_size": config["shards"][part]} if part in config.get("shards", {}) else {}
        model.to(config["dtype"]).save_pretrained(folder / part, variant=config["variant"], **shards)
    EulerDiscreteScheduler(**{
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
        "timestep_spacing": "leading", **config["scheduler"],
    }).save_pretrained(folder / "scheduler")  # fmt: skip
    for tokenizer in ("tokenizer", "tokenizer_2"):
        shutil.copytree(DEMO / tokenizer, folder / tokenizer)
        # By default one by tokenizer.json alone, one by vocab.json and merges.txt alone.
        default = {"tokenizer": "json", "tokenizer_2": "pair"}[tokenizer]
        gone = {"json": ["vocab.json", "merges.txt"], "pair": ["tokenizer.json"], "both": []}
        for file in gone[config.get("tokenizer_files", {}).get(tokenizer, default)]:
            (folder / tokenizer / file).unlink()
    index = json.loads((DEMO / "model_index.json").read_text())
    index["force_zeros_for_empty_prompt"] = config["force_zeros"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)


def load_pipeline(folder: pathlib.Path, variant: str | None) -> StableDiffusionXLPipeline:
    pipe = StableDiffusionXLPipeline.from_pretrained(folder, variant=variant, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(pipe: StableDiffusionXLPipeline, job: dict) -> np.ndarray:
    """[H, W, 3] u8."""
    image = pipe(
        job["prompt"], negative_prompt=job.get("negative"), num_inference_steps=job["steps"],
        guidance_scale=job["guidance"], width=job["width"], height=job["height"],
        generator=torch.Generator("cpu").manual_seed(job["seed"]),
    ).images[0]  # fmt: skip
    return np.asarray(image)


def describe(pixels: np.ndarray) -> str:
    clipped = ((pixels == 0) | (pixels == 255)).mean()
    return f"{pixels.shape[1]}x{pixels.shape[0]}, std {pixels.std():.1f}, clipped {clipped:.1%}"


def write_pictures(out: pathlib.Path, jobs: list, name: str, draw, note=lambda job, pixels: "") -> None:
    """NN-NAME.png of each job, NAME its field `name`, and their manifest. `draw`: job -> [H, W, 3] u8. `note`: what else is printed."""
    manifest = []
    for number, job in enumerate(jobs):
        file = f"{number:02}-{job[name]}.png"
        pixels = draw(job)
        print(f"{file}: {describe(pixels)}{note(job, pixels)}")
        Image.fromarray(pixels).save(out / file)
        manifest.append({**job, "file": file})
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
