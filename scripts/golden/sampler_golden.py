"""Makes fixtures/sampler/golden.json: whole runs of diffusers' schedulers over a toy model, of k-diffusion's samplers that diffusers
has none of, and the noise levels of A1111's schedules.

Run from the repository's root: ``python scripts/golden/sampler_golden.py`` (diffusers 0.42, torch 2.15, scipy 1.17).
"""

import json
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from scipy import stats

FIXTURE = Path("fixtures/sampler/golden.json")
COUNT = 20  # values of a latent
KEPT = [0, 7, 13, 19]
SEED = 5

SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading", "steps_offset": 1}
V = {"prediction_type": "v_prediction"}
ZSNR = {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
KARRAS, EXPONENTIAL, BETA = ({f"use_{name}_sigmas": True} for name in ("karras", "exponential", "beta"))
TRAILING, LINSPACE = {"timestep_spacing": "trailing"}, {"timestep_spacing": "linspace"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
NO_CLIP = {"clip_sample": False}
PLMS = {"skip_prk_steps": True}
SMALL = {"final_sigmas_type": "sigma_min"}  # at zero diffusers' bh1 is no number
MULTI = "DPMSolverMultistepScheduler"
COSXL = {"sigma_max": 120.0, "sigma_data": 1.0, "sigma_schedule": "exponential", **V}

# (class, further settings, steps)
RUNS = [
    *[(name, more, 8) for name in (
        "EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "LMSDiscreteScheduler",
    ) for more in ({}, KARRAS, {**EXPONENTIAL, **LINSPACE}, {**BETA, **TRAILING}, V)],
    *[("EulerAncestralDiscreteScheduler", more, 8) for more in ({}, TRAILING, {**LINSPACE, **V}, ZSNR)],
    ("EulerDiscreteScheduler", ZSNR, 7),
    ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"}, 5),
    ("HeunDiscreteScheduler", {"clip_sample": True, "clip_sample_range": 0.8}, 5),
    ("LMSDiscreteScheduler", TRAILING, 3),
    *[(MULTI, more, steps) for steps in (4, 17) for more in (
        {}, TRAILING, LINSPACE, KARRAS, EXPONENTIAL, BETA, V, {"solver_order": 3}, {"solver_order": 1}, {"solver_type": "heun"},
        {"euler_at_final": True}, {"lower_order_final": False}, {"solver_order": 3, **KARRAS, **V}, SDE, {**SDE, **KARRAS}, {**SDE, "solver_type": "heun"},
        {**SDE, "solver_order": 3}, {**SDE, **V, **TRAILING}, {"final_sigmas_type": "sigma_min"}, ZSNR,
    )],
    *[("DDIMScheduler", {**NO_CLIP, **more}, 7) for more in ({}, {"set_alpha_to_one": False}, TRAILING, LINSPACE, V, ZSNR, {"prediction_type": "sample"})],
    ("DDIMScheduler", {}, 6),  # clips
    *[("PNDMScheduler", {**PLMS, **more}, 10) for more in ({}, {"set_alpha_to_one": True}, TRAILING, V)],
    ("PNDMScheduler", PLMS, 1),
    ("PNDMScheduler", PLMS, 2),
    *[("UniPCMultistepScheduler", more, steps) for steps in (3, 9) for more in (
        {}, TRAILING, KARRAS, V, {"solver_order": 3}, {"solver_order": 1}, {"solver_order": 3, **EXPONENTIAL}, {"solver_type": "bh1", **SMALL}, {"solver_order": 3, "solver_type": "bh1", **SMALL},
        {"disable_corrector": [0, 2]}, {"final_sigmas_type": "sigma_min"}, {"final_sigmas_type": "sigma_min", "lower_order_final": False}, ZSNR,
    )],
    *[("DDPMScheduler", {**NO_CLIP, **more}, 7) for more in ({}, TRAILING, LINSPACE, V, ZSNR, {"variance_type": "fixed_small_log"}, {"variance_type": "fixed_large"}, {"steps_offset": 0})],
    ("DDPMScheduler", {}, 5),  # clips
    *[("DEISMultistepScheduler", more, steps) for steps in (3, 16) for more in (
        {}, TRAILING, LINSPACE, V, KARRAS, EXPONENTIAL, BETA, {"solver_order": 1}, {"solver_order": 3}, {"solver_order": 3, **KARRAS, "lower_order_final": False},
    )],
    *[("DPMSolverSinglestepScheduler", more, steps) for steps in (1, 6, 7, 8) for more in (
        {}, KARRAS, V, {"solver_order": 1}, {"solver_order": 3}, {"solver_type": "heun"}, {"solver_order": 3, "solver_type": "heun"}, SDE, {"solver_order": 3, **SDE},
        {"solver_order": 3, "solver_type": "heun", **SDE}, SMALL, {"solver_order": 3, **SMALL}, {"lower_order_final": True, **SMALL},
    )],
    *[("EDMEulerScheduler", more, 6) for more in ({}, COSXL, SMALL)],
    ("EDMEulerScheduler", {"rho": 5.0}, 1),
    *[("EDMDPMSolverMultistepScheduler", more, steps) for steps in (4, 16) for more in ({}, COSXL, {"solver_order": 3}, {"solver_type": "heun"}, SDE, SMALL)],
    *[("LCMScheduler", more, 4) for more in ({}, V, {"original_inference_steps": 30}, {"clip_sample": True})],
    ("LCMScheduler", {}, 1),
    *[("TCDScheduler", more, 4) for more in ({}, V, {"original_inference_steps": 20})],
    ("TCDScheduler", {}, 1),
]  # fmt: skip


def model(latent: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """A toy: shape it after nothing, but let every step and timestep count."""
    return 0.7 * latent + 0.3 * torch.sin(3 * latent) + 0.2 * torch.cos(0.01 * timestep.float())


def kept(latent: torch.Tensor) -> list[float]:
    return [float(f"{value:.8g}") for value in latent.flatten()[KEPT].tolist()]


def run(name: str, more: dict, steps: int) -> dict:
    config = {**SDXL, **more}
    # from_config passes over what a class doesn't know.
    scheduler = getattr(diffusers, name).from_config(config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator("cpu").manual_seed(SEED)
    latent = torch.randn(1, 1, 4, COUNT // 4, generator=generator) * scheduler.init_noise_sigma
    draws = name.startswith(("EulerAncestral", "KDPM2Ancestral", MULTI, "EDMDPM", "DPMSolverSinglestep", "DDPM", "LCM", "TCD"))
    after = []
    for t in scheduler.timesteps:
        prediction = model(scheduler.scale_model_input(latent, t), t)
        latent = scheduler.step(prediction, t, latent, **({"generator": generator} if draws else {})).prev_sample
        after.append(kept(latent))
    timesteps = [float(t) for t in scheduler.timesteps]
    return {"config": {"_class_name": name, **config}, "steps": steps, "timesteps": timesteps, "after": after}


class Denoiser:
    """k-diffusion's wrapper of a model that predicts noise: sigma -> timestep by logarithms, and the clean latent."""

    def __init__(self, scheduler: EulerDiscreteScheduler) -> None:
        self.scheduler = scheduler
        self.logs = np.log(np.array(((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5))

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        own = (self.scheduler.sigmas[:-1] == sigma).nonzero()
        t = self.scheduler.timesteps[own[0]] if len(own) else self.scheduler._sigma_to_t(sigma.numpy(), self.logs)
        return x - sigma * model(x / (sigma**2 + 1) ** 0.5, torch.as_tensor(t))


def ancestral(sigma_from: torch.Tensor, sigma_to: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    up = min(sigma_to, (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5)
    return (sigma_to**2 - up**2) ** 0.5, up


def dpmpp_2s_ancestral(denoise, x, sigmas, i, randn, memory):
    sigma, following = sigmas[i], sigmas[i + 1]
    denoised = denoise(x, sigma)
    down, up = ancestral(sigma, following)
    if down == 0:
        return denoised
    t, t_next = -sigma.log(), -down.log()
    s = t + 0.5 * (t_next - t)
    x_2 = ((-s).exp() / (-t).exp()) * x - (-(t_next - t) * 0.5).expm1() * denoised
    denoised_2 = denoise(x_2, (-s).exp())
    x = ((-t_next).exp() / (-t).exp()) * x - (-(t_next - t)).expm1() * denoised_2
    return x + randn() * up


def dpmpp_sde(denoise, x, sigmas, i, randn, memory):
    sigma, following = sigmas[i], sigmas[i + 1]
    denoised = denoise(x, sigma)
    if following == 0:
        return denoised
    t, t_next = -sigma.log(), -following.log()
    middle = (-(t + 0.5 * (t_next - t))).exp()
    # A Brownian path over sigma, by the increments of its two halves.
    first, second = randn(), randn()
    whole = ((sigma - middle) ** 0.5 * first + (middle - following) ** 0.5 * second) / (sigma - following) ** 0.5
    down, up = ancestral(sigma, middle)
    x_2 = (down / sigma) * x - (t + down.log()).expm1() * denoised + first * up
    denoised_2 = denoise(x_2, middle)
    down, up = ancestral(sigma, following)
    return (down / sigma) * x - (t + down.log()).expm1() * denoised_2 + whole * up


def dpmpp_3m_sde(denoise, x, sigmas, i, randn, memory):
    sigma, following = sigmas[i], sigmas[i + 1]
    denoised = denoise(x, sigma)
    if following == 0:
        return denoised
    h = sigma.log() - following.log()
    h_eta = 2 * h
    x = (-h_eta).exp() * x + (-h_eta).expm1().neg() * denoised
    phi_2 = h_eta.neg().expm1() / h_eta + 1
    if len(memory) > 1:
        (denoised_2, h_2), (denoised_1, h_1) = memory[-2:]
        r0, r1 = h_1 / h, h_2 / h
        d1_0, d1_1 = (denoised - denoised_1) / r0, (denoised_1 - denoised_2) / r1
        d1 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1)
        d2 = (d1_0 - d1_1) / (r0 + r1)
        x = x + phi_2 * d1 - (phi_2 / h_eta - 0.5) * d2
    elif memory:
        denoised_1, h_1 = memory[-1]
        x = x + phi_2 * (denoised - denoised_1) / (h_1 / h)
    memory.append((denoised, h))
    return x + randn() * following * (-2 * h).expm1().neg().sqrt()


K_SAMPLERS = {"dpmpp-2s-a": dpmpp_2s_ancestral, "dpmpp-sde": dpmpp_sde, "dpmpp-3m-sde": dpmpp_3m_sde}


def k_run(name: str, more: dict, steps: int) -> dict:
    config = {**SDXL, **more}
    scheduler = EulerDiscreteScheduler(**config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator("cpu").manual_seed(SEED)
    randn = lambda: torch.randn(1, 1, 4, COUNT // 4, generator=generator)  # noqa: E731
    latent = randn() * scheduler.init_noise_sigma
    denoise, memory, after = Denoiser(scheduler), [], []
    for i in range(steps):
        latent = K_SAMPLERS[name](denoise, latent, scheduler.sigmas, i, randn, memory)
        after.append(kept(latent))
    return {"config": {"_class_name": "EulerDiscreteScheduler", **config}, "sampler": name, "steps": steps, "after": after}


def levels() -> list[dict]:
    """A1111's schedules over SDXL's levels (modules/sd_schedulers.py of 1.10), in fp64 on fp32 levels."""
    betas = EulerDiscreteScheduler(**SDXL)
    trained = (((1 - betas.alphas_cumprod) / betas.alphas_cumprod) ** 0.5).double().numpy()
    logs, low, high = np.log(trained), trained[0], trained[-1]
    of_t = lambda ts: np.exp(np.interp(ts, np.arange(1000), logs))  # noqa: E731
    aligned = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029]
    rows = []
    for n in (1, 2, 9, 11, 30):
        ramp = np.linspace(0, 1, n)
        interpolated = np.exp(np.interp(np.linspace(0, 1, n), np.linspace(0, 1, 11), np.log(aligned[::-1])))[::-1]
        arcs = np.arange(n + 1) / n
        found = {
            "polyexponential": np.exp(np.linspace(np.log(high), np.log(low), n)),
            "sgm-uniform": of_t(np.linspace(999, 0, n + 1)[:-1]),
            "normal": of_t(np.linspace(999, 0, n)),
            "simple": np.array([trained[-(1 + int(x * (1000 / n)))] for x in range(n)]),
            "align-your-steps": np.array(aligned) if n == 11 else interpolated,
            "kl-optimal": np.tan(arcs * np.arctan(low) + (1 - arcs) * np.arctan(high)),
        }
        rows += [{"schedule": name, "steps": n, "sigmas": [*values.tolist(), *([0.0] if len(values) == n else [])]} for name, values in found.items()]
        rows.append({"quantiles": [[1 - x, float(stats.beta.ppf(1 - x, 0.6, 0.6))] for x in ramp]})
    return rows


def distilled() -> list[list[int]]:
    """LCM's timesteps for 1, 2, ... steps."""
    scheduler = diffusers.LCMScheduler()
    rows = []
    for steps in range(1, 51):
        scheduler.set_timesteps(steps)
        rows.append(scheduler.timesteps.tolist())
    return rows


def main() -> None:
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    k_runs = [k_run(name, more, steps) for name in K_SAMPLERS for more in ({}, KARRAS, TRAILING) for steps in (1, 2, 8)]
    golden = {"kept": KEPT, "seed": SEED, "count": COUNT, "runs": [*(run(*each) for each in RUNS), *k_runs], "levels": levels(), "distilled": distilled()}
    FIXTURE.write_text(json.dumps(golden, separators=(",", ":"), allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
