"""Makes fixtures/sampler/*.png and pictures.json: StableDiffusionXLPipeline in fp32 over the models of fixtures/golden, with other schedulers than
theirs, chosen as users of diffusers do (``Scheduler.from_config(pipe.scheduler.config, ...)``), and with guidance_rescale.

Run from the repository's root: ``python scripts/golden/sampler_pictures.py`` (diffusers 0.42, torch 2.15, scipy 1.17).
"""

import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_sdxl import DEMO, OUT, describe, load_pipeline  # noqa: E402

FIXTURES = Path("fixtures/sampler")
KARRAS = {"use_karras_sigmas": True}
VARIANTS = {"demo": "fp16", "deep": None, "odd": "fp16", "conv-proj": None}

# (model, class or None for the model's own, further settings, our words for it, steps)
JOBS = [
    ("demo", "DPMSolverMultistepScheduler", KARRAS, {"scheduler": "DPM++ 2M Karras"}, 6),
    ("demo", "EulerAncestralDiscreteScheduler", {}, {"sampler": "euler-a"}, 5),
    ("demo", None, {}, {"guidanceRescale": 0.7}, 4),
    ("deep", "HeunDiscreteScheduler", {"use_beta_sigmas": True}, {"sampler": "heun", "schedule": "beta"}, 4),
    ("deep", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", **KARRAS}, {"sampler": "dpmpp_2m_sde", "schedule": "karras"}, 5),
    ("deep", "UniPCMultistepScheduler", {}, {"sampler": "unipc"}, 5),
    ("deep", "DDIMScheduler", {"clip_sample": False}, {"sampler": "ddim"}, 4),
    ("deep", "PNDMScheduler", {"skip_prk_steps": True, "timestep_spacing": "leading"}, {"sampler": "plms", "schedule": "leading"}, 5),
    ("deep", "LCMScheduler", {}, {"sampler": "lcm"}, 4),
    ("deep", "TCDScheduler", {}, {"sampler": "tcd"}, 4),
    ("conv-proj", "KDPM2AncestralDiscreteScheduler", {}, {"sampler": "dpm2-a"}, 3),
    ("conv-proj", "LMSDiscreteScheduler", {}, {"sampler": "lms"}, 5),
    ("odd", "DDIMScheduler", {"clip_sample": False}, {"sampler": "ddim", "guidanceRescale": 0.5}, 4),
    ("odd", "DPMSolverMultistepScheduler", {}, {"sampler": "dpmpp-2m"}, 5),
]  # fmt: skip

# From fixtures/sampler/init.png, by strength.
FROM_PICTURE = [
    ("deep", "EulerAncestralDiscreteScheduler", {}, {"sampler": "euler-a", "strength": 0.6}, 6),
    ("deep", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", **KARRAS}, {"sampler": "dpmpp-2m-sde", "schedule": "karras", "strength": 0.7}, 8),
    ("deep", "HeunDiscreteScheduler", {}, {"sampler": "heun", "strength": 0.5}, 5),
    ("deep", "DDIMScheduler", {"clip_sample": False}, {"sampler": "ddim", "strength": 0.75}, 5),
    ("deep", "UniPCMultistepScheduler", {}, {"sampler": "unipc", "strength": 0.6}, 7),
    ("deep", "LCMScheduler", {}, {"sampler": "lcm", "strength": 0.75}, 4),
]  # fmt: skip


def main() -> None:
    rows = []
    init = Image.open("fixtures/from-pictures/init.png").convert("RGB").crop((10, 4, 82, 76))
    init.save(FIXTURES / "init.png")
    for number, (model, name, more, words, steps) in enumerate([*JOBS, *FROM_PICTURE]):
        pipe = load_pipeline(DEMO if model == "demo" else OUT / model, VARIANTS[model])
        if name:
            pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **more)
        side = 128 if model == "demo" else 72
        job = {"prompt": "a windmill on a hill", "seed": 20 + number, "steps": steps, "guidance": 4, "width": side, "height": side}
        shape = {"width": side, "height": side}
        if "strength" in words:
            pipe = StableDiffusionXLImg2ImgPipeline(**pipe.components)
            shape = {"image": init, "strength": words["strength"]}
        image = pipe(
            job["prompt"], num_inference_steps=steps, guidance_scale=4, **shape,
            # The pipeline's 0 would take TCD's own 0.3 away; DDIM's is 0.
            eta=0.3 if name == "TCDScheduler" else 0.0, guidance_rescale=words.get("guidanceRescale", 0.0), generator=torch.Generator("cpu").manual_seed(job["seed"]),
        ).images[0]  # fmt: skip
        file = f"{number:02}-{model}.png"
        print(f"{file}: {describe(np.asarray(image))}")
        image.save(FIXTURES / file)
        rows.append({"model": model, "job": {**job, **words}, "file": file})
    (FIXTURES / "pictures.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
