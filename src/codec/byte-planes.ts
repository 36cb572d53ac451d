/**
 * @file Lossless packing of 16-bit weights (fp16, bf16) by byte planes: the low bytes of a chunk as they are, the high bytes
 * (sign, exponent, top of the mantissa) as raw deflate with Huffman codes only. Low bytes are noise and matches are rare, so
 * that no search for them pays; about 85 % of the size is left. A chunk that would not shrink is kept as it is.
 * Layout of a packed chunk of n weights: n low bytes, then the deflate stream. Length 2 n: unpacked weights.
 */
import { deflate, inflate } from "#zlib";
import type { InflateProblem } from "../source/platform.ts";

/** The chunk packed, or a copy where packing gains nothing. `plain`: 1 or more 16-bit weights. Deflates outside of this thread. */
export async function packPlanes(plain: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const count = plain.byteLength / 2;
  const low = new Uint8Array(count);
  const high = new Uint8Array(count);
  for (let i = 0, at = 0; i < count; i++, at += 2) {
    low[i] = plain[at]!;
    high[i] = plain[at + 1]!;
  }
  const packed = await deflate(high, { format: "raw", huffmanOnly: true });
  if (packed.byteLength >= count) return Uint8Array.from(plain);
  const out = new Uint8Array(count + packed.byteLength);
  out.set(low);
  out.set(packed, count);
  return out;
}

/**
 * Fills all of `into` from a packed chunk. Resolves to undefined, or to what is wrong with the chunk, in words; `into` then
 * holds nothing of use. Never inflates beyond the high plane of `into`.
 */
export async function unpackPlanes(packed: Uint8Array, into: Uint8Array): Promise<string | undefined> {
  const count = into.byteLength / 2;
  if (!Number.isInteger(count)) return `${into.byteLength} bytes are no whole number of 16-bit weights`;
  if (packed.byteLength === into.byteLength) {
    into.set(packed);
    return undefined;
  }
  if (packed.byteLength <= count || packed.byteLength > into.byteLength) {
    return `${packed.byteLength} packed bytes, allowed ${count + 1}..${into.byteLength}`;
  }
  const stream = packed.subarray(count);
  const high = await inflate(stream, { format: "raw", maxBytes: count });
  if (!(high instanceof Uint8Array)) return wordsOf(high, count);
  if (high.byteLength !== count) return `expected ${count} high bytes, the stream has ${high.byteLength}`;
  joinPlanes(packed.subarray(0, count), high, into);
  return undefined;
}

function wordsOf({ kind, detail }: InflateProblem, count: number): string {
  if (kind === "long") return `expected ${count} high bytes, the stream continues`;
  if (kind === "trailing") return `${detail} bytes follow the end of the deflate stream`;
  return `the deflate stream is damaged (${detail})`;
}

/** Two weights at a time where the buffers allow for it: this runs in the thread that computes. */
export function joinPlanes(low: Uint8Array, high: Uint8Array, into: Uint8Array): void {
  const count = low.byteLength;
  let done = 0;
  const aligned = into.byteOffset % 4 === 0 && low.byteOffset % 2 === 0 && high.byteOffset % 2 === 0;
  if (aligned && LITTLE_ENDIAN) {
    const pairs = count >>> 1;
    const lowPairs = new Uint16Array(low.buffer, low.byteOffset, pairs);
    const highPairs = new Uint16Array(high.buffer, high.byteOffset, pairs);
    const words = new Uint32Array(into.buffer, into.byteOffset, pairs);
    for (let i = 0; i < pairs; i++) {
      const x = highPairs[i]!;
      const y = lowPairs[i]!;
      words[i] = ((x & 0xff) << 8) | ((x & 0xff00) << 16) | (y & 0xff) | ((y & 0xff00) << 8);
    }
    done = pairs * 2;
  }
  for (; done < count; done++) {
    into[done * 2] = low[done]!;
    into[done * 2 + 1] = high[done]!;
  }
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
