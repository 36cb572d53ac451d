"""
Makes fixtures/prompts: pictures of the models of fixtures/golden with what prompts can say beyond a plain text.

Clip skip, second prompts and sizes are diffusers' own. What A1111's syntax means is composed here from its rules: each job gives
its prompt as spans of (text, weight), cut into chunks of 75 tokens; each chunk goes through the text encoders, is weighted and scaled
back to its old mean; diffusers draws from the embeddings. Run with the packages of requirements.txt.
"""

import json

import numpy as np
import torch
from pipeline_golden import CONFIGS
from tiny_sdxl import DEMO, OUT, ROOT, describe, load_pipeline

FOLDER = ROOT / "fixtures" / "prompts"
WALK = "a very long walk over green hills, under white clouds, " * 9
COMMA = "sky " * 60 + ", " + "hill " * 30
SIZE = {"steps": 3, "guidance": 5, "width": 64, "height": 64}
JOBS = [
    {"model": "deep", "prompt": "a windmill", "negative": "fog", "clipSkip": 1, "seed": 1},
    {"model": "nested", "prompt": "a windmill", "clipSkip": 1, "seed": 2},
    {"model": "deep", "prompt": "a windmill", "prompt2": "a lake at dawn", "negative": "fog", "negative2": "rain", "seed": 3},
    {"model": "deep", "prompt": "a windmill", "originalSize": [512, 256], "crop": [40, 8], "seed": 4},
    {"model": "deep", "prompt": "a (((red:1.3)) windmill) by [night]", "spans": [["a ", 1], ["red", 1.3 * 1.1 * 1.1], [" windmill", 1.1], [" by ", 1], ["night", 1 / 1.1]], "negative": "", "seed": 5},
    {"model": "nested", "prompt": f"(sunny:1.4) {WALK}", "spans": [["sunny", 1.4], [f" {WALK}", 1]], "negative": "(fog:0.7)", "negativeSpans": [["fog", 0.7]], "seed": 6},
    {"model": "conv-proj", "prompt": "a lake BREAK a (hill:1.2)", "spans": [["a lake", 1], None, ["a ", 1], ["hill", 1.2]], "negative": "", "seed": 7},
    {"model": "odd", "prompt": COMMA, "spans": [[COMMA, 1]], "negative": "", "seed": 8},
    {"model": "deep", "prompt": "a windmill", "spans": [["a windmill", 1]], "negative": "fog", "clipSkip": 1, "seed": 9},
    {"model": "deep", "prompt": "a [windmill:lake:2] at dawn", "spans": [["a windmill at dawn", 1]], "laterSpans": [["a lake at dawn", 1]], "laterFrom": 2, "negative": "fog", "seed": 10},
]  # fmt: skip


def chunks_of(tokenizer, spans: list) -> list[tuple[list[int], list[float]]]:
    """Chunks of ids and weights. None among the spans ends a chunk."""
    encode = lambda text: tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]  # noqa: E731
    (comma,) = encode(",")
    chunks, chunk = [], []
    for span in spans:
        if span is None:
            chunks.append(chunk)
            chunk = []
            continue
        for token in encode(span[0]):
            if len(chunk) == 75:
                commas = [i for i, (other, _) in enumerate(chunk) if other == comma]
                cut = commas[-1] + 1 if commas and 75 - commas[-1] <= 20 and token != comma else 75
                chunks.append(chunk[:cut])
                chunk = chunk[cut:]
            chunk.append((token, span[1]))
    chunks.append(chunk)
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    filled = []
    for chunk in chunks:
        rest = 75 - len(chunk)
        filled.append(([bos, *(token for token, _ in chunk), eos, *[pad] * rest], [1.0, *(w for _, w in chunk), *[1.0] * (rest + 1)]))
    return filled


def embed(pipe, spans: list, skip: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [1, count * 77, D] and the pooled ones of the first chunk."""
    columns, pooled = [], None
    for tokenizer, encoder in ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)):
        rows = []
        chunks = chunks_of(tokenizer, spans)
        chunks += chunks_of(tokenizer, [["", 1]]) * (count - len(chunks))
        for i, (ids, weights) in enumerate(chunks):
            output = encoder(torch.tensor([ids]), output_hidden_states=True)
            states = output.hidden_states[-(skip + 2)]
            weighted = states * torch.tensor(weights)[None, :, None]
            rows.append(weighted * (states.mean() / weighted.mean()))
            if i == 0 and encoder is pipe.text_encoder_2:
                pooled = output[0]
        columns.append(torch.cat(rows, 1))
    return torch.cat(columns, 2), pooled


def settings(pipe, job: dict) -> dict:
    if "spans" not in job:
        named = {"prompt": job["prompt"], "prompt_2": job.get("prompt2"), "negative_prompt": job.get("negative")}
        more = {"negative_prompt_2": job.get("negative2"), "clip_skip": job.get("clipSkip")}
        if "crop" in job:
            more |= {"original_size": tuple(job["originalSize"][::-1]), "crops_coords_top_left": tuple(job["crop"][::-1])}
        return named | more
    skip = job.get("clipSkip", 0)
    negative = job.get("negativeSpans", [[job["negative"], 1]])
    count = max(len(chunks_of(pipe.tokenizer, spans)) for spans in (job["spans"], negative))
    embeds, pooled = embed(pipe, job["spans"], skip, count)
    if job["negative"] == "" and pipe.config.force_zeros_for_empty_prompt:
        without, without_pooled = torch.zeros_like(embeds), torch.zeros_like(pooled)
    else:
        without, without_pooled = embed(pipe, negative, skip, count)
    told = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    told |= {"negative_prompt_embeds": without, "negative_pooled_prompt_embeds": without_pooled}
    if "laterSpans" in job:
        later, later_pooled = embed(pipe, job["laterSpans"], skip, count)

        def change(_, step, timestep, values):
            if step + 1 != job["laterFrom"]:
                return {}
            return {"prompt_embeds": torch.cat([without, later]), "add_text_embeds": torch.cat([without_pooled, later_pooled])}

        told |= {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["prompt_embeds", "add_text_embeds"]}
    return told


@torch.no_grad()
def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    manifest = []
    for number, job in enumerate(JOBS):
        name = job["model"]
        pipe = load_pipeline(DEMO if name == "demo" else OUT / name, "fp16" if name == "demo" else CONFIGS[name]["variant"])
        image = pipe(
            **settings(pipe, job), num_inference_steps=SIZE["steps"], guidance_scale=SIZE["guidance"], width=SIZE["width"],
            height=SIZE["height"], generator=torch.Generator("cpu").manual_seed(job["seed"]),
        ).images[0]  # fmt: skip
        file = f"{number:02}-{name}.png"
        print(f"{file}: {describe(np.asarray(image))}")
        image.save(FOLDER / file)
        told = {key: value for key, value in job.items() if key not in ("spans", "negativeSpans", "laterSpans", "laterFrom")}
        syntax = {"promptSyntax": "a1111"} if "spans" in job else {}
        manifest.append({**told, **syntax, **SIZE, "file": file})
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
