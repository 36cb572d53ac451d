"""
Makes fixtures/embeddings: textual inversions of one and of three vectors for models of fixtures/golden, as files with clip_l and clip_g, and
pictures that diffusers draws with them (load_textual_inversion of each text encoder). Run with the packages of requirements.txt.
"""

import json

import numpy as np
import torch
from pipeline_golden import CONFIGS
from safetensors.torch import save_file
from tiny_sdxl import OUT, ROOT, describe, load_pipeline

FOLDER = ROOT / "fixtures" / "embeddings"
SIZE = {"steps": 2, "guidance": 5, "width": 64, "height": 64}
WORDS = {"fox-fur": 3, "mist": 1}
JOBS = [
    {"model": "deep", "prompt": "a Fox-Fur in the snow, fox-fur", "negative": "mist", "seed": 1},
    {"model": "flat", "prompt": "mist", "seed": 2},
]


@torch.no_grad()
def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    manifest = []
    for number, job in enumerate(JOBS):
        name = job["model"]
        pipe = load_pipeline(OUT / name, CONFIGS[name]["variant"])
        encoders = {"clip_l": (pipe.tokenizer, pipe.text_encoder), "clip_g": (pipe.tokenizer_2, pipe.text_encoder_2)}
        files = []
        for word, count in WORDS.items():
            seeded = torch.Generator("cpu").manual_seed(number * 10 + count)
            state = {}
            for key, (tokenizer, encoder) in encoders.items():
                table = encoder.get_input_embeddings().weight
                state[key] = torch.randn(count, table.shape[1], generator=seeded) * table.std() * 2
                pipe.load_textual_inversion(state[key], token=word, tokenizer=tokenizer, text_encoder=encoder)
            (FOLDER / name).mkdir(exist_ok=True)
            files.append(f"{name}/{word}.safetensors")
            save_file(state, FOLDER / files[-1])
        image = pipe(
            job["prompt"].lower(), negative_prompt=job.get("negative"), num_inference_steps=SIZE["steps"],
            guidance_scale=SIZE["guidance"], width=SIZE["width"], height=SIZE["height"],
            generator=torch.Generator("cpu").manual_seed(job["seed"]),
        ).images[0]  # fmt: skip
        print(f"{name}: {describe(np.asarray(image))}")
        image.save(FOLDER / name / "picture.png")
        manifest.append({**job, **SIZE, "embeddings": files, "file": f"{name}/picture.png"})
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
