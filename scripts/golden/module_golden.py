"""
Makes fixtures/module: what each network of some golden models gives by itself, in diffusers and transformers at fp32.

Run with the packages of requirements.txt, after pipeline_golden.py: python scripts/golden/module_golden.py
"""

import json

import torch
from pipeline_golden import CONFIGS, FAMILY
from safetensors.torch import save_file
from tiny_sdxl import OUT, ROOT, load_pipeline

FIXTURES = ROOT / "fixtures" / "module"
PROMPT = f"two boats, {FAMILY}"
TIMESTEP = 401.5
# Not square, odd on the way down, another size and crop than the picture's own.
LATENT = (9, 10)
TIME_IDS = [[72, 80, 0, 0, 72, 80], [1024, 640, 8, 16, 512, 512]]
VAE_LATENT = (5, 7)


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name in ("deep", "nested"):
        pipe = load_pipeline(OUT / name, CONFIGS[name]["variant"])
        generator = torch.Generator().manual_seed(21)
        draw = lambda *shape: torch.randn(shape, generator=generator)
        arrays = {}
        with torch.no_grad():
            for part, encoder, tokenizer in (
                ("text_encoder", pipe.text_encoder, pipe.tokenizer),
                ("text_encoder_2", pipe.text_encoder_2, pipe.tokenizer_2),
            ):
                ids = tokenizer(PROMPT, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
                result = encoder(ids, output_hidden_states=True)
                arrays[f"{part}.hidden"] = result.hidden_states[-2]
            arrays["text_encoder_2.pooled"] = result.text_embeds
            unet = pipe.unet
            latent, context = draw(2, unet.config.in_channels, *LATENT), draw(2, 7, unet.config.cross_attention_dim)
            pooled = draw(2, pipe.text_encoder_2.config.projection_dim)
            added = {"text_embeds": pooled, "time_ids": torch.tensor(TIME_IDS, dtype=torch.float32)}
            prediction = unet(latent, TIMESTEP, context, added_cond_kwargs=added).sample
            arrays |= {"unet.latent": latent, "unet.context": context, "unet.pooled": pooled, "unet.prediction": prediction}
            latent = draw(1, pipe.vae.config.latent_channels, *VAE_LATENT)
            arrays |= {"vae.latent": latent, "vae.image": pipe.vae.decode(latent).sample}
        metadata = {"prompt": PROMPT, "timestep": str(TIMESTEP), "time_ids": json.dumps(TIME_IDS)}
        file = FIXTURES / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in arrays.items()}, file, metadata)
        file.chmod(0o644)
        print(name, {key: f"{list(value.shape)} std {value.std():.3f}" for key, value in arrays.items()})


if __name__ == "__main__":
    main()
