"""
Makes fixtures/module/vae-encoder.safetensors: what diffusers' AutoencoderKL encodes pictures to, and decodes them back from, in fp32.

For VAEs of its own, whose encoder's weights lie in the file too, and for those of some golden models, which are decoded again. Run with the
packages of requirements.txt, after pipeline_golden.py: python scripts/golden/vae_encoder_golden.py
"""

import json

import torch
from diffusers import AutoencoderKL
from pipeline_golden import CONFIGS
from safetensors.torch import save_file
from tiny_sdxl import OUT, ROOT, randomise

FIXTURE = ROOT / "fixtures" / "module" / "vae-encoder.safetensors"
MODELS = ("deep", "nested", "odd")
# Of the latent: not square, odd.
CELLS = (5, 7)
# Together: with and without attention and quant_conv, one level to five, groups of one, three and four channels, one layer to three.
OWN = {
    "level": {"block_out_channels": [5], "norm_num_groups": 5, "layers_per_block": 3, "mid_block_add_attention": False, "use_quant_conv": False},
    "ninths": {"block_out_channels": [6, 9, 15], "norm_num_groups": 3, "layers_per_block": 2},
    "levels": {"block_out_channels": [4, 8, 8, 12, 8], "norm_num_groups": 2, "latent_channels": 16, "mid_block_add_attention": False},
    "plain": {"block_out_channels": [8, 12], "norm_num_groups": 4, "latent_channels": 1, "use_quant_conv": False},
}  # fmt: skip


def own_vae(settings: dict, seed: int) -> AutoencoderKL:
    """Its weights are fp16 numbers, computed with in fp32."""
    levels = len(settings["block_out_channels"])
    vae = AutoencoderKL(**{
        "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": 4, **settings,
    })  # fmt: skip
    randomise(vae, seed)
    return vae.half().float()


def main() -> None:
    generator = torch.Generator().manual_seed(22)
    vaes = {name: own_vae(settings, 100 + i) for i, (name, settings) in enumerate(OWN.items())}
    for name in MODELS:
        vae = AutoencoderKL.from_pretrained(OUT / name / "vae", variant=CONFIGS[name]["variant"], torch_dtype=torch.float32)
        vaes[name] = vae
    arrays = {}
    for name, vae in vaes.items():
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        image = torch.rand((2 if name == "ninths" else 1, 3, CELLS[0] * scale, CELLS[1] * scale), generator=generator) * 2 - 1
        with torch.no_grad():
            encoded = vae.encode(image).latent_dist
            arrays |= {f"{name}/image": image, f"{name}/moments": encoded.parameters}
            if name in MODELS:
                arrays[f"{name}/again"] = vae.decode(encoded.mode()).sample
        if name in OWN:
            wanted = ("encoder.", "quant_conv.")
            arrays |= {f"{name}/weights/{key}": value.half() for key, value in vae.state_dict().items() if key.startswith(wanted)}
    keys = ("_class_name", "down_block_types", "up_block_types", "in_channels", "out_channels", "act_fn", "latent_channels", "block_out_channels",
            "layers_per_block", "norm_num_groups", "mid_block_add_attention", "use_quant_conv", "use_post_quant_conv", "scaling_factor")  # fmt: skip
    configs = {name: {key: dict(vaes[name].config).get(key, "AutoencoderKL") for key in keys} for name in OWN}
    save_file({key: value.contiguous() for key, value in arrays.items()}, FIXTURE, {"configs": json.dumps(configs)})
    FIXTURE.chmod(0o644)
    print(FIXTURE.stat().st_size, {key: f"{list(value.shape)} std {value.std():.3f}" for key, value in arrays.items() if "/weights/" not in key})


if __name__ == "__main__":
    main()
