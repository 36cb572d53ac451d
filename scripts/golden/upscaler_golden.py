"""Writes fixtures/upscalers: tiny ESRGAN networks in every form their files come in, a small picture, and what PyTorch makes of it in fp32.

The networks are written here from their published definitions: RRDBNet (BasicSR rrdbnet_arch.py; ESRGAN's first release numbers the same layers by
place), SRVGGNetCompact (BasicSR srvgg_arch.py). Run with torch 2.15 and safetensors: python scripts/golden/upscaler_golden.py
"""
import base64
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

OUT = Path(__file__).parents[2] / "fixtures" / "upscalers"
OUT.mkdir(parents=True, exist_ok=True)
torch.manual_seed(11)


class RDB(nn.Module):
    def __init__(self, nf, gc):
        super().__init__()
        for i in range(1, 5):
            setattr(self, f"conv{i}", nn.Conv2d(nf + (i - 1) * gc, gc, 3, 1, 1))
        self.conv5 = nn.Conv2d(nf + 4 * gc, nf, 3, 1, 1)

    def forward(self, x):
        parts = [x]
        for i in range(1, 5):
            parts.append(F.leaky_relu(getattr(self, f"conv{i}")(torch.cat(parts, 1)), 0.2))
        return self.conv5(torch.cat(parts, 1)) * 0.2 + x


class RRDB(nn.Module):
    def __init__(self, nf, gc):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = RDB(nf, gc), RDB(nf, gc), RDB(nf, gc)

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nn.Module):
    def __init__(self, scale, nf=8, nb=2, gc=4, doublings=2):
        super().__init__()
        self.fold, self.doublings = 2**doublings // scale, doublings
        self.conv_first = nn.Conv2d(3 * self.fold**2, nf, 3, 1, 1)
        self.body = nn.Sequential(*[RRDB(nf, gc) for _ in range(nb)])
        self.conv_body = nn.Conv2d(nf, nf, 3, 1, 1)
        for i in range(1, doublings + 1):
            setattr(self, f"conv_up{i}", nn.Conv2d(nf, nf, 3, 1, 1))
        self.conv_hr, self.conv_last = nn.Conv2d(nf, nf, 3, 1, 1), nn.Conv2d(nf, 3, 3, 1, 1)

    def forward(self, x):
        x = F.pixel_unshuffle(x, self.fold) if self.fold > 1 else x
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        for i in range(1, self.doublings + 1):
            x = F.leaky_relu(getattr(self, f"conv_up{i}")(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


class Compact(nn.Module):
    def __init__(self, scale, nf=8, layers=3):
        super().__init__()
        self.scale, self.body = scale, nn.ModuleList([nn.Conv2d(3, nf, 3, 1, 1), nn.PReLU(nf)])
        for _ in range(layers):
            self.body += [nn.Conv2d(nf, nf, 3, 1, 1), nn.PReLU(nf, init=0.1)]
        self.body.append(nn.Conv2d(nf, 3 * scale**2, 3, 1, 1))

    def forward(self, x):
        out = x
        for layer in self.body:
            out = layer(out)
        return F.pixel_shuffle(out, self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


def first_names(state, nb, doublings):
    """ESRGAN's first release: one Sequential, whose upsampling and activations take numbers too."""
    def place(name):
        module, rest = name.rsplit(".", 1)
        if module == "conv_first":
            return f"model.0.{rest}"
        if module == "conv_body":
            return f"model.1.sub.{nb}.{rest}"
        if module.startswith("body."):
            _, block, dense, conv = module.split(".")
            return f"model.1.sub.{block}.{dense.upper()}.{conv}.0.{rest}"
        numbers = {f"conv_up{i}": 3 * i for i in range(1, doublings + 1)} | {"conv_hr": 3 * doublings + 2, "conv_last": 3 * doublings + 4}
        return f"model.{numbers[module]}.{rest}"
    return OrderedDict((place(k), v) for k, v in state.items())


def trunk_names(state):
    swap = [("body.", "RRDB_trunk."), (".rdb", ".RDB"), ("conv_body", "trunk_conv"), ("conv_up", "upconv"), ("conv_hr", "HRconv")]
    def name(k):
        k = k.replace("conv_body", "trunk_conv")
        for a, b in swap:
            k = k.replace(a, b)
        return k
    return OrderedDict((name(k), v) for k, v in state.items())


rng = np.random.default_rng(4)
W, H = 21, 13
y, x = np.mgrid[0:H, 0:W]
picture = ((np.stack([x * 11, y * 17, x * y], -1) + rng.integers(0, 40, (H, W, 3))) % 256).astype(np.uint8)
big = rng.integers(0, 256, (1, 3, 168, 40)).astype(np.float32) / 255


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


golden = {"width": W, "height": H, "rgb": text(picture), "networks": {}}


@torch.no_grad()
def run(net, scale, fold=1):
    t = torch.from_numpy(picture.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None]
    t = F.pad(t, (0, -W % fold, 0, -H % fold), "reflect")
    out = net(t)[0, :, : H * scale, : W * scale]
    return text((out.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def note(name, net, scale, files, fold=1):
    golden["networks"][name] = {"scale": scale, "files": files, "rgb": run(net, scale, fold)}


def lively(net):
    """Results that use the range: as made, the last layer answers near zero."""
    for name, p in net.named_parameters():
        if p.dim() == 4:
            nn.init.kaiming_normal_(p, a=0.2)
            p.data *= 0.7
    net.get_submodule("conv_last" if hasattr(net, "conv_last") else f"body.{len(net.body) - 1}").bias.data += 0.4 if hasattr(net, "conv_last") else 0
    return net


x4 = lively(RRDBNet(4))
torch.save({"params_ema": x4.state_dict(), "params": RRDBNet(4).state_dict()}, OUT / "x4.pth")
torch.save(first_names(x4.state_dict(), 2, 2), OUT / "x4-first-names.pth", _use_new_zipfile_serialization=False)
torch.save(trunk_names(x4.state_dict()), OUT / "x4-trunk-names.pth")
save_file(dict(x4.state_dict()), OUT / "x4.safetensors")
note("x4", x4, 4, ["x4.pth", "x4-first-names.pth", "x4-trunk-names.pth", "x4.safetensors"])
for scale, fold in ((2, 2), (1, 4)):
    net = lively(RRDBNet(scale))
    torch.save({"params_ema": net.state_dict()}, OUT / f"x{scale}.pth")
    note(f"x{scale}", net, scale, [f"x{scale}.pth"], fold)
x8 = lively(RRDBNet(8, doublings=3))
torch.save(first_names(x8.state_dict(), 2, 3), OUT / "x8-first-names.pth")
note("x8", x8, 8, ["x8-first-names.pth"])
one = lively(RRDBNet(2, doublings=1))
torch.save(first_names(one.state_dict(), 2, 1), OUT / "x2-first-names.pth")
note("x2-one-doubling", one, 2, ["x2-first-names.pth"])
for scale in (4, 2):
    net = lively(Compact(scale))
    torch.save({"params": net.state_dict()}, OUT / f"compact-x{scale}.pth")
    note(f"compact-x{scale}", net, scale, [f"compact-x{scale}.pth"])
torch.save({"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(4, 2), "conv_first.weight": torch.zeros(8, 3, 3, 3)}, OUT / "swinir.pth")
(OUT / "golden.json").write_text(json.dumps(golden) + "\n")
