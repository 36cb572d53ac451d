"""Calls a server by the clients that Python has: webuiapi (A1111's API) and openai. Prints what they made of its answers as JSON.

Made and run with webuiapi 0.9.17, openai 3.57.0, Python 3.11: python -m venv DIR && DIR/bin/pip install webuiapi openai
Usage: python python_clients.py PORT KEY
"""
import base64
import io
import json
import sys

import openai
import webuiapi
from PIL import Image

port, key = int(sys.argv[1]), sys.argv[2]
found = {}

web = webuiapi.WebUIApi(port=port, username="anybody", password=key)
web.util_set_model(web.util_get_model_names()[0])
web.util_wait_for_ready(0.2)
drawn = web.txt2img(prompt="a mill", seed=30, n_iter=2, steps=2, width=64, height=64, cfg_scale=4)
found["txt2img"] = [[image.size, image.getpixel((0, 0))[0]] for image in drawn.images]
found["info"] = [drawn.info["all_seeds"], drawn.info["sampler_name"], drawn.info["ignored"]]
again = web.img2img(images=[drawn.image], prompt="a door", seed=5, steps=2, width=64, height=64, mask_image=drawn.image)
found["img2img"] = [again.image.size, again.image.getpixel((0, 0))[0]]
found["extras"] = web.extra_single_image(drawn.image, upscaler_1="Lanczos", upscaling_resize=2).image.size
found["extras_batch"] = [image.size for image in web.extra_batch_images([drawn.image, drawn.image]).images]
found["png_info"] = web.png_info(drawn.image).info
found["progress"] = web.get_progress()["state"]["job_count"]
lists = {name: getattr(web, f"get_{name}")() for name in (
    "options", "cmd_flags", "samplers", "schedulers", "sd_vae", "upscalers", "latent_upscale_modes", "loras", "sd_models",
    "hypernetworks", "face_restorers", "realesrgan_models", "prompt_styles", "embeddings", "memory", "scripts")}
found["lists"] = {name: len(value) for name, value in lists.items()}
found["stops"] = [web.interrupt(), web.skip(), web.refresh_checkpoints()]
unit = webuiapi.ControlNetUnit(image=drawn.image, module="canny", model="edges [0123abcd]", weight=0.5)
steered = web.txt2img(prompt="x", steps=1, width=64, height=64, controlnet_units=[unit])
found["controlnet"] = [steered.image.size, web.controlnet_version(), web.controlnet_model_list()]
found["controlnet_ignored"] = steered.info["ignored"]

client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)
size = lambda text: Image.open(io.BytesIO(base64.b64decode(text))).size
made = client.images.generate(model=client.models.list().data[0].id, prompt="a mill", n=2, size="128x64",
                              extra_body={"seed": 7, "steps": 2, "negative_prompt": "fog"})
found["generate"] = [size(each.b64_json) for each in made.data] + [made.usage.total_tokens]
events = client.images.generate(prompt="a mill", size="64x64", stream=True, partial_images=2, extra_body={"steps": 6})
found["stream"] = [event.type for event in events]
png = io.BytesIO()
Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(png, "png")
edited = client.images.edit(image=("a.png", png.getvalue(), "image/png"), prompt="a boat", extra_body={"steps": 2})
found["edit"] = size(edited.data[0].b64_json)
try:
    client.images.generate(prompt="x", n=11)
except openai.BadRequestError as error:
    found["refused"] = [error.status_code, error.type, error.param, error.code]
try:
    openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="wrong", max_retries=0).models.list()
except openai.AuthenticationError as error:
    found["unknown_key"] = error.status_code
print(json.dumps(found))
