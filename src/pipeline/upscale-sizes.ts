/** @file How large an enlarged picture becomes, and how often its network runs for that. Pure. */

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Times that a network runs at most: as A1111 has it (modules/upscaler.py). */
const MAX_RUNS = 3;

/** Of the result: given, or by a scale, which is the network's own unless it is given. */
export function upscaledSize(
  source: Size,
  { width, height, scale }: Partial<Size> & { readonly scale?: number | undefined },
  networkScale: number,
): Size {
  if (width !== undefined && height !== undefined) return { width, height };
  const times = scale ?? networkScale;
  return { width: Math.round(source.width * times), height: Math.round(source.height * times) };
}

/** Sizes of what each run of a network of that scale takes in, until what comes out is as large as `target` on both sides. One at least. */
export function runSizes(source: Size, target: Size, networkScale: number): readonly Size[] {
  const sizes: Size[] = [];
  let { width, height } = source;
  do {
    sizes.push({ width, height });
    width *= networkScale;
    height *= networkScale;
  } while (networkScale > 1 && sizes.length < MAX_RUNS && (width < target.width || height < target.height));
  return sizes;
}
