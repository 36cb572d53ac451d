/** @file A picture that came in: what is handed around, and the seam of whoever decodes it. Implementation for Node: node/pictures.ts. */

type Bytes = Uint8Array<ArrayBuffer>;

/** Rows from the top, as a viewer shows it: turned by its EXIF orientation. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3], sRGB as stored; `alpha` laid over white unless it was asked apart. */
  readonly rgb: Bytes;
  /** [height, width]; undefined where every pixel is opaque. */
  readonly alpha?: Bytes;
  /** What was done to it that its maker may not expect, each a phrase for a person. */
  readonly notes: readonly string[];
}

export interface ReadPictureOptions {
  /** For messages. */
  readonly name: string;
  /** "white" (default): transparent parts become white. "apart": `rgb` stays as stored, `alpha` says the rest. */
  readonly alpha?: "white" | "apart";
  readonly signal?: AbortSignal;
}

/**
 * Decodes a PNG, JPEG or WebP. Sizes are checked before anything is allocated for them (`readPictureHeader`).
 * Rejects with ArtifactError `E_IMAGE_SIZE`, `E_IMAGE_KIND`, `E_IMAGE`; DeviceError where the machine lacks the decoder.
 */
export type PictureReader = (bytes: Bytes, options: ReadPictureOptions) => Promise<Picture>;

/** Lays `colour` over white by `alpha`, 0..255, rounded to nearest. */
export function overWhite(colour: number, alpha: number): number {
  return Math.floor((colour * alpha + 255 * (255 - alpha)) / 255 + 0.5);
}

/** Brightness as Pillow's convert("L") (ITU-R 601, 16 bits of fraction). @returns [height, width] */
export function greyOf({ rgb, width, height }: Pick<Picture, "rgb" | "width" | "height">): Bytes {
  return Uint8Array.from({ length: width * height }, (_, pixel) => {
    const [red, green, blue] = [rgb[pixel * 3]!, rgb[pixel * 3 + 1]!, rgb[pixel * 3 + 2]!];
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  });
}
