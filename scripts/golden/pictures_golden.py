"""
Makes fixtures/from-pictures: what diffusers' image-to-image and inpainting pipelines make with the models of fixtures/golden in fp32, and
pictures drawn a second time larger, composed of its parts. Also the small models that only these need.

Run with the packages of requirements.txt, after pipeline_golden.py: python scripts/golden/pictures_golden.py
"""

import json

import shutil

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from PIL import Image, ImageFilter
from pipeline_golden import CONFIGS
from tiny_sdxl import OUT as MODELS
from tiny_sdxl import DEMO, ROOT, clip_config, load_pipeline, make_folder, randomise, write_pictures
from transformers import CLIPTextModelWithProjection

OUT = ROOT / "fixtures" / "from-pictures"
# Reads mask and masked picture beside the latent.
PAINT = {
    "unet": {
        "block_out_channels": [16, 24], "layers_per_block": 1, "transformer_layers_per_block": [1, 1],
        "attention_head_dim": [2, 3], "norm_num_groups": 8, "use_linear_projection": True, "in_channels": 9,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    },
    "vae": {"block_out_channels": [6, 12, 12, 12], "layers_per_block": 1, "norm_num_groups": 3},
    "clip": {"hidden_size": 16, "heads": 2, "layers": 2}, "clip2": {"hidden_size": 24, "heads": 3, "layers": 2},
    "scheduler": {"timestep_spacing": "leading"},
    "dtype": torch.float16, "variant": "fp16", "force_zeros": True,
}  # fmt: skip

JOBS = [
    {"model": "deep", "prompt": "a mill", "seed": 1, "steps": 7, "guidance": 3, "init": "init.png", "strength": 0.3},
    {"model": "deep", "prompt": "a mill", "seed": 2, "steps": 7, "guidance": 3, "init": "init.png", "strength": 0.75},
    {"model": "deep", "prompt": "a mill", "seed": 3, "steps": 4, "guidance": 1, "init": "init.png", "strength": 1.0},
    {"model": "nested", "prompt": "dunes", "seed": 4, "steps": 5, "guidance": 4, "init": "init.png", "strength": 0.6, "width": 72, "height": 104},
    {"model": "odd", "prompt": "a lake", "seed": 5, "steps": 5, "guidance": 2, "init": "init.png", "strength": 0.5},
    {"model": "nested", "prompt": "dunes", "seed": 6, "steps": 5, "guidance": 4, "init": "init.png", "mask": "mask.png"},
    {"model": "nested", "prompt": "dunes", "seed": 7, "steps": 5, "guidance": 4, "init": "init.png", "mask": "soft.png", "strength": 0.7},
    {"model": "deep", "prompt": "a mill", "seed": 8, "steps": 4, "guidance": 1, "init": "init.png", "mask": "soft.png", "strength": 1.0, "width": 64, "height": 72},
    {"model": "paint", "prompt": "a door", "seed": 9, "steps": 4, "guidance": 3, "init": "init.png", "mask": "mask.png", "strength": 1.0},
    {"model": "paint", "prompt": "a door", "seed": 10, "steps": 5, "guidance": 3, "init": "init.png", "mask": "soft.png", "strength": 0.8},
    {"model": "deep", "prompt": "a mill", "seed": 11, "steps": 4, "guidance": 3, "width": 64, "height": 48, "hires": {"scale": 1.5, "strength": 0.7, "steps": 5, "upscaler": "latent"}},
    {"model": "nested", "prompt": "dunes", "seed": 12, "steps": 3, "guidance": 3, "width": 72, "height": 64, "hires": {"scale": 1.4, "strength": 0.8, "steps": 4, "upscaler": "latent-nearest"}},
    {"model": "nested", "prompt": "dunes", "seed": 13, "steps": 3, "guidance": 3, "width": 64, "height": 64, "hires": {"scale": 1.5, "strength": 0.7, "upscaler": "lanczos"}},
]  # fmt: skip
JOBS += [
    {"model": "deep", "prompt": "a mill", "seed": 14, "steps": 6, "guidance": 3, "width": 64, "height": 48, "refiner": 0.5},
    {"model": "deep", "prompt": "a mill", "negative": "fog", "seed": 15, "steps": 8, "guidance": 3, "init": "init.png", "strength": 0.75, "refiner": 0.7},
    {"model": "deep", "prompt": "a mill", "seed": 16, "steps": 5, "guidance": 1, "width": 56, "height": 64, "refiner": 0.8},
    {"model": "deep", "prompt": "a mill", "seed": 17, "steps": 6, "guidance": 3, "init": "../sampler/init.png", "mask": "square.png", "refiner": 0.6},
    {"model": "deep", "prompt": "a mill", "seed": 18, "steps": 4, "guidance": 3, "width": 64, "height": 48, "refiner": 0.3, "hires": {"scale": 1.5, "strength": 1.0, "steps": 6, "upscaler": "latent"}},
]  # fmt: skip

# A part that is drawn larger and laid back: the box is square as the job, so that nothing of it is filled up.
JOBS += [
    {"model": "deep", "prompt": "a mill", "seed": 19, "steps": 6, "guidance": 3, "init": "init.png", "detail": "30,24,24,24", "padding": 8, "blur": 2, "strength": 0.7, "width": 64, "height": 64},
    {"model": "nested", "prompt": "dunes", "seed": 20, "steps": 5, "guidance": 3, "init": "init.png", "mask": "spot.png", "detail": "mask", "padding": 12, "strength": 0.6, "width": 64, "height": 64},
]  # fmt: skip


def make_pictures() -> None:
    """Neither flat nor noise; masks hard and soft."""
    height, width = 88, 101
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 127 + 90 * np.sin(x / 9) * np.cos(y / 13)
    green = 40 + 170 * y / height
    blue = 200 - 150 * x / width + 40 * (((x - 60) ** 2 + (y - 30) ** 2) < 400)
    Image.fromarray(np.clip(np.stack([red, green, blue], -1), 0, 255).astype(np.uint8)).save(OUT / "init.png")
    hard = np.zeros((height, width), np.uint8)
    hard[20:70, 30:90] = 255
    Image.fromarray(np.stack([hard] * 3, -1)).save(OUT / "mask.png")
    square = np.zeros((72, 72), np.uint8)
    square[11:58, 18:61] = 255
    Image.fromarray(square).save(OUT / "square.png")
    spot = np.zeros((height, width), np.uint8)
    spot[40:60, 50:70] = 255
    spot[44:48, 52:60] = 100
    Image.fromarray(spot).save(OUT / "spot.png")
    soft = Image.fromarray(hard).filter(ImageFilter.GaussianBlur(8))
    Image.fromarray(np.stack([np.asarray(soft)] * 3, -1)).save(OUT / "soft.png")


def make_refiner(folder) -> None:
    """As stabilityai/stable-diffusion-xl-refiner-1.0 is laid out: one text encoder, four levels, a score in place of the wanted size."""
    shutil.rmtree(folder, ignore_errors=True)
    clip2 = clip_config({"hidden_size": 20, "heads": 2, "layers": 3}, "gelu")
    unet = UNet2DConditionModel(
        sample_size=8, addition_embed_type="text_time", addition_time_embed_dim=6, norm_num_groups=6, layers_per_block=1,
        projection_class_embeddings_input_dim=clip2.projection_dim + 5 * 6, cross_attention_dim=clip2.hidden_size,
        block_out_channels=[12, 18, 24, 24], attention_head_dim=[2, 3, 4, 4], transformer_layers_per_block=2, use_linear_projection=True,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    )  # fmt: skip
    encoder = CLIPTextModelWithProjection(clip2)
    for seed, (part, model) in enumerate({"unet": unet, "text_encoder_2": encoder}.items(), 40):
        randomise(model, seed)
        model.half().save_pretrained(folder / part, variant="fp16")
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading",
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    shutil.copytree(DEMO / "tokenizer_2", folder / "tokenizer_2")
    library = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "EulerDiscreteScheduler"}
    index = {
        "_class_name": "StableDiffusionXLImg2ImgPipeline", "force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True,
        "text_encoder": [None, None], "tokenizer": [None, None], "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        **{part: ["diffusers", name] for part, name in library.items()},
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)


def refiner_pipeline(base, kind=StableDiffusionXLImg2ImgPipeline):
    pipe = kind.from_pretrained(
        OUT / "refiner", vae=base.vae, variant="fp16", torch_dtype=torch.float32, text_encoder=None, tokenizer=None
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def refined(job: dict, base, img2img, generator: torch.Generator) -> np.ndarray:
    steps = {"num_inference_steps": job["steps"], "negative_prompt": job.get("negative"), **common(job)}
    first = {**steps, "generator": generator, "denoising_end": job["refiner"], "output_type": "latent"}
    if "hires" in job:
        latents = larger(job, base, img2img, generator)
    elif "mask" in job:
        init = opened(job["init"])
        size = {"width": cells(init.width, 8), "height": cells(init.height, 8)}
        inpaint = StableDiffusionXLInpaintPipeline(**base.components, force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt)
        latents = inpaint(image=init, mask_image=opened(job["mask"]), **size, **first).images
        pipe = refiner_pipeline(base, StableDiffusionXLInpaintPipeline)
        done = pipe(image=latents, mask_image=opened(job["mask"]), denoising_start=job["refiner"], generator=generator, **size, **steps)
        return np.asarray(done.images[0])
    elif "init" in job:
        init = opened(job["init"])
        size = cells(init.width, 8), cells(init.height, 8)
        latents = img2img(image=init.resize(size, Image.LANCZOS), strength=job["strength"], **first).images
    else:
        latents = base(width=job["width"], height=job["height"], **first).images
    pipe = refiner_pipeline(base)
    steps["num_inference_steps"] = job.get("hires", job).get("steps", job["steps"])
    return np.asarray(pipe(image=latents, denoising_start=job["refiner"], generator=generator, **steps).images[0])


def opened(name: str) -> Image.Image:
    return Image.open(OUT / name).convert("RGB")


def cells(pixels: int, cell: int) -> int:
    return pixels - pixels % cell


def base_pipeline(name: str):
    folder, variant = (OUT / name, PAINT["variant"]) if name == "paint" else (MODELS / name, CONFIGS[name]["variant"])
    return load_pipeline(folder, variant)


def common(job: dict) -> dict:
    return {"prompt": job["prompt"], "guidance_scale": job["guidance"]}


def picture(job: dict) -> np.ndarray:
    base = base_pipeline(job["model"])
    generator = torch.Generator("cpu").manual_seed(job["seed"])
    # A setting of the pipeline, which its components don't bring.
    zeros = base.config.force_zeros_for_empty_prompt
    img2img = StableDiffusionXLImg2ImgPipeline(**base.components, force_zeros_for_empty_prompt=zeros)
    img2img.set_progress_bar_config(disable=True)
    if "refiner" in job:
        return refined(job, base, img2img, generator)
    if "hires" in job:
        return larger(job, base, img2img, generator)
    init = opened(job["init"])
    if "detail" in job:
        return detailed(job, base, init, generator)
    # As Solvay cuts pictures, whatever a model's cell is.
    width, height = job.get("width", cells(init.width, 8)), job.get("height", cells(init.height, 8))
    steps = {"num_inference_steps": job["steps"], "generator": generator, **common(job)}
    if "mask" not in job:
        return np.asarray(img2img(image=init.resize((width, height), Image.LANCZOS), strength=job["strength"], **steps).images[0])
    inpaint = StableDiffusionXLInpaintPipeline(**base.components, force_zeros_for_empty_prompt=zeros)
    inpaint.set_progress_bar_config(disable=True)
    if job["model"] != "paint":
        # A grey mask blends.
        inpaint.mask_processor = VaeImageProcessor(
            vae_scale_factor=inpaint.vae_scale_factor, do_normalize=False, do_binarize=False, do_convert_grayscale=True
        )
    strength = {"strength": job["strength"]} if "strength" in job else {}
    return np.asarray(inpaint(image=init, mask_image=opened(job["mask"]), width=width, height=height, **strength, **steps).images[0])


def detailed(job: dict, base, init: Image.Image, generator: torch.Generator) -> np.ndarray:
    inpaint = StableDiffusionXLInpaintPipeline(**base.components, force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt)
    inpaint.set_progress_bar_config(disable=True)
    inpaint.mask_processor = VaeImageProcessor(
        vae_scale_factor=inpaint.vae_scale_factor, do_normalize=False, do_binarize=False, do_convert_grayscale=True
    )
    if job["detail"] == "mask":
        mask = opened(job["mask"]).convert("L")
    else:
        left, top, width, height = map(int, job["detail"].split(","))
        box = np.zeros((init.height, init.width), np.float64)
        box[top : top + height, left : left + width] = 255
        # A1111's mask blur: a Gaussian of 2 * int(2.5 * blur + 0.5) + 1 taps; the box is far from the edges.
        reach = int(2.5 * job["blur"] + 0.5)
        kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * job["blur"] ** 2))
        kernel /= kernel.sum()
        for axis in (1, 0):
            box = np.apply_along_axis(lambda line: np.convolve(line, kernel, mode="same"), axis, box)
        mask = Image.fromarray(np.round(box).astype(np.uint8))
    return np.asarray(inpaint(
        image=init, mask_image=mask, padding_mask_crop=job["padding"], width=job["width"], height=job["height"], strength=job["strength"],
        num_inference_steps=job["steps"], generator=generator, **common(job),
    ).images[0])  # fmt: skip


def larger(job: dict, base, img2img, generator: torch.Generator) -> np.ndarray:
    hires = job["hires"]
    small = base(
        num_inference_steps=job["steps"], width=job["width"], height=job["height"], generator=generator,
        output_type="latent", **common(job),
    ).images  # fmt: skip
    cell = base.vae_scale_factor
    size = [int(side // cell * hires["scale"]) for side in (job["height"], job["width"])]
    if hires["upscaler"] == "latent":
        image = torch.nn.functional.interpolate(small, size=size, mode="bilinear", antialias=False)
    elif hires["upscaler"] == "latent-nearest":
        image = torch.nn.functional.interpolate(small, size=size, mode="nearest")
    else:
        decoded = base.vae.decode(small / base.vae.config.scaling_factor, return_dict=False)[0].detach()
        image = base.image_processor.postprocess(decoded)[0].resize((size[1] * cell, size[0] * cell), Image.LANCZOS)
    handed = {"denoising_end": job["refiner"], "output_type": "latent"} if "refiner" in job else {}
    images = img2img(
        image=image, strength=hires["strength"], num_inference_steps=hires.get("steps", job["steps"]), generator=generator, **handed, **common(job),
    ).images  # fmt: skip
    return images if handed else np.asarray(images[0])


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    make_pictures()
    make_folder(OUT / "paint", PAINT)
    make_refiner(OUT / "refiner")
    write_pictures(OUT, JOBS, "model", picture)


if __name__ == "__main__":
    main()
