"""Writes fixtures/ops/ops.json: for each op of src/ir/ops.ts, small inputs and PyTorch's result in fp64.

Run with torch 2.15: python scripts/golden/ops_golden.py
"""
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

torch.manual_seed(5)
cases = []


def rand(*shape):
    """Multiples of 1/64: exact in fp16 and short in JSON."""
    return torch.randint(-128, 129, shape).double() / 64


def case(name, op, attrs, inputs, output):
    def pack(t):
        return {"shape": list(t.shape), "data": [float(f"{v:.9g}") for v in t.double().flatten().tolist()]}

    cases.append(
        {
            "name": name,
            "op": op,
            "attrs": attrs,
            "inputs": [{"dtype": "i32" if t.dtype == torch.int64 else "f32", **pack(t)} for t in inputs],
            "output": pack(output),
        }
    )


def conv(name, x, w, b, stride, pad):
    top, left, bottom, right = pad
    y = F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, stride=stride)
    case(name, "conv2d", {"stride": stride, "pad": pad}, [x, w] + ([b] if b is not None else []), y)


def attend(name, q, k, v, heads, causal):
    split = lambda t: t.view(t.shape[0], t.shape[1], heads, -1).transpose(1, 2)
    y = F.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=causal)
    case(name, "attention", {"heads": heads, "causal": causal}, [q, k, v], y.transpose(1, 2).reshape(q.shape))


conv("3x3, pad 1, two images", rand(2, 3, 5, 4), rand(5, 3, 3, 3), rand(5), 1, [1, 1, 1, 1])
conv("stride 2, pad 1", rand(1, 2, 6, 7), rand(4, 2, 3, 3), rand(4), 2, [1, 1, 1, 1])
conv("stride 2, pad right and bottom only", rand(1, 2, 4, 6), rand(3, 2, 3, 3), rand(3), 2, [0, 0, 1, 1])
conv("1x1 without bias", rand(1, 4, 3, 3), rand(6, 4, 1, 1), None, 1, [0, 0, 0, 0])
conv("unequal pads and a 2x3 kernel", rand(1, 1, 4, 4), rand(1, 1, 2, 3), rand(1), 1, [0, 2, 1, 1])
x, w, b = rand(2, 3, 7), rand(9, 7), rand(9)
case("with bias, odd rows and columns", "linear", {}, [x, w, b], F.linear(x, w, b))
x, w = rand(5, 8), rand(3, 8)
case("without bias", "linear", {}, [x, w], F.linear(x, w))
x, w, b = rand(2, 6, 2, 3), rand(6), rand(6)
case("3 groups of 2 channels", "groupNorm", {"groups": 3, "eps": 1e-5}, [x, w, b], F.group_norm(x, 3, w, b, 1e-5))
x, w, b = rand(1, 4, 5), rand(4), rand(4)
case("tokens, large eps", "groupNorm", {"groups": 2, "eps": 0.1}, [x, w, b], F.group_norm(x, 2, w, b, 0.1))
x, w, b = rand(2, 3, 6), rand(6), rand(6)
case("last axis", "layerNorm", {"eps": 1e-5}, [x, w, b], F.layer_norm(x, (6,), w, b, 1e-5))
x = torch.tensor([-40.0, -9, -4, -2, -1, -0.5, -0.015625, 0, 0.015625, 0.5, 1, 2, 4, 9, 40]).double()
case("wide range", "silu", {}, [x], F.silu(x))
case("wide range", "gelu", {}, [x], F.gelu(x))
case("wide range", "quickGelu", {}, [x], x * torch.sigmoid(1.702 * x))
case("wide range", "scale", {"factor": -0.75}, [x], x * -0.75)
x = rand(2, 3, 8)
case("gate is the second half", "geglu", {}, [x], x[..., :4] * F.gelu(x[..., 4:]))
a = rand(2, 3, 4)
for name, other in [("same shape", rand(2, 3, 4)), ("last axis", rand(4)), ("middle axis", rand(3, 1)),
                    ("outer axis", rand(2, 1, 1)), ("one number", rand(1))]:
    case(name, "add", {}, [a, other], a + other)
x, t = rand(2, 3, 2, 2), rand(2, 3)
case("each image its own", "addChannels", {}, [x, t], x + t[:, :, None, None])
attend("self, 2 heads", rand(2, 5, 6), rand(2, 5, 6), rand(2, 5, 6), 2, False)
attend("cross, fewer keys", rand(1, 4, 8), rand(1, 3, 8), rand(1, 3, 8), 4, False)
attend("causal", rand(1, 4, 6), rand(1, 4, 6), rand(1, 4, 6), 3, True)
table, ids = rand(5, 3), torch.tensor([[4, 0], [2, 2]])
case("repeated rows", "embedding", {}, [table, ids], table[ids])
x = rand(2, 6)
case("rows to a cube", "reshape", {"shape": [3, 2, 2]}, [x], x.reshape(3, 2, 2))
x = rand(2, 3, 2, 4)
case("not square", "toTokens", {}, [x], x.flatten(2).transpose(1, 2))
x = rand(2, 6, 3)
case("not square", "toImage", {"height": 2, "width": 3}, [x], x.transpose(1, 2).reshape(2, 3, 2, 3))
x = rand(1, 2, 2, 3)
case("twice", "upsampleNearest", {"height": 4, "width": 6}, [x], F.interpolate(x, size=(4, 6), mode="nearest"))
case("odd factor", "upsampleNearest", {"height": 3, "width": 7}, [x], F.interpolate(x, size=(3, 7), mode="nearest"))
for axis in (0, 1, 2):
    shape = [2, 3, 4]
    shape[axis] = 5
    a, b = rand(2, 3, 4), rand(*shape)
    case(f"axis {axis}", "concat", {"axis": axis}, [a, b], torch.cat([a, b], axis))

x = rand(2, 5, 4)
case("middle axis", "slice", {"axis": 1, "from": 1, "to": 4}, [x], x[:, 1:4])
case("from the start of the last", "slice", {"axis": 2, "from": 0, "to": 1}, [x], x[..., :1])


def group_stats(x, groups):
    grouped = x.reshape(x.shape[0], groups, -1)
    return torch.stack([grouped.mean(-1), grouped.var(-1, unbiased=False)], -1)


x = rand(2, 6, 2, 3)
case("3 groups of 2 channels", "groupStats", {"groups": 3}, [x], group_stats(x, 3))
x = rand(1, 4, 3, 2) + 100
case("far from zero", "groupStats", {"groups": 2}, [x], group_stats(x, 2))
x, w, b = rand(2, 6, 2, 3), rand(6), rand(6)
# Statistics of another, larger tensor, as a band of a picture gets them; rounded to what fp32 holds.
stats = group_stats(rand(2, 6, 4, 3), 3).float().double()
mean, variance = (stats[..., i].repeat_interleave(2, 1)[:, :, None, None] for i in (0, 1))
y = (x - mean) / (variance + 1e-5).sqrt() * w[:, None, None] + b[:, None, None]
case("statistics from outside", "groupNormApply", {"groups": 3, "eps": 1e-5}, [x, stats, w, b], y)
x = torch.tensor([-40.0, -9, -1, -0.015625, 0, 0.5, 1, 40]).double()
case("wide range", "leakyRelu", {"slope": 0.2}, [x], F.leaky_relu(x, 0.2))
x, w = rand(2, 3, 2, 2), rand(3)
case("a slope a channel", "prelu", {}, [x, w], F.prelu(x, w))
x, w, b = rand(2, 3, 2, 2), rand(3), rand(3)
case("a factor and a term a channel of images", "affine", {}, [x, w, b], x * w[:, None, None] + b[:, None, None])
x, w = rand(2, 3, 4), rand(4)
case("a factor a channel of rows", "affine", {}, [x, w], x * w)
x, w, b = rand(3, 4), rand(1), rand(4)
case("one factor for all", "affine", {}, [x, w, b], x * w + b)

path = Path(__file__).resolve().parents[2] / "fixtures" / "ops" / "ops.json"
path.parent.mkdir(parents=True, exist_ok=True)
erf = [{"x": x, "erf": math.erf(x)} for x in [-7, -5.9, -3, -1, -0.1, 1e-9, 0.3, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5.5]]
body = ",\n".join(json.dumps(c) for c in cases)
path.write_text('{"torch": "%s", "erf": %s,\n"cases": [\n%s\n]}\n' % (torch.__version__.split("+")[0], json.dumps(erf), body))
