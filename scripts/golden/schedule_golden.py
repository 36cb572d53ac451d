"""Makes fixtures/schedule/golden.json: what diffusers' EulerDiscreteScheduler gives over a grid of configurations.

Run from the repository's root: ``python scripts/golden/schedule_golden.py`` (diffusers 0.42, torch 2.15).
"""

import json
from pathlib import Path

import torch
from diffusers import EulerDiscreteScheduler
from diffusers.models.embeddings import get_timestep_embedding

FIXTURE = Path("fixtures/schedule/golden.json")
STEPS = [1, 2, 5, 20, 30, 50, 999]
KEPT = 16  # values kept of each end of a long schedule

SDXL = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
CONFIGS = [
    SDXL,
    {},
    {"beta_schedule": "squaredcos_cap_v2"},
    {**SDXL, "timestep_spacing": "trailing"},
    {**SDXL, "timestep_spacing": "linspace"},
    {**SDXL, "steps_offset": 0, "prediction_type": "v_prediction"},
    {**SDXL, "use_karras_sigmas": True},
    {**SDXL, "use_karras_sigmas": True, "timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"},
    {**SDXL, "use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 12.0},
    {**SDXL, "use_exponential_sigmas": True},
    {**SDXL, "use_exponential_sigmas": True, "sigma_min": 0.01, "sigma_max": 10.0, "timestep_spacing": "linspace"},
    {**SDXL, "interpolation_type": "log_linear"},
    {**SDXL, "interpolation_type": "log_linear", "use_karras_sigmas": True, "timestep_spacing": "linspace"},
    {**SDXL, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    {**SDXL, "final_sigmas_type": "sigma_min"},
    {**SDXL, "timestep_type": "continuous", "prediction_type": "v_prediction"},
    {**SDXL, "timestep_type": "continuous", "prediction_type": "v_prediction", "interpolation_type": "log_linear"},
    {**SDXL, "timestep_type": "continuous", "prediction_type": "epsilon"},
    {**SDXL, "num_train_timesteps": 1234, "timestep_spacing": "trailing"},
    {**SDXL, "prediction_type": "sample"},
    {"trained_betas": [0.001 * (place + 1) for place in range(100)], "num_train_timesteps": 100},
    {"beta_schedule": "linear", "rescale_betas_zero_snr": True, "use_karras_sigmas": True},
    {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing", "use_exponential_sigmas": True},
]


def ends(values: list[float]) -> list[list[float]]:
    """[index, value] pairs: all of a short list, both ends and every 37th of a long one."""
    count = len(values)
    return [[at, v] for at, v in enumerate(values) if count <= 60 or at < KEPT or at >= count - KEPT or at % 37 == 0]


def schedules() -> list[dict[str, object]]:
    rows = []
    for config in CONFIGS:
        for steps in STEPS:
            if steps > config.get("num_train_timesteps", 1000):
                continue
            scheduler = EulerDiscreteScheduler(**config)
            scheduler.set_timesteps(steps)
            timesteps = scheduler.timesteps.tolist()
            sigmas = scheduler.sigmas.tolist()[: len(timesteps) + 1]
            rows.append(
                {
                    "config": config,
                    "steps": steps,
                    "count": len(timesteps),
                    "timesteps": ends(timesteps),
                    "sigmas": ends(sigmas),
                    "init": float(scheduler.init_noise_sigma),
                }
            )
    return rows


def steps() -> list[dict[str, object]]:
    """One trajectory for each prediction type, with random predictions."""
    rows = []
    generator = torch.Generator("cpu").manual_seed(9)
    for kind in ("epsilon", "v_prediction", "sample"):
        scheduler = EulerDiscreteScheduler(**SDXL, prediction_type=kind)
        scheduler.set_timesteps(4)
        sample = torch.randn(1, 1, 3, 5, generator=generator) * scheduler.init_noise_sigma
        trajectory = []
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(sample, t)
            index = scheduler.step_index
            pair = torch.randn(2, 1, 3, 5, generator=generator)
            uncond, cond = pair.chunk(2)
            guided = uncond + 5.3 * (cond - uncond)
            after = scheduler.step(guided, t, sample).prev_sample
            trajectory.append(
                {
                    "sigma": scheduler.sigmas[index].item(),
                    "sigmaNext": scheduler.sigmas[index + 1].item(),
                    "sample": sample.flatten().tolist(),
                    "scaled": scaled.flatten().tolist(),
                    "uncond": uncond.flatten().tolist(),
                    "cond": cond.flatten().tolist(),
                    "guided": guided.flatten().tolist(),
                    "after": after.flatten().tolist(),
                }
            )
            sample = after
        rows.append({"predictionType": kind, "scale": 5.3, "trajectory": trajectory})
    return rows


def embeddings() -> list[dict[str, object]]:
    rows = []
    for dim, flip, shift in ((320, True, 0), (256, True, 0), (32, True, 0), (64, False, 1), (7, False, 0.5)):
        for t in (0.0, 1.0, 999.0, 21.5, 966.6667, 1024.0, 128.0, -0.6):
            values = get_timestep_embedding(torch.tensor([t]), dim, flip_sin_to_cos=flip, downscale_freq_shift=shift)
            rows.append({"t": t, "dim": dim, "flip": flip, "shift": shift, "values": values[0].tolist()})
    return rows


def main() -> None:
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    golden = {"schedules": schedules(), "steps": steps(), "embeddings": embeddings()}
    FIXTURE.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
