"""Writes fixtures/torch-files: small files of torch.save, new and old format, with their tensors, and files that no reader of tensors may open.

Run with torch 2.15: python scripts/golden/torch_file_golden.py
"""
import json
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

OUT = Path(__file__).parents[2] / "fixtures" / "torch-files"
OUT.mkdir(parents=True, exist_ok=True)
torch.manual_seed(2)
base = torch.randn(4, 3)
layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.PReLU(3))
content = {
    "params_ema": layers.state_dict(),
    "views": OrderedDict(row=base[1], tail=base[2:], whole=base),
    "kinds": {
        "f64": torch.randn(2).double(), "f16": torch.randn(3).half(), "bf16": torch.randn(3).bfloat16(), "i64": torch.tensor([-5, 2**40]),
        "i32": torch.tensor([7], dtype=torch.int32), "u8": torch.tensor([1, 255], dtype=torch.uint8), "i8": torch.tensor([-3], dtype=torch.int8),
        "i16": torch.tensor([-300], dtype=torch.int16), "bool": torch.tensor([True, False]), "scalar": torch.tensor(3.5), "none": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(2, 1)),
    },
    "epoch": 12, "rate": 1e-3, "name": "tiny é", "done": True, "steps": [1, 2, (3, None)], "large": 2**70,
}
torch.save(content, OUT / "zip.pth")
torch.save(content, OUT / "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(content, OUT / "protocol-4.pth", pickle_protocol=4)
torch.save(layers.state_dict(), OUT / "plain.pth")


class Runs:
    def __reduce__(self):
        return (os.system, ("touch /tmp/solvay-was-here",))


torch.save({"weight": torch.ones(1), "x": Runs()}, OUT / "runs-code.pth")
torch.save({"weight": torch.ones(1), "x": Runs()}, OUT / "runs-code-legacy.pth", _use_new_zipfile_serialization=False)
torch.save(layers, OUT / "module.pth")
torch.save({"a": np.float64(1.5)}, OUT / "numpy.pth")
torch.save({"t": torch.randn(3, 4).t()}, OUT / "turned.pth")
torch.save({"t": torch.randn(1).expand(5)}, OUT / "expanded.pth")
# A LoRA as older tools save it: the same tensors as adapters/lora.safetensors (adapter_golden.py).
torch.save(load_file(OUT.parent / "adapters" / "lora.safetensors"), OUT / "lora.pt")
torch.jit.save(torch.jit.script(layers), str(OUT / "script.pth"))


def flat(group):
    return {
        name: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape), "bytes": t.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes().hex() if t.dim() and t.numel() else (t.detach().numpy().tobytes().hex())}
        for name, t in group.items()
    }


golden = {path: flat(content[path]) for path in ("params_ema", "views", "kinds")}
(OUT / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
