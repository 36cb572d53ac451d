"""
Makes fixtures/noise: what ``torch.randn`` on the CPU gives. golden.json: the first draw, for some seeds and counts; successive.json: several
draws of one generator; sized.json: draws of several sizes. philox.json: the algorithm of torch's CUDA generator in numpy, checked with the values that
A1111's web UI publishes for seed 0. variations.json: A1111's slerp between the noises of two seeds, in torch.

Run from the repository's root: ``python scripts/golden/noise_golden.py`` (torch 2.15).
"""

import json
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path("fixtures/noise")
SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**32 + 5, 2**53 - 1]
COUNTS = [1, 2, 5, 15, 16, 17, 23, 31, 32, 1000, 1024, 4 * 64 * 64]
SUCCESSIVE_SEEDS = [7, 2**32 + 5]
SUCCESSIVE_COUNTS = [1, 4, 5, 15, 16, 23, 1000, 4 * 64 * 64]
DRAWS = 5
WHOLE = 32  # longer ones are kept in part


def indices(count: int) -> list[int]:
    """All of a short one; of a long one, both ends and 60 places between."""
    if count <= WHOLE:
        return list(range(count))
    ends = {*range(16), *range(count - 32, count)}
    return sorted(ends | {(place * 7919 + 104729) % count for place in range(60)})


def row(seed: int | str, values: torch.Tensor, **further: int) -> dict:
    kept = indices(len(values))
    return {"seed": seed, "count": len(values), **further, "indices": kept, "values": values[kept].tolist()}


def first_draws() -> list[dict]:
    return [row(seed, torch.randn(count, generator=seeded(seed))) for seed in SEEDS for count in COUNTS]


def successive_draws() -> list[dict]:
    rows = []
    for seed in SUCCESSIVE_SEEDS:
        for count in SUCCESSIVE_COUNTS:
            generator = seeded(seed)
            rows += [row(seed, torch.randn(count, generator=generator), place=place) for place in range(DRAWS)]
    return rows


def sized_draws() -> list[dict]:
    generator = seeded(3)
    return [row(3, torch.randn(count, generator=generator), place=place) for place, count in enumerate((20, 5, 64, 17, 64, 64))]


def philox(seed: int, offset: int, count: int) -> np.ndarray:
    """Philox 4x32-10 and the first of Box-Muller's two normals; the counter is (draw, 0, value, 0)."""
    counter = [np.full(count, offset, np.uint64), *(np.zeros(count, np.uint64) for _ in range(3))]
    counter[2] = np.arange(count, dtype=np.uint64)
    key = [seed & 0xFFFFFFFF, seed >> 32]
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        first, second = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        counter = [
            (second >> shift) ^ counter[1] ^ np.uint64(key[0]), second & mask,
            (first >> shift) ^ counter[3] ^ np.uint64(key[1]), first & mask,
        ]  # fmt: skip
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    scale, angle = np.float32(2.3283064e-10), np.float32(2.3283064e-10 * 6.2831855)
    u = counter[0].astype(np.float64) * scale + scale / 2
    v = counter[1].astype(np.float64) * angle + angle / 2
    return (np.sqrt(-2.0 * np.log(u)) * np.sin(v)).astype(np.float32)


def philox_draws() -> list[dict]:
    published = [-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564, -0.62285122, -0.32838709]
    assert np.allclose(philox(0, 0, 12)[:8], published, atol=1e-6)
    return [
        row(str(seed), torch.from_numpy(philox(seed, place, count)), place=place)
        for seed in (0, 42, 2**32 + 5, 2**64 - 1)
        for place in (0, 1, 7)
        for count in (12, 1000)
    ]


def slerp(share: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """modules/rng.py of A1111's web UI: over dimension 1 of a latent [C, H, W]."""
    low_norm = low / torch.norm(low, dim=1, keepdim=True)
    high_norm = high / torch.norm(high, dim=1, keepdim=True)
    dot = (low_norm * high_norm).sum(1)
    if dot.mean() > 0.9995:
        return low * share + high * (1 - share)
    omega = torch.acos(dot)
    so = torch.sin(omega)
    return (torch.sin((1 - share) * omega) / so).unsqueeze(1) * low + (torch.sin(share * omega) / so).unsqueeze(1) * high


def variations() -> list[dict]:
    rows = []
    for seed, subseed, share in ((1, 2, 0.1), (1, 2, 0.9), (1, 2, 1.0), (7, 2**40, 0.5), (3, 3, 0.25)):
        low, high = (torch.randn(4, 6, 5, generator=seeded(each)) for each in (seed, subseed))
        rows.append({**row(seed, slerp(share, low, high).flatten()), "subseed": subseed, "share": share})
    return rows


def seeded(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name, rows in (("golden", first_draws()), ("successive", successive_draws()), ("sized", sized_draws()), ("philox", philox_draws()), ("variations", variations())):
        (FIXTURES / f"{name}.json").write_text(json.dumps(rows, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
