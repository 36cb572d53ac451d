"""
Makes fixtures/controls: small ControlNets for the model `deep` of fixtures/golden, and the pictures diffusers makes with them in fp32.

Run with the packages of requirements.txt, after pictures_golden.py: python scripts/golden/controls_golden.py
"""

import shutil

import cv2
import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    T2IAdapter,
)
from diffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from PIL import Image
from pipeline_golden import CONFIGS
from safetensors.torch import save_file
from tiny_sdxl import OUT as MODELS
from tiny_sdxl import ROOT, load_pipeline, randomise, write_pictures
from tiny_sdxl import picture as plain_picture

OUT = ROOT / "fixtures" / "controls"
PICTURES = ROOT / "fixtures" / "from-pictures"

# As deep's UNet; its cell is four pixels.
WIDTHS = {
    "block_out_channels": [12, 24, 36], "layers_per_block": 1, "attention_head_dim": [1, 3, 6], "norm_num_groups": 6,
    "use_linear_projection": True, "cross_attention_dim": 40, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64, "conditioning_embedding_out_channels": [6, 10, 14],
}  # fmt: skip
DEEP = {"transformer_layers_per_block": [1, 1, 3], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]}
NETS = {
    # A folder, whose pictures are blue first.
    "edges": {**WIDTHS, **DEEP, "controlnet_conditioning_channel_order": "bgr"},
    # A file in the original layout.
    "lines": {**WIDTHS, **DEEP},
    # A file without attention, as controlnet-canny-sdxl-1.0-small.
    "light": {**WIDTHS, "transformer_layers_per_block": [1, 1, 1], "down_block_types": ["DownBlock2D"] * 3, "mid_block_type": "UNetMidBlock2D"},
}  # fmt: skip

# ProMax knows eight kinds of pictures.
UNIONS = {"union": {**WIDTHS, **DEEP, "num_control_type": 8, "num_trans_channel": 12, "num_trans_head": 4, "num_proj_channel": 12}}

# Features of a picture, without a step of their own; twice the cell's pixels become channels.
ADAPTERS = {"features": {"in_channels": 3, "channels": [12, 24, 36, 36], "num_res_blocks": 1, "downscale_factor": 8, "adapter_type": "full_adapter_xl"}}

# A Control-LoRA: the model's own UNet with changes of low rank, written as Stability's ComfyUI node ControlLoraSave does; and a LoRA of the model.
LORAS = {"sketch": {**WIDTHS, **DEEP}}
RANK = 3
# One that is left as the model has it.
UNCHANGED = "down_blocks.1.resnets.0.conv2.weight"
FUR = ["down_blocks.0.resnets.0.conv1", "down_blocks.1.resnets.0.time_emb_proj", "down_blocks.2.attentions.0.transformer_blocks.1.attn2.to_k", "down_blocks.1.attentions.0.proj_in", "up_blocks.1.resnets.0.conv1"]

COMMON = {"prompt": "a mill", "steps": 4, "guidance": 3, "width": 64, "height": 48}
EDGES = {"net": "edges", "image": "init.png"}
LIGHT = {"net": "light", "image": "soft.png"}
JOBS = [
    {**COMMON, "name": "one", "seed": 1, "controls": [{**EDGES, "weight": 0.8}]},
    {**COMMON, "name": "two", "seed": 2, "negative": "fog", "controls": [{**EDGES, "weight": 0.5}, {**LIGHT, "weight": 1.25}]},
    {**COMMON, "name": "part", "seed": 3, "steps": 5, "controls": [{**EDGES, "start": 0.2, "end": 0.7}, {**LIGHT, "end": 0.4}]},
    {**COMMON, "name": "guess", "seed": 4, "controls": [{**EDGES, "guess": True}]},
    {**COMMON, "name": "unguided", "seed": 5, "guidance": 1, "controls": [{"net": "lines", "image": "init.png", "weight": 0.6}]},
    {**COMMON, "name": "img2img", "seed": 6, "steps": 6, "init": "init.png", "strength": 0.7, "controls": [{**EDGES, "start": 0.2, "image": "soft.png"}]},
    {**COMMON, "name": "inpaint", "seed": 7, "init": "init.png", "mask": "mask.png", "strength": 0.9, "controls": [{**LIGHT, "image": "init.png"}]},
    {**COMMON, "name": "hires", "seed": 8, "hires": {"scale": 1.5, "strength": 0.7, "steps": 5}, "controls": [{**EDGES, "end": 0.6}]},
    {**COMMON, "name": "union", "seed": 9, "controls": [{"net": "union", "image": "init.png", "mode": "depth", "weight": 0.7, "end": 0.8}]},
    {**COMMON, "name": "unions", "seed": 10, "negative": "fog", "controls": [{"net": "union", "image": "init.png", "mode": "3"}, {"net": "union", "image": "soft.png", "mode": "repaint", "weight": 0.5}]},
    {**COMMON, "name": "features", "seed": 11, "steps": 5, "negative": "fog", "controls": [{"net": "features", "image": "init.png", "weight": 0.9, "end": 0.6}]},
    {**COMMON, "name": "control-lora", "seed": 12, "negative": "fog", "controls": [{"net": "sketch", "image": "init.png", "weight": 0.8}, {**LIGHT, "weight": 0.5}]},
    {**COMMON, "name": "control-lora-and-lora", "seed": 13, "steps": 3, "fur": 0.7, "controls": [{"net": "sketch", "image": "soft.png"}]},
    {**COMMON, "name": "passes", "seed": 14, "steps": 3, "hires": {"scale": 1.5, "strength": 0.7, "steps": 4}, "controls": [{**EDGES, "pass": "first"}, {**LIGHT, "pass": "second", "weight": 0.8}]},
]  # fmt: skip


def net(name: str, seed: int) -> ControlNetModel | ControlNetUnionModel | T2IAdapter:
    if name in ADAPTERS:
        adapter = T2IAdapter(**ADAPTERS[name])
        randomise(adapter, seed)
        return adapter.half()
    model = ControlNetUnionModel(**UNIONS[name]) if name in UNIONS else ControlNetModel(**NETS[name])
    randomise(model, seed)
    for block in [*model.controlnet_down_blocks, model.controlnet_mid_block]:
        block.weight.data *= 0.3
    return model.half()


def changed(weight: torch.Tensor, generator: torch.Generator, rank: int, size: float) -> tuple[torch.Tensor, torch.Tensor]:
    """up and down in fp16, as large as `size` of the weight."""
    out, inputs, *kernel = weight.shape
    rank = min(rank, out, inputs)
    up = torch.randn(out, rank, *[1 for _ in kernel], generator=generator)
    down = torch.randn(rank, inputs, *kernel, generator=generator) * size * weight.std() / rank**0.5
    return up.half(), down.half()


def merged(weight: torch.Tensor, up: torch.Tensor, down: torch.Tensor, by: float = 1.0) -> torch.Tensor:
    return weight.float() + by * (up.float().flatten(1) @ down.float().flatten(1)).reshape(weight.shape)


def fur(base: dict) -> dict:
    """A LoRA of the model: layer -> (up, down)."""
    generator = torch.Generator().manual_seed(90)
    return {layer: changed(base[f"{layer}.weight"], generator, 2, 0.6) for layer in FUR}


def control_lora(base: dict, seed: int) -> tuple[dict, dict]:
    """Of a UNet: the ControlNet's whole state in fp32, and what the file holds."""
    own = ControlNetModel(**LORAS["sketch"])
    randomise(own, seed)
    generator = torch.Generator().manual_seed(seed)
    state, stored, factors = {}, {}, {}
    for name, value in own.state_dict().items():
        if name not in base:
            stored[name] = (value * 0.3 if name.startswith("controlnet_down") or name.startswith("controlnet_mid") and value.ndim > 1 else value).half()
            state[name] = stored[name].float()
        elif value.ndim == 1:
            stored[name] = (base[name] + 0.1 * torch.randn(value.shape, generator=generator)).half()
            state[name] = stored[name].float()
        elif name == UNCHANGED:
            state[name] = base[name].float()
        else:
            factors[name] = changed(value, generator, RANK, 0.5)
            state[name] = merged(base[name], *factors[name])
    file = {name.removeprefix("control_model."): value for name, value in original_names(stored).items()}
    for at, factor in enumerate(("up", "down")):
        for name, value in original_names({name: pair[at] for name, pair in factors.items()}).items():
            file[f"{name.removeprefix('control_model.').removesuffix('.weight')}.{factor}"] = value
    return state, {**file, "lora_controlnet": torch.tensor([])}


def original_names(state: dict) -> dict:
    """Of deep's three levels with a layer each, as cldm.py calls them: what diffusers' own conversion gives back must be `state`."""
    outside = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    blocks = {"conv_in": "input_blocks.0.0", "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2"}
    for level, (layer, sampler) in enumerate([(1, 2), (3, 4), (5, None)]):
        blocks |= {f"down_blocks.{level}.resnets.0": f"input_blocks.{layer}.0", f"down_blocks.{level}.attentions.0": f"input_blocks.{layer}.1"}
        if sampler:
            blocks[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{sampler}.0.op"
    resnet = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    hint = {"conv_in": 0, "blocks.0": 2, "blocks.1": 4, "blocks.2": 6, "blocks.3": 8, "conv_out": 10}
    named = {}
    for name, value in state.items():
        for old, new in outside.items():
            name = name.replace(old, new)
        for old, new in hint.items():
            name = name.replace(f"controlnet_cond_embedding.{old}", f"input_hint_block.{new}")
        for number in range(6):
            name = name.replace(f"controlnet_down_blocks.{number}.", f"zero_convs.{number}.0.")
        name = name.replace("controlnet_mid_block", "middle_block_out.0")
        for old, new in blocks.items():
            if name.startswith(f"{old}."):
                rest = name[len(old) + 1 :]
                if ".resnets." in old:
                    for inner, other in resnet.items():
                        rest = rest.replace(f"{inner}.", f"{other}.")
                name = f"{new}.{rest}"
                break
        named[f"control_model.{name}"] = value.contiguous()
    return named


def make_nets() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for seed, name in enumerate([*NETS, *UNIONS, *ADAPTERS], 60):
        model = net(name, seed)
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        if name in ("edges", "union", "features"):
            model.save_pretrained(OUT / name, variant="fp16")
        else:
            save_file(original_names(state) if name == "lines" else state, OUT / f"{name}.safetensors")


def make_loras() -> None:
    base = load_pipeline(MODELS / "deep", CONFIGS["deep"]["variant"]).unet.state_dict()
    save_file(control_lora(base, 70)[1], OUT / "sketch.safetensors")
    named = {f"unet.{layer}.lora_{end}.weight": value for layer, (up, down) in fur(base).items() for end, value in (("B", up), ("A", down))}
    save_file(named, OUT / "fur.safetensors")
    for file in OUT.rglob("*.safetensors"):
        file.chmod(0o644)


def make_edges() -> None:
    """A picture with edges between, above and below Canny's thresholds, and what OpenCV finds in it."""
    y, x = np.mgrid[0:60, 0:72].astype(float)
    noise = np.random.default_rng(3).normal(0, 6, (60, 72))
    grey = 127 + 60 * np.sin(x / 5) * np.cos(y / 7) + 80 * (((x - 30) ** 2 + (y - 25) ** 2) < 200) - 50 * ((x + y) > 90) + noise
    grey = np.clip(grey, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(OUT / "grey.png")
    Image.fromarray(cv2.Canny(grey, 100, 200)).save(OUT / "canny.png")
    # Thresholds in the wrong order are OpenCV's to put right.
    Image.fromarray(cv2.Canny(grey, 250, 40)).save(OUT / "canny-40-250.png")


def opened(name: str) -> Image.Image:
    return Image.open(PICTURES / name).convert("RGB")


def picture(job: dict) -> np.ndarray:
    base = load_pipeline(MODELS / "deep", CONFIGS["deep"]["variant"])
    state = base.unet.state_dict()
    if "fur" in job:
        state |= {f"{layer}.weight": merged(state[f"{layer}.weight"], up, down, job["fur"]) for layer, (up, down) in fur(state).items()}
        base.unet.load_state_dict(state)
    names = [*NETS, *UNIONS, *ADAPTERS]
    nets = [lora_net(state) if control["net"] in LORAS else net(control["net"], 60 + names.index(control["net"])).float() for control in job["controls"]]
    if job["controls"][0]["net"] in ADAPTERS:
        return featured(job, base, nets[0])
    if any("pass" in control for control in job["controls"]):
        return in_passes(job, base, nets)
    union = any(control["net"] in UNIONS for control in job["controls"])
    kind = StableDiffusionXLControlNetUnionPipeline if union else (
        StableDiffusionXLControlNetInpaintPipeline if "mask" in job else StableDiffusionXLControlNetImg2ImgPipeline if "init" in job else StableDiffusionXLControlNetPipeline
    )  # fmt: skip
    single = len(nets) == 1
    modes = {"openpose": 0, "depth": 1, "repaint": 7}
    pipe = kind(**base.components, controlnet=nets[0] if single else MultiControlNetUnionModel(nets) if union else nets, force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt)
    pipe.set_progress_bar_config(disable=True)
    each = lambda key, standing: [control.get(key, standing) for control in job["controls"]]
    one = lambda values: values[0] if single else values
    images = [opened(control["image"]) for control in job["controls"]]
    size = {"width": job["width"], "height": job["height"]}
    given = {"image": one(images)}
    if union:
        numbers = [modes.get(control["mode"], 3) for control in job["controls"]]
        given = {"control_image": images, "control_mode": numbers}
    if "init" in job:
        init = opened(job["init"]).resize((job["width"], job["height"]), Image.LANCZOS)
        given = {"image": init, "control_image": one(images), "strength": job["strength"]}
    if "mask" in job:
        given["image"] = opened(job["init"])
        given["mask_image"] = opened(job["mask"])
        # A grey mask blends.
        pipe.mask_processor = VaeImageProcessor(vae_scale_factor=pipe.vae_scale_factor, do_normalize=False, do_binarize=False, do_convert_grayscale=True)
    told = {
        "prompt": job["prompt"], "negative_prompt": job.get("negative"), "guidance_scale": job["guidance"],
        "controlnet_conditioning_scale": one([float(value) for value in each("weight", 1.0)]),
        "control_guidance_start": one(each("start", 0.0)), "control_guidance_end": one(each("end", 1.0)),
        "generator": torch.Generator("cpu").manual_seed(job["seed"]), "guess_mode": any(each("guess", False)),
    }  # fmt: skip
    if "hires" in job:
        hires = job["hires"]
        small = pipe(num_inference_steps=job["steps"], output_type="latent", **size, **given, **told).images
        larger = [int(side // base.vae_scale_factor * hires["scale"]) for side in (job["height"], job["width"])]
        image = torch.nn.functional.interpolate(small, size=larger, mode="bilinear", antialias=False)
        again = StableDiffusionXLControlNetImg2ImgPipeline(**pipe.components)
        again.set_progress_bar_config(disable=True)
        height, width = (side * base.vae_scale_factor for side in larger)
        return np.asarray(again(
            image=image, control_image=one(images), strength=hires["strength"], num_inference_steps=hires["steps"], height=height, width=width, **told,
        ).images[0])  # fmt: skip
    return np.asarray(pipe(num_inference_steps=job["steps"], **size, **given, **told).images[0])


def lora_net(base: dict) -> ControlNetModel:
    """As ComfyUI makes it: of the UNet as LoRAs have changed it. Biases and norms are the file's."""
    model = ControlNetModel(**LORAS["sketch"])
    model.load_state_dict(control_lora(base, 70)[0])
    return model


def in_passes(job: dict, base, nets: list) -> np.ndarray:
    """The first pass steered by the first network, the second by the second."""
    hires, (first, second) = job["hires"], job["controls"]
    told = {"prompt": job["prompt"], "guidance_scale": job["guidance"], "generator": torch.Generator("cpu").manual_seed(job["seed"])}
    one = StableDiffusionXLControlNetPipeline(**base.components, controlnet=nets[0], force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt)
    two = StableDiffusionXLControlNetImg2ImgPipeline(**base.components, controlnet=nets[1], force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt)
    for pipe in (one, two):
        pipe.set_progress_bar_config(disable=True)
    small = one(
        image=opened(first["image"]), num_inference_steps=job["steps"], width=job["width"], height=job["height"], output_type="latent", **told,
    ).images  # fmt: skip
    larger = [int(side // base.vae_scale_factor * hires["scale"]) for side in (job["height"], job["width"])]
    image = torch.nn.functional.interpolate(small, size=larger, mode="bilinear", antialias=False)
    height, width = (side * base.vae_scale_factor for side in larger)
    return np.asarray(two(
        image=image, control_image=opened(second["image"]), strength=hires["strength"], num_inference_steps=hires["steps"], height=height, width=width,
        controlnet_conditioning_scale=second["weight"], **told,
    ).images[0])  # fmt: skip


def featured(job: dict, base, adapter: T2IAdapter) -> np.ndarray:
    pipe = StableDiffusionXLAdapterPipeline(**base.components, adapter=adapter, force_zeros_for_empty_prompt=base.config.force_zeros_for_empty_prompt)
    pipe.set_progress_bar_config(disable=True)
    control = job["controls"][0]
    return np.asarray(pipe(
        job["prompt"], negative_prompt=job.get("negative"), image=opened(control["image"]), num_inference_steps=job["steps"],
        guidance_scale=job["guidance"], adapter_conditioning_scale=control["weight"], adapter_conditioning_factor=control["end"],
        width=job["width"], height=job["height"], generator=torch.Generator("cpu").manual_seed(job["seed"]),
    ).images[0])  # fmt: skip


def far_from_none(job: dict, pixels: np.ndarray) -> str:
    without = plain_picture(load_pipeline(MODELS / "deep", CONFIGS["deep"]["variant"]), job)
    return f", mean difference to none {np.abs(pixels.astype(int) - without).mean():.1f}" if pixels.shape == without.shape else ""


def main() -> None:
    make_nets()
    make_loras()
    make_edges()
    lines = net("lines", 61).state_dict()
    back = convert_controlnet_checkpoint({**original_names(lines)}, {**NETS["lines"], "class_embed_type": None})
    # It knows hints of four levels alone, and no label embeddings.
    known = [name for name in lines if not name.startswith("add_embedding.") and "conv_out" not in name and "blocks.4" not in name]
    assert all(torch.equal(back[name], lines[name]) for name in known), set(known) - set(back)
    write_pictures(OUT, JOBS, "name", picture, far_from_none)


if __name__ == "__main__":
    main()
