"""Writes fixtures/previews: a tiny autoencoder's decoder (diffusers AutoencoderTiny, 4 channels wide) as diffusers' folder has it and under the names of
madebyollin's taesdxl_decoder.pth, a latent, and rows of what it decodes to in fp32.

Run with torch 2.15, diffusers 0.42 and safetensors: python scripts/golden/preview_golden.py
"""
import base64
import json
from pathlib import Path

import torch
from diffusers import AutoencoderTiny

OUT = Path(__file__).parents[2] / "fixtures" / "previews"
OUT.mkdir(parents=True, exist_ok=True)
torch.manual_seed(5)

vae = AutoencoderTiny(
    encoder_block_out_channels=(4, 4, 4, 4),
    decoder_block_out_channels=(4, 4, 4, 4),
    num_encoder_blocks=(1, 1, 1, 1),
    num_decoder_blocks=(3, 3, 3, 1),
).eval()
# Weights as they are made at random shrink a picture to one colour.
with torch.no_grad():
    for name, weight in vae.decoder.named_parameters():
        if weight.ndim == 4:
            weight.mul_(1.6)
    vae.decoder.layers[-1].bias.fill_(0.5)
vae.save_pretrained(OUT / "taesdxl", safe_serialization=True)
own = {}
for name, weight in vae.decoder.state_dict().items():
    _, number, rest = name.split(".", 2)
    own[f"{int(number) + 1}.{rest}"] = weight
torch.save(own, OUT / "taesdxl_decoder.pth")

HEIGHT, WIDTH, EVERY = 8, 56, 16
latent = torch.randn(1, 4, HEIGHT, WIDTH) * 2
with torch.no_grad():
    picture = vae.decode(latent).sample
rgb = ((picture / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0)
print("spread", rgb.float().std(), rgb.float().mean())
(OUT / "golden.json").write_text(
    json.dumps(
        {
            "height": HEIGHT,
            "width": WIDTH,
            "everyRow": EVERY,
            "latent": base64.b64encode(latent.numpy().tobytes()).decode(),
            "rows": base64.b64encode(rgb[::EVERY].contiguous().numpy().tobytes()).decode(),
        }
    )
    + "\n"
)
