"""
Makes fixtures/image-prompts: a small CLIP vision encoder, IP-Adapters (base and Plus) for the model `deep` of fixtures/golden, and the pictures
diffusers makes with them in fp32.

Run with the packages of requirements.txt, after pictures_golden.py: python scripts/golden/image_prompts_golden.py
"""

import shutil

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.image_processor import IPAdapterMaskProcessor
from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection
from PIL import Image, ImageDraw
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
    {**COMMON, "name": "base-masked", "seed": 7, "adapter": "base.safetensors", "images": ["init.png", "soft.png"], "masks": ["left.png", "disc.png"], "weight": 0.9},
    {**COMMON, "name": "plus-masked", "seed": 8, "negative": "fog", "adapter": "plus.bin", "images": ["init.png", "soft.png"], "masks": ["disc.png", "left.png"], "weight": 0.8},
    {**COMMON, "name": "several", "seed": 9, "adapter": "base.safetensors", "images": ["init.png"], "weight": 0.6,
     "further": [{"adapter": "plus.bin", "images": ["soft.png", "init.png"], "weight": 0.4}]},
    {**COMMON, "name": "several-masked", "seed": 10, "adapter": "plus.bin", "images": ["init.png"], "masks": ["left.png"], "weight": 0.7,
     "further": [{"adapter": "base.safetensors", "images": ["soft.png"], "masks": ["disc.png"], "weight": 0.9, "end": 0.5}]},
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


def make_masks() -> None:
    """One of the pictures' size, hard; one of another size, in colours that turn to grey."""
    left = Image.new("L", (64, 48), 0)
    ImageDraw.Draw(left).rectangle((0, 0, 27, 47), fill=255)
    left.save(OUT / "left.png")
    disc = Image.new("RGB", (96, 90), (20, 60, 40))
    ImageDraw.Draw(disc).ellipse((40, 20, 88, 76), fill=(200, 160, 220))
    disc.save(OUT / "disc.png")


def opened(name: str) -> Image.Image:
    return Image.open(PICTURES / name).convert("RGB")


def mask_of(uses: list[dict], size: tuple[int, int]) -> list:
    """One tensor [1, pictures, height, width] an adapter; None where it has none."""
    width, height = size
    read = lambda names: [Image.open(OUT / name) for name in names]
    processor = IPAdapterMaskProcessor()
    made = [processor.preprocess(read(use["masks"]), height=height, width=width) if "masks" in use else None for use in uses]
    return [mask if mask is None else mask.reshape(1, mask.shape[0], mask.shape[2], mask.shape[3]) for mask in made]


def picture(job: dict) -> np.ndarray:
    base = load_pipeline(MODELS / "deep", CONFIGS["deep"]["variant"])
    encoder = CLIPVisionModelWithProjection.from_pretrained(OUT / "image_encoder", variant="fp16", torch_dtype=torch.float32)
    size = encoder.config.image_size
    pipe = StableDiffusionXLPipeline(
        **{**base.components, "image_encoder": encoder, "feature_extractor": CLIPImageProcessor(size=size, crop_size=size)},
        force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    uses, steps = [job, *job.get("further", [])], job["steps"]
    pipe.load_ip_adapter(str(OUT), subfolder=[""] * len(uses), weight_name=[use["adapter"] for use in uses], image_encoder_folder=None)
    counts = lambda use, step: use["weight"] if step / steps >= use.get("start", 0) and (step + 1) / steps <= use.get("end", 1) else 0.0
    weigh = lambda step: pipe.set_ip_adapter_scale([counts(use, step) for use in uses])

    def before_next(pipe, step, timestep, given):
        weigh(step + 1)
        return given

    weigh(0)
    masks = mask_of(uses, (job["width"], job["height"]))
    masked = any(mask is not None for mask in masks)
    return np.asarray(pipe(
        job["prompt"], negative_prompt=job.get("negative"), num_inference_steps=steps, guidance_scale=job["guidance"],
        width=job["width"], height=job["height"], ip_adapter_image=[[opened(name) for name in use["images"]] for use in uses],
        generator=torch.Generator("cpu").manual_seed(job["seed"]), callback_on_step_end=before_next,
        cross_attention_kwargs={"ip_adapter_masks": masks} if masked else None,
    ).images[0])  # fmt: skip


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    unet = load_pipeline(MODELS / "deep", CONFIGS["deep"]["variant"]).unet
    make_encoder()
    make_base(unet)
    make_plus(unet)
    make_masks()
    for file in OUT.rglob("*.safetensors"):
        file.chmod(0o644)
    write_pictures(OUT, JOBS, "name", picture)


if __name__ == "__main__":
    main()
