/**
 * @file PyTorch at the shapes that `solvay bench` measures, as a program for `python3 -c`: a JSON list of shapes on stdin, one JSON line
 * a shape and dtype on stdout. On a CUDA card fp32 (TF32 off), TF32 and fp16; without one fp32 on the CPU. The fastest of several
 * runs counts, as in Solvay's own. For comparison where Python happens to be; nothing needs it.
 */
export const TORCH_SHAPES = `
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

HEAD = 64
GROUPS = 32
LEAST_RUNS = 5
LEAST_SECONDS = 0.2


def problem(shape, device, dtype):
    rows, columns, depth = shape["rows"], shape["columns"], shape["depth"]
    kind = shape["kind"]

    def random(*size):
        return torch.randn(*size, device=device, dtype=dtype)

    if kind in ("conv", "groupNorm"):
        side = round(math.sqrt(rows / 2))
        x = random(2, depth, side, side)
        if kind == "groupNorm":
            weight, bias = random(depth), random(depth)
            return lambda: F.silu(F.group_norm(x, GROUPS, weight, bias, 1e-5))
        weight = 0.05 * random(columns, depth, 3, 3)
        if device != "cpu":
            # As cuDNN likes it, and as Solvay has it.
            x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
        return lambda: F.conv2d(x, weight, padding=1)
    x = random(2, rows // 2, depth)
    if kind == "attention":
        q = x.view(2, rows // 2, depth // HEAD, HEAD).transpose(1, 2)
        return lambda: F.scaled_dot_product_attention(q, q, q)
    weight = 0.05 * random(columns, depth)
    if kind == "geglu":

        def gated():
            hidden, gate = F.linear(x, weight).chunk(2, dim=-1)
            return hidden * F.gelu(gate)

        return gated
    return lambda: F.linear(x, weight)


def fastest_ms(run, device):
    def timed():
        if device == "cpu":
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) * 1e3
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    for _ in range(3):
        timed()
    best, begun, runs = math.inf, time.perf_counter(), 0
    while runs < LEAST_RUNS or time.perf_counter() - begun < LEAST_SECONDS:
        best = min(best, timed())
        runs += 1
    return best


def main():
    shapes = json.load(sys.stdin)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    print(json.dumps({"torch": torch.__version__, "device": name}), flush=True)
    arithmetics = [("fp32", torch.float32, False)]
    if device == "cuda":
        arithmetics += [("fp16", torch.float16, False), ("tf32", torch.float32, True)]
    for shape in shapes:
        for label, dtype, tf32 in arithmetics:
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
            line = {"name": shape["name"], "dtype": label}
            try:
                with torch.no_grad():
                    ms = fastest_ms(problem(shape, device, dtype), device)
                line["ms"] = ms
                key, amount = ("gflops", shape["operations"]) if shape["operations"] else ("gbps", shape["bytes"])
                line[key] = amount / ms / 1e6
            except RuntimeError as error:
                line["error"] = str(error).split("\\n")[0]
            print(json.dumps(line), flush=True)


main()
`;
