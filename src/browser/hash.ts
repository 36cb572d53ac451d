/**
 * @file `#hash` in a browser: WebCrypto for what is hashed whole and may wait. It knows no pieces and no answer at once: for those,
 * SHA-256 in plain arithmetic (FIPS 180-4), which is asked for indexes and names, never for weights.
 */
import { toHex } from "../source/hex.ts";
import type { Hash, IncrementalHash } from "../source/platform.ts";

const BLOCK_BYTES = 64;

export const sha256: Hash["sha256"] = () => new Sha256();

export const sha256Hex: Hash["sha256Hex"] = (content) => new Sha256().update(content).digestHex();

export const sha256Digest: Hash["sha256Digest"] = async (bytes) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

/** First 32 bits behind the point of the roots of the first primes: exact in double precision for these few. */
function rootBits(count: number, root: (prime: number) => number): Uint32Array {
  const bits: number[] = [];
  for (let candidate = 2; bits.length < count; candidate++) {
    let prime = true;
    for (let i = 2; i * i <= candidate; i++) if (candidate % i === 0) prime = false;
    if (prime) bits.push(((root(candidate) % 1) * 2 ** 32) >>> 0);
  }
  return Uint32Array.from(bits);
}

const START = rootBits(8, Math.sqrt);
const ROUND_KEYS = rootBits(64, Math.cbrt);

class Sha256 implements IncrementalHash {
  readonly #state = START.slice();
  readonly #block = new Uint8Array(BLOCK_BYTES);
  readonly #schedule = new Uint32Array(64);
  #lengthBytes = 0;

  update(content: Uint8Array | string): this {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    for (let done = 0; done < bytes.byteLength; ) {
      const at = this.#lengthBytes % BLOCK_BYTES;
      const piece = bytes.subarray(done, done + BLOCK_BYTES - at);
      this.#block.set(piece, at);
      this.#lengthBytes += piece.byteLength;
      done += piece.byteLength;
      if (this.#lengthBytes % BLOCK_BYTES === 0) this.#compress();
    }
    return this;
  }

  digestHex(): string {
    const bits = BigInt(this.#lengthBytes) * 8n;
    const zeros = (2 * BLOCK_BYTES - 9 - (this.#lengthBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    const end = new Uint8Array(1 + zeros + 8);
    end[0] = 0x80;
    new DataView(end.buffer).setBigUint64(1 + zeros, bits);
    this.update(end);
    const digest = new Uint8Array(32);
    const view = new DataView(digest.buffer);
    this.#state.forEach((word, i) => {
      view.setUint32(4 * i, word);
    });
    return toHex(digest);
  }

  #compress(): void {
    const w = this.#schedule;
    const view = new DataView(this.#block.buffer);
    for (let t = 0; t < 16; t++) w[t] = view.getUint32(4 * t);
    for (let t = 16; t < 64; t++) {
      const s0 = rotate(w[t - 15]!, 7) ^ rotate(w[t - 15]!, 18) ^ (w[t - 15]! >>> 3);
      const s1 = rotate(w[t - 2]!, 17) ^ rotate(w[t - 2]!, 19) ^ (w[t - 2]! >>> 10);
      w[t] = w[t - 16]! + s0 + w[t - 7]! + s1;
    }
    let [a, b, c, d, e, f, g, h] = this.#state as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    for (let t = 0; t < 64; t++) {
      const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + ROUND_KEYS[t]! + w[t]!) | 0;
      const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      this.#state[i] = this.#state[i]! + word;
    });
  }
}

function rotate(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}
