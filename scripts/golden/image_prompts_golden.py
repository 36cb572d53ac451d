"""
Makes fixtures/image-prompts: a small CLIP vision encoder, IP-Adapters (base and Plus) for the model `deep` of fixtures/golden, and the pictures
diffusers makes with them in fp32.

Run with the packages of requirements.txt, after pictures_golden.py: python scripts/golden/image_prompts_golden.py
"""

import shutil

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection
from PIL import Image
from pipeline_golden import CONFIGS
from safetensors.torch import save_file
from tiny_sdxl import OUT as MODELS
from tiny_sdxl import ROOT, load_pipeline, randomise, write_pictures
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

OUT = ROOT / "fixtures" / "image-prompts"
PICTURES = ROOT / "fixtures" / "from-pictures"
CONTEXT = 40

COMMON = {"prompt": "a mill", "steps": 4, "guidance": 3, "width": 64, "height": 48}
JOBS = [
    {**COMMON, "name": "base", "seed": 1, "adapter": "base.safetensors", "images": ["init.png"], "weight": 0.7},
    {**COMMON, "name": "base-two", "seed": 2, "negative": "fog", "adapter": "base.safetensors", "images": ["init.png", "soft.png"], "weight": 1.0},
    {**COMMON, "name": "plus", "seed": 3, "adapter": "plus.bin", "images": ["init.png"], "weight": 0.8},
    {**COMMON, "name": "plus-two", "seed": 4, "adapter": "plus.bin", "images": ["soft.png", "init.png"], "weight": 0.5},
    {**COMMON, "name": "unguided", "seed": 5, "guidance": 1, "adapter": "plus.bin", "images": ["init.png"], "weight": 0.6},
    {**COMMON, "name": "part", "seed": 6, "steps": 5, "adapter": "base.safetensors", "images": ["init.png"], "weight": 0.9, "start": 0.2, "end": 0.8},
]  # fmt: skip


def make_encoder() -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=3, image_size=28, patch_size=7, projection_dim=16, hidden_act="gelu"
    )  # fmt: skip
    model = CLIPVisionModelWithProjection(config)
    randomise(model, 80)
    model.vision_model.embeddings.class_embedding.data = torch.randn(24, generator=torch.Generator().manual_seed(81))
    model.half().save_pretrained(OUT / "image_encoder", variant="fp16")
    return model.float()


def keys(unet, seed: int) -> dict:
    """As h94/IP-Adapter counts them: every attention has a number, each second one reads the text."""
    generator = torch.Generator().manual_seed(seed)
    state, number = {}, 1
    for name in unet.attn_processors:
        if not name.endswith("attn2.processor"):
            continue
        width = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        for part in ("k", "v"):
            state[f"{number}.to_{part}_ip.weight"] = (1.2 * torch.randn(width, CONTEXT, generator=generator) / CONTEXT**0.5).half()
        number += 2
    return state


def make_base(unet) -> None:
    projection = ImageProjection(image_embed_dim=16, cross_attention_dim=CONTEXT, num_image_text_embeds=4)
    randomise(projection, 82)
    state = {f"image_proj.{name.replace('image_embeds', 'proj')}": value.half().contiguous() for name, value in projection.state_dict().items()}
    state |= {f"ip_adapter.{name}": value for name, value in keys(unet, 83).items()}
    save_file(state, OUT / "base.safetensors")


def make_plus(unet) -> None:
    projection = IPAdapterPlusImageProjection(embed_dims=24, output_dims=CONTEXT, hidden_dims=24, depth=4, dim_head=64, heads=2, num_queries=5)
    randomise(projection, 84)
    projection.latents.data = torch.randn(projection.latents.shape, generator=torch.Generator().manual_seed(85))
    own = projection.state_dict()
    state = {}
    for name, value in own.items():
        for old, new in {
            ".ln0.": ".0.norm1.", ".ln1.": ".0.norm2.", ".attn.to_q.": ".0.to_q.", ".attn.to_out.0.": ".0.to_out.",
            ".ff.0.": ".1.0.", ".ff.1.net.0.proj.": ".1.1.", ".ff.1.net.2.": ".1.3.",
        }.items():  # fmt: skip
            name = name.replace(old, new)
        if ".attn.to_k." in name:
            both = torch.cat([value, own[name.replace("to_k", "to_v")]])
            state[name.replace(".attn.to_k.", ".0.to_kv.")] = both.half()
        elif ".attn.to_v." not in name:
            state[name] = value.half()
    torch.save({"image_proj": state, "ip_adapter": keys(unet, 86)}, OUT / "plus.bin")


def opened(name: str) -> Image.Image:
    return Image.open(PICTURES / name).convert("RGB")


def picture(job: dict) -> np.ndarray:
    base = load_pipeline(MODELS / "deep", CONFIGS["deep"]["variant"])
    encoder = CLIPVisionModelWithProjection.from_pretrained(OUT / "image_encoder", variant="fp16", torch_dtype=torch.float32)
    size = encoder.config.image_size
    pipe = StableDiffusionXLPipeline(
        **{**base.components, "image_encoder": encoder, "feature_extractor": CLIPImageProcessor(size=size, crop_size=size)},
        force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.load_ip_adapter(str(OUT), subfolder="", weight_name=job["adapter"], image_encoder_folder=None)
    weight, steps = job["weight"], job["steps"]
    counts = lambda step: weight if step / steps >= job.get("start", 0) and (step + 1) / steps <= job.get("end", 1) else 0.0

    def before_next(pipe, step, timestep, given):
        pipe.set_ip_adapter_scale(counts(step + 1))
        return given

    pipe.set_ip_adapter_scale(counts(0))
    return np.asarray(pipe(
        job["prompt"], negative_prompt=job.get("negative"), num_inference_steps=steps, guidance_scale=job["guidance"],
        width=job["width"], height=job["height"], ip_adapter_image=[[opened(name) for name in job["images"]]],
        generator=torch.Generator("cpu").manual_seed(job["seed"]), callback_on_step_end=before_next,
    ).images[0])  # fmt: skip


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    unet = load_pipeline(MODELS / "deep", CONFIGS["deep"]["variant"]).unet
    make_encoder()
    make_base(unet)
    make_plus(unet)
    for file in OUT.rglob("*.safetensors"):
        file.chmod(0o644)
    write_pictures(OUT, JOBS, "name", picture)


if __name__ == "__main__":
    main()
