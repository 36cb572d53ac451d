"""
Makes fixtures/lzr2: an artifact of odd records with the weights numpy decodes from it, and two artifacts over the golden
model "deep" (run pipeline_golden.py afterwards: it makes their pictures).

Run with the packages of requirements.txt: python scripts/golden/lzr2_golden.py
"""

import hashlib
import json

import numpy as np
from lzr2_format import Record, codebook, decode_artifact, encode_artifact
from safetensors.torch import load_file
from tiny_sdxl import OUT, ROOT

FIXTURES = ROOT / "fixtures" / "lzr2"
MODEL = "deep"


def fit(key: str, weight: np.ndarray, dp: int, rng: np.random.Generator, *, cut: int = 0, spare: int = 0, share: float = 0.1) -> Record:
    """
    `weight` as a lattice of dimension dp with `cut` blocks fewer, or `spare` more, than its rows need, and `share` of its
    cells in the overlay: those where the lattice is worst.
    """
    matrix = weight.reshape(weight.shape[0], -1)
    rows, columns = matrix.shape
    scale = (1.2 * np.abs(matrix).mean(1) + 1e-3).astype(np.float32)
    mean = rng.normal(0, 0.1, rows).astype(np.float32)
    codes = np.clip(np.round(matrix / scale[:, None] - mean[:, None]), -1, 1)
    blocks = -(-columns // dp) - cut + spare
    padded = np.zeros((rows, blocks * dp))
    kept = min(columns, blocks * dp)
    padded[:, :kept] = codes[:, :kept]
    # What lies behind the last column must be cut: make it loud.
    padded[:, columns:] = 1
    powers = 3 ** np.arange(dp - 1, -1, -1)
    indices = ((padded.reshape(rows, blocks, dp) + 1) @ powers).astype(np.uint16)
    assert (codebook(dp)[indices].reshape(rows, -1) == padded).all()
    record = Record(key, weight.shape, dp=dp, mean=mean, scale=scale, indices=indices)
    found = np.zeros_like(matrix)
    found[:, :kept] = codes[:, :kept]
    error = np.abs((found + mean[:, None]) * scale[:, None] - matrix)
    worst = np.argsort(-error, axis=None, kind="stable")[: int(share * matrix.size)]
    record.overlay = [(int(at) // columns, int(at) % columns, float(matrix.flat[at])) for at in worst]
    return record


def overlay_only(key: str, weight: np.ndarray, *, stored_blocks: bool) -> Record:
    """As the published artifact: every cell in the overlay, no blocks (an empty zlib stream, or none)."""
    matrix = weight.reshape(weight.shape[0], -1)
    rows, columns = matrix.shape
    overlay = [(row, column, float(matrix[row, column])) for row in range(rows) for column in range(columns)]
    indices = np.zeros((rows, 0), np.uint16) if stored_blocks else None
    return Record(key, weight.shape, dp=4, mean=np.ones(rows), scale=np.full(rows, 3.0), indices=indices, overlay=overlay)


def model_records() -> tuple[list[Record], list[Record]]:
    """Records that every reader takes, and those that need `compat`."""
    weights = load_file(OUT / MODEL / "unet" / "diffusion_pytorch_model.safetensors")
    rng = np.random.default_rng(0)
    array = lambda key: weights[key].float().numpy()
    lattice = [
        ("conv_in.weight", 1, {}),
        ("down_blocks.0.resnets.0.conv1.weight", 2, {"spare": 1}),
        ("down_blocks.1.attentions.0.proj_in.weight", 3, {"cut": 2}),
        ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight", 4, {}),
        ("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight", 5, {"cut": 1}),
        ("down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj.weight", 6, {"share": 0.05}),
        ("mid_block.attentions.0.proj_out.weight", 7, {"spare": 1}),
        ("mid_block.resnets.0.time_emb_proj.weight", 8, {"cut": 3}),
        ("up_blocks.2.resnets.0.conv1.weight", 9, {}),
        ("up_blocks.1.resnets.0.conv_shortcut.weight", 10, {"cut": 1, "share": 0.2}),
        ("down_blocks.1.downsamplers.0.conv.bias", 1, {}),
        ("time_embedding.linear_1.bias", 3, {}),
        ("conv_norm_out.weight", 10, {"share": 0.5}),
    ]
    records = [fit(key, array(key), dp, rng, **settings) for key, dp, settings in lattice]
    for record, rows in zip(records, [[(12, 0), (0, 36)], [(65535, 65535)], [(24, 3), (3, 24), (25, 25)]]):
        record.overlay[1:1] = [(row, column, 1e4) for row, column in rows]
    records.append(overlay_only("conv_out.weight", array("conv_out.weight"), stored_blocks=False))
    records.append(overlay_only("conv_out.bias", array("conv_out.bias"), stored_blocks=True))
    # A row of the lattice's middle alone: mean * scale everywhere.
    key = "mid_block.resnets.1.norm2.bias"
    records.append(Record(key, array(key).shape, dp=2, mean=np.full(36, 0.5), scale=np.linspace(-0.2, 0.2, 36)))
    records.insert(2, Record("conv_norm_out.bias", array("conv_norm_out.bias").shape, tf=0))
    records.append(Record("up_blocks.0.resnets.0.conv1.weight", array("up_blocks.0.resnets.0.conv1.weight").shape, tf=0))

    key = "add_embedding.linear_1.bias"
    twice = fit(key, array(key), 2, rng, share=0)
    twice.overlay = [(0, 0, 9.0), (1, 0, 0.5), (0, 0, -0.25)]
    key = "down_blocks.0.resnets.0.conv2.weight"
    lenient = [
        Record("conv_in.bias", array("conv_in.bias").shape, tf=7),
        twice,
        fit(key, array(key), 6, rng, spare=9),
        Record("time_embedding.linear_2.bias", array("time_embedding.linear_2.bias").shape, tf=255),
    ]
    return records, lenient


def odd_records() -> list[Record]:
    """Shapes that no tiny network has: both sides of the overlay's switch to u32, every dp, values that round."""
    rng = np.random.default_rng(1)

    def record(key: str, shape: tuple[int, ...], dp: int, blocks: int, overlay: list, constant: bool = False) -> Record:
        rows = shape[0]
        indices = np.full((rows, blocks), 3**dp - 1) if constant else rng.integers(0, 3**dp, (rows, blocks))
        mean, scale = rng.normal(0, 0.3, rows), rng.normal(0, 0.05, rows)
        return Record(key, shape, dp=dp, mean=mean.astype("f4"), scale=scale.astype("f4"), indices=indices.astype("u2"), overlay=overlay)

    records = [record(f"dp {dp}", (5, 31), dp, -(-31 // dp) - (dp % 3 == 0), [(4, 30, 0.1), (5, 0, 1.0), (0, 31, 1.0)]) for dp in range(1, 11)]
    far = [(1, 65535, 0.1), (0, 65534, -2.0), (1, 65536, 1.0), (2, 0, 1.0), (70000, 1, 1.0)]
    records += [
        # max(C, nBlocks) * dp = 65,535: two bytes for row and column; 65,536: four.
        record("blocks * dp 65535", (1, 65535), 5, 13107, [(0, 65534, 0.1), (1, 0, 1.0)], constant=True),
        record("blocks * dp 65536", (2, 65536), 4, 16384, far, constant=True),
        record("rows * dp 65540", (6554, 1), 10, 1, [(6553, 0, 0.1), (6554, 0, 1.0), (65536, 0, 1.0)], constant=True),
        record("a vector", (9,), 3, 1, [(8, 0, 0.1), (8, 1, 1.0)]),
        record("a convolution", (3, 4, 3, 3), 7, 6, [(2, 35, 0.1), (2, 36, 1.0)]),
    ]
    # Ties, subnormals, the largest half, signed zero: rounding to nearest even, once from fp32.
    values = [1 + 2**-11, 1 + 3 * 2**-11, 2**-24, 2**-25, 1.5 * 2**-24, 2.5 * 2**-24, 65504.0, 65519.0, -0.0, 2**-14 - 2**-26]
    rounding = Record("rounding", (1, len(values)), dp=1, mean=np.zeros(1), scale=np.ones(1))
    rounding.overlay = [(0, column, value) for column, value in enumerate(values)]
    # (code + mean) * scale rounds twice in fp32; in fp64 some of these cells come out otherwise.
    twice = Record("two roundings", (64, 3), dp=3, mean=rng.normal(0, 3, 64).astype("f4"), scale=rng.normal(0, 1, 64).astype("f4"))
    twice.indices = np.full((64, 1), int("012", 3), np.uint16)
    return [*records, rounding, twice, Record("untouched", (7, 7), tf=0)]


def main() -> None:
    FIXTURES.mkdir(parents=True, exist_ok=True)
    strict, lenient = model_records()
    artifacts = {"odd": odd_records(), MODEL: strict, f"{MODEL}-compat": [*strict[:4], *lenient]}
    report = {}
    for name, records in artifacts.items():
        data = encode_artifact(records)
        (FIXTURES / f"{name}.lzr2").write_bytes(data)
        rows = []
        for record, weight, skipped in decode_artifact(data):
            row = {"key": record.key, "shape": record.shape, "tf": record.tf}
            if weight is not None:
                bits = weight.view(np.uint16).reshape(record.rows, -1)
                row |= {"dp": record.dp, "blocks": record.blocks, "wide": record.wide, "skipped": skipped}
                row |= {"sha256": hashlib.sha256(weight.astype("<f2").tobytes()).hexdigest()}
                row |= {"first": bits[0, :8].tolist(), "last": bits[-1, -8:].tolist()}
            rows.append(row)
        report[name] = rows
        print(f"{name}: {len(records)} records, {len(data)} bytes")
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in report.items()]
    (FIXTURES / "decoded.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
