"""Times diffusers' VAE decode (fp32, CPU). One line of JSON on stdout; bench/decode.ts runs this beside Solvay's decode."""
import argparse
import json
import resource
import time

import torch
from diffusers import AutoencoderKL

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--latent", type=int, default=64)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeat", type=int, default=1)
options = parser.parse_args()
torch.set_num_threads(options.threads)
vae = AutoencoderKL.from_pretrained(options.model, subfolder="vae", variant="fp16", torch_dtype=torch.float32)
latent = torch.randn(1, 4, options.latent, options.latent, generator=torch.Generator().manual_seed(1)) * 5
seconds = []
with torch.no_grad():
    for _ in range(options.repeat):
        begin = time.perf_counter()
        vae.decode(latent).sample
        seconds.append(round(time.perf_counter() - begin, 2))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(json.dumps({"way": f"diffusers, torch {torch.__version__}", "seconds": seconds, "peakRssMb": round(peak)}))
