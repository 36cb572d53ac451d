/**
 * @file Reductions whose last halvings go from register to register within a subgroup. Each adds the same two values as the
 * one through workgroup memory does, so results have the same bits, whatever a subgroup's size: shuffles stay within aligned
 * groups of as many lanes as the adapter's smallest subgroup has. That thread t is lane t % size isn't promised by WGSL; the
 * self-test (self-test.ts) compares bits on the device.
 */

/** Largest of `lanes` (2, 4, 8 ...) neighbouring threads' values, for each of them. A maximum has no order. */
export function shuffleMax(value: string, lanes: number): string {
  let text = value;
  for (let mask = 1; mask < lanes; mask *= 2) text = `pairMax(${text}, ${mask}u)`;
  return text;
}

/** Functions that shuffleMax names. */
export const SHUFFLE_FUNCTIONS = `
fn pairMax(x: vec4<f32>, mask: u32) -> vec4<f32> { return max(x, subgroupShuffleXor(x, mask)); }
`;

/**
 * Statements that reduce array `part` (one `type` a thread) to its element 0, halving: element t becomes merge(t, t + half).
 * With `lanes`, halves below it are shuffled. Thread t has stored its value and passed a barrier; a barrier follows the last halving.
 */
export function reduceParts(
  threads: number,
  lanes: number | undefined,
  merge: (a: string, b: string) => string,
): string {
  const shuffled = lanes === undefined ? 1 : Math.min(lanes, threads);
  const shared = `  for (var half = ${threads / 2}u; half >= ${shuffled}u; half >>= 1u) {
    if (t < half) { part[t] = ${merge("part[t]", "part[t + half]")}; }
    workgroupBarrier();
  }`;
  if (shuffled === 1) return shared;
  const rounds: string[] = [];
  for (let half = shuffled / 2; half >= 1; half /= 2)
    rounds.push(`  { let other = subgroupShuffleXor(own, ${half}u); own = ${merge("own", "other")}; }`);
  return `${threads > shuffled ? shared : ""}
  var own = part[t];
${rounds.join("\n")}
  if (t == 0u) { part[0] = own; }
  workgroupBarrier();`;
}
