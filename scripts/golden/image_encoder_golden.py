"""
Makes fixtures/image-encoders/golden.json: what transformers' CLIPVisionModelWithProjection gives in fp32, for encoders of the widths of ViT-B (quick
GELU) and ViT-H (GELU) with two narrow layers. Weights are drawn by a hash of their names and places, which the test draws again, so none are stored:
whole numbers over powers of two, exact in fp16. The test stores them as single files, by transformers' names and by OpenCLIP's.

Run from the repository's root: ``python scripts/golden/image_encoder_golden.py`` (torch 2.15, transformers).
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

OUT = Path("fixtures/image-encoders")
CONFIGS = {
    "quick": {"hidden_size": 768, "num_attention_heads": 12, "hidden_act": "quick_gelu"},
    "exact": {"hidden_size": 1280, "num_attention_heads": 16, "hidden_act": "gelu"},
}
COMMON = {"intermediate_size": 64, "num_hidden_layers": 2, "image_size": 28, "patch_size": 14, "projection_dim": 16}
PERIOD = 65521  # a prime: no row begins as another one
KEPT = 8  # of each row of the hidden states


def whole(name: str, count: int) -> np.ndarray:
    """Whole numbers from -1024 to 1023, again and again."""
    h = np.arange(PERIOD, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return np.resize(((h >> np.uint32(16)) & np.uint32(2047)).astype(np.int64) - 1024, count)


def drawn(name: str, shape: torch.Size) -> torch.Tensor:
    values = whole(name, int(np.prod(shape)))
    if "norm" in name and name.endswith("weight"):
        values = 1 + (values >> 5) / 128
    else:
        values = values / (1024 if "embedding" in name and "patch" not in name else 16384)
    return torch.tensor(values.reshape(shape), dtype=torch.float32)


def row(name: str, own: dict) -> dict:
    config = CLIPVisionConfig(**COMMON, **own)
    model = CLIPVisionModelWithProjection(config).eval()
    model.load_state_dict({key: drawn(key, value.shape) for key, value in model.state_dict().items()})
    side = config.image_size
    pixels = torch.tensor(whole("pixels", 3 * side * side).reshape(1, 3, side, side) / 512, dtype=torch.float32)
    with torch.no_grad():
        out = model(pixels, output_hidden_states=True)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    hidden = out.hidden_states[-2][0, :, :KEPT]
    return {"name": name, **COMMON, **own, "shapes": shapes, "embeds": out.image_embeds[0].tolist(), "hidden": hidden.tolist()}


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    rows = [row(name, own) for name, own in CONFIGS.items()]
    (OUT / "golden.json").write_text("[\n" + ",\n".join(json.dumps(each) for each in rows) + "\n]\n")


if __name__ == "__main__":
    main()
