"""Makes fixtures/edm/*.png and pictures.json: SDXL pipelines in fp32 over fixtures/golden/deep as a model of EDM training would have it, with the
scheduler of CosXL (velocity, exponential levels) and that of Playground 2.5, whose latents are normalised (latents_mean, latents_std).

Run from the repository's root: ``python scripts/golden/edm_pictures.py`` (diffusers 0.42, torch 2.15).
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
from tiny_sdxl import OUT, describe, load_pipeline  # noqa: E402

FIXTURES = Path("fixtures/edm")
COSXL = {
    "scheduler": {
        "_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0,
        "sigma_schedule": "exponential", "prediction_type": "v_prediction",
    },
    "vae": {},
}  # fmt: skip
PLAYGROUND = {
    "scheduler": {
        "_class_name": "EDMDPMSolverMultistepScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0,
        "prediction_type": "epsilon",
    },
    "vae": {"latents_mean": [-0.4, 0.5, -0.3, 0.6], "latents_std": [1.7, 1.2, 1.3, 1.1], "scaling_factor": 0.5},
}  # fmt: skip

# (kind, settings, steps, strength)
JOBS = [("cosxl", COSXL, 5, None), ("playground", PLAYGROUND, 6, None), ("playground", PLAYGROUND, 6, 0.6)]


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (kind, config, steps, strength) in enumerate(JOBS):
        pipe = load_pipeline(OUT / "deep", None)
        settings = dict(config["scheduler"])
        pipe.scheduler = getattr(diffusers, settings.pop("_class_name"))(**settings)
        pipe.vae.register_to_config(**config["vae"])
        job = {"prompt": "a windmill on a hill", "seed": 40 + number, "steps": steps, "guidance": 4, "width": 72, "height": 72}
        shape = {"width": 72, "height": 72}
        if strength is not None:
            pipe = StableDiffusionXLImg2ImgPipeline(**pipe.components)
            shape = {"image": Image.open("fixtures/sampler/init.png"), "strength": strength}
            job["strength"] = strength
        generator = torch.Generator("cpu").manual_seed(job["seed"])
        image = pipe(job["prompt"], num_inference_steps=steps, guidance_scale=4, generator=generator, **shape).images[0]
        file = f"{number:02}-{kind}.png"
        print(f"{file}: {describe(np.asarray(image))}")
        image.save(FIXTURES / file)
        rows.append({"kind": kind, "config": config, "job": job, "file": file})
    (FIXTURES / "pictures.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
