/** @file Seeded random numbers for synthetic weights. */

/** Numbers from 0 up to 1 by xorshift32: the same on every machine. */
export function uniforms(start: number): () => number {
  let state = (start ^ 0x9e3779b9) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
