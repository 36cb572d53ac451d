"""Writes src/image/legend-font.ts: Aileron Regular (CC0, Sora Sagano), which Pillow carries, at 16 pixels and 4 shades.

    python scripts/legend_font.py        (Pillow 13.0.0 with FreeType)
"""
import base64
from pathlib import Path
from PIL import Image, ImageDraw, ImageFont

SIZE, HEIGHT = 16, 20
CODES = range(0x20, 0x7F)
font = ImageFont.load_default(SIZE)

widths, shades = [], []
for code in CODES:
    text = chr(code)
    width = max(1, round(font.getlength(text)))
    widths.append(width)
    image = Image.new("L", (width, HEIGHT))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    shades += [round(v / 85) for v in image.tobytes()]
while len(shades) % 4:
    shades.append(0)
packed = bytes(shades[i] | shades[i + 1] << 2 | shades[i + 2] << 4 | shades[i + 3] << 6 for i in range(0, len(shades), 4))
text = base64.b64encode(packed).decode()
lines = " +\n  ".join(f'"{text[i:i + 112]}"' for i in range(0, len(text), 112))
Path("src/image/legend-font.ts").write_text(f"""/**
 * @file The letters of legends: Aileron Regular (CC0, Sora Sagano) at {SIZE} pixels, of U+0020 to U+007E. Made by scripts/legend_font.py.
 */

/** Rows of each letter. */
export const LETTER_HEIGHT = {HEIGHT};

/** Columns of each letter, in the order of their codes. */
export const LETTER_WIDTHS: readonly number[] = [{", ".join(map(str, widths))}];

/** Shades 0 to 3 of all letters' pixels, one after the other, row by row; four to a byte, lowest bits first; base64. */
export const LETTER_SHADES =
  {lines};
""")
