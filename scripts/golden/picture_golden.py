"""Writes fixtures/pictures: small pictures of each kind with the pixels that Pillow reads from them, Pillow's resized pictures, and
PyTorch's interpolated planes.

Run with Pillow 13.0, numpy 2.4 and torch 2.15: python scripts/golden/picture_golden.py
"""
import base64
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageOps

OUT = Path(__file__).parents[2] / "fixtures" / "pictures"
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)
W, H = 29, 21
y, x = np.mgrid[0:H, 0:W]
ramp = np.stack([x * 8 + y, y * 11, x * y], -1) + rng.integers(0, 30, (H, W, 3))
rgb = Image.fromarray((ramp % 256).astype(np.uint8))
rgba = Image.fromarray(np.dstack([np.asarray(rgb), ((x * 9 + y) % 256).astype(np.uint8)]))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


for o in range(1, 9):
    rgb.save(OUT / f"turned-{o}.jpg", quality=90, exif=exif(o))
rgb.save(OUT / "turned-6.png", exif=exif(6))
rgb.save(OUT / "turned-6.webp", lossless=True, exif=exif(6))
rgb.save(OUT / "smooth-420.jpg", quality=80, subsampling=2)
rgb.save(OUT / "progressive.jpg", quality=80, progressive=True)
rgb.convert("L").save(OUT / "grey.jpg", quality=85)
rgb.convert("CMYK").save(OUT / "cmyk.jpg", quality=90)
rgb.save(OUT / "lossy.webp", quality=80)
rgba.save(OUT / "alpha.webp", lossless=True, exact=True)
rgba.save(OUT / "alpha.png")
rgba.convert("LA").save(OUT / "grey-alpha.png")
rgb.convert("L").save(OUT / "grey.png")
rgb.convert("1").save(OUT / "bits.png")
rgb.quantize(16).save(OUT / "palette.png")
rgb.quantize(16).save(OUT / "palette-clear.png", transparency=3)
turned = rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
rgb.save(OUT / "frames.webp", save_all=True, append_images=[turned], lossless=True, duration=100)
rgb.save(OUT / "frames.png", save_all=True, append_images=[turned], duration=100)
profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
profile = profile[:24] + bytes(12) + profile[36:]  # Not the time of making.
rgb.save(OUT / "srgb.png", icc_profile=profile)
rgb.save(OUT / "other-profile.png", icc_profile=profile.replace(b"s\0R\0G\0B", b"W\0i\0d\0e"))
Image.fromarray(np.asarray(rgb)[:, :, 0].astype(np.uint16) * 257 + 13).save(OUT / "deep.png")


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


read = {}
for file in sorted(OUT.glob("*.*")):
    if file.suffix == ".json":
        continue
    picture = Image.open(file)
    if file.name == "deep.png":  # Pillow clips 16-bit grey; the high byte is meant.
        pixels = np.repeat((np.asarray(picture) >> 8).astype(np.uint8)[:, :, None], 3, 2)
    else:
        clear = "A" in picture.mode and file.stem != "frames" or "transparency" in picture.info
        pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA" if clear else "RGB"))
    read[file.name] = {"width": pixels.shape[1], "height": pixels.shape[0], "channels": pixels.shape[2], "bytes": text(pixels)}

resampled = []
for source in ("RGB", "L"):
    picture = rgb.convert(source)
    for filter in ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"):
        for size in ((58, 42), (13, 10), (29, 50), (7, 21), (61, 5), (28, 18), (1, 1)):
            done = picture.resize(size, getattr(Image.Resampling, filter))
            resampled.append({"mode": source, "filter": filter.lower(), "width": size[0], "height": size[1], "bytes": text(done)})

planes = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(3))
interpolated = []
for mode in ("bilinear", "nearest", "nearest-exact"):
    for height, width in ((12, 10), (9, 8), (3, 4), (6, 5), (13, 1)):
        extra = {"align_corners": False} if mode == "bilinear" else {}
        done = F.interpolate(planes[None], size=(height, width), mode=mode, **extra)[0]
        interpolated.append({"mode": mode, "width": width, "height": height, "values": [float(f"{v:.9g}") for v in done.flatten().tolist()]})

golden = {
    "read": read,
    "source": {"width": W, "height": H, "rgb": text(rgb), "grey": text(rgb.convert("L"))},
    "resampled": resampled,
    "planes": {"width": 5, "height": 6, "values": [float(f"{v:.9g}") for v in planes.flatten().tolist()]},
    "interpolated": interpolated,
}
(OUT / "golden.json").write_text(json.dumps(golden) + "\n")
