"""
Makes fixtures/noise: what ``torch.randn`` on the CPU gives. golden.json: the first draw, for some seeds and counts; successive.json: several
draws of one generator.

Run from the repository's root: ``python scripts/golden/noise_golden.py`` (torch 2.15).
"""

import json
from pathlib import Path

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


def row(seed: int, values: torch.Tensor, **further: int) -> dict:
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


def seeded(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for name, rows in (("golden", first_draws()), ("successive", successive_draws())):
        (FIXTURES / f"{name}.json").write_text(json.dumps(rows, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
