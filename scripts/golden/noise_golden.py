"""Makes fixtures/noise/golden.json: what ``torch.randn`` on the CPU gives for some seeds and counts.

Run from the repository's root: ``python scripts/golden/noise_golden.py`` (torch 2.15).
"""

import json
from pathlib import Path

import torch

FIXTURE = Path("fixtures/noise/golden.json")
SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**32 + 5, 2**53 - 1]
COUNTS = [1, 2, 5, 15, 16, 17, 23, 31, 32, 1000, 1024, 4 * 64 * 64]
WHOLE = 32  # longer ones are kept in part


def indices(count: int) -> list[int]:
    """All of a short one; of a long one, both ends and 60 places between."""
    if count <= WHOLE:
        return list(range(count))
    ends = {*range(16), *range(count - 32, count)}
    return sorted(ends | {(place * 7919 + 104729) % count for place in range(60)})


def main() -> None:
    rows = []
    for seed in SEEDS:
        for count in COUNTS:
            values = torch.randn(count, generator=torch.Generator("cpu").manual_seed(seed)).tolist()
            kept = indices(count)
            rows.append({"seed": seed, "count": count, "indices": kept, "values": [values[at] for at in kept]})
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(json.dumps(rows, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
