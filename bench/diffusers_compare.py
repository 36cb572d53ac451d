"""Times diffusers (fp32, CPU) on a folder: seconds per step, decode, peak RSS, GFLOP/s. One line of JSON on stdout.

bench/full_size.ts runs this beside `solvay generate` on the same folder and machine; see bench/README.md.
"""
import argparse
import json
import resource
import time

import torch
from diffusers import DiffusionPipeline


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", default="a lake at dusk")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    start = time.perf_counter()
    pipe = DiffusionPipeline.from_pretrained(options.model, variant="fp16", torch_dtype=torch.float32)
    pipe.vae.config.force_upcast = False
    load_seconds = time.perf_counter() - start

    step_seconds: list[float] = []
    decode_seconds: list[float] = []
    forward = pipe.unet.forward
    decode = pipe.vae.decode

    def timed(function, seconds):
        def run(*args, **kwargs):
            begin = time.perf_counter()
            result = function(*args, **kwargs)
            seconds.append(time.perf_counter() - begin)
            return result
        return run

    pipe.unet.forward = timed(forward, step_seconds)
    pipe.vae.decode = timed(decode, decode_seconds)
    begin = time.perf_counter()
    image = pipe(
        options.prompt,
        width=options.width,
        height=options.height,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance,
        generator=torch.Generator("cpu").manual_seed(options.seed),
    ).images[0]
    total_seconds = time.perf_counter() - begin
    if options.output:
        image.save(options.output)
    print(
        json.dumps(
            {
                "engine": f"diffusers, torch {torch.__version__}",
                "loadSeconds": round(load_seconds, 2),
                "stepSeconds": [round(s, 2) for s in step_seconds],
                "decodeSeconds": round(decode_seconds[0], 2),
                "imageSeconds": round(total_seconds, 2),
                "peakRssGb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
            }
        )
    )


main()
