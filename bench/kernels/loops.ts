/** @file The hot loop of a kernel's machine code: what a compiler put into the loop that holds most of the products. Pure. */

/** A line of machine code. */
export interface Instruction {
  readonly name: string;
  /** Of the place that it may jump to. */
  readonly target?: string;
  /** Written before it. */
  readonly labels: readonly string[];
}

export type InstructionClass =
  | "fma"
  | "matrix"
  | "sharedRead"
  | "sharedWrite"
  | "globalRead"
  | "globalWrite"
  | "local"
  | "arithmetic"
  | "scalar"
  | "wait"
  | "control";

export type Mix = Readonly<Partial<Record<InstructionClass, number>>>;

export interface HotLoop {
  /** Of one pass of the innermost loop with most products. */
  readonly inner: Mix;
  /** Of one pass of the loop around it, inner passes counted as often as `roundFma` says, without `seldom`. */
  readonly round?: Mix;
  /** Of `round`: what a jump leaves out together with another loop, as at the change of a tap. Most passes don't come there. */
  readonly seldom?: Mix;
}

interface Span {
  readonly first: number;
  readonly last: number;
}

/** Jumps backwards, innermost first. */
function loopsOf(code: readonly Instruction[]): Span[] {
  const places = new Map(code.flatMap(({ labels }, index) => labels.map((label) => [label, index] as const)));
  const spans = new Map<number, Span>();
  code.forEach(({ target }, last) => {
    const first = target === undefined ? undefined : places.get(target);
    // Several jumps to one head are one loop.
    if (first !== undefined && first <= last) spans.set(first, { first, last });
  });
  // A jump to itself ends NVIDIA's programs.
  return [...spans.values()]
    .filter(({ first, last }) => last > first)
    .sort((a, b) => a.last - a.first - (b.last - b.first));
}

function mixOf(
  code: readonly Instruction[],
  classify: (name: string) => InstructionClass,
): Map<InstructionClass, number> {
  const mix = new Map<InstructionClass, number>();
  for (const { name } of code) mix.set(classify(name), (mix.get(classify(name)) ?? 0) + 1);
  return mix;
}

/** `roundFma`: products of one thread in one pass of the outer loop, `weight` of each product instruction. */
export function hotLoop(
  code: readonly Instruction[],
  classify: (name: string) => InstructionClass,
  roundFma?: number,
  weight = 1,
): HotLoop | undefined {
  const products = ({ first, last }: Span) => {
    const mix = mixOf(code.slice(first, last + 1), classify);
    return (mix.get("fma") ?? 0) + (mix.get("matrix") ?? 0);
  };
  const loops = loopsOf(code);
  const most = Math.max(0, ...loops.map(products));
  // The smallest that holds the most: the loop around it holds a few more, for addresses.
  const inner = loops.find((loop) => products(loop) >= 0.9 * most);
  if (!inner || most === 0) return undefined;
  const innerMix = mixOf(code.slice(inner.first, inner.last + 1), classify);
  const plain: Mix = Object.fromEntries(innerMix);
  const passes = roundFma === undefined ? 1 : roundFma / weight / products(inner);
  const outer = passes < 1.5 ? inner : loops.find((loop) => loop !== inner && contains(loop, inner));
  if (!outer) return { inner: plain };
  const seldom = seldomSpan(code, loops, outer, inner, classify);
  const parts = seldom ? [code.slice(seldom.first, seldom.last + 1)] : [];
  const round = mixOf(code.slice(outer.first, outer.last + 1), classify);
  if (passes >= 1.5)
    for (const [name, count] of innerMix) round.set(name, Math.round((round.get(name) ?? 0) + count * (passes - 1)));
  for (const part of parts)
    for (const [name, count] of mixOf(part, classify)) round.set(name, (round.get(name) ?? 0) - count);
  return {
    inner: plain,
    round: Object.fromEntries(round),
    ...(seldom ? { seldom: Object.fromEntries(mixOf(parts[0]!, classify)) } : {}),
  };
}

function contains(outer: Span, inner: Span): boolean {
  return outer.first <= inner.first && outer.last >= inner.last;
}

/** What the nearest jump around a loop beside the hot one leaves out, within the loop around both: the change of a tap. */
function seldomSpan(
  code: readonly Instruction[],
  loops: readonly Span[],
  outer: Span,
  hot: Span,
  classify: (name: string) => InstructionClass,
): Span | undefined {
  const beside = loops.filter(
    (loop) =>
      loop !== outer &&
      loop !== hot &&
      contains(outer, loop) &&
      !contains(loop, hot) &&
      (hot === outer || !contains(hot, loop)),
  );
  const places = new Map(code.flatMap(({ labels }, index) => labels.map((label) => [label, index] as const)));
  let found: Span | undefined;
  for (let first = outer.first; first <= outer.last; first++) {
    const target = code[first]!.target;
    const place = target === undefined ? undefined : places.get(target);
    if (place === undefined || place <= first || place > outer.last) continue;
    const span = { first: first + 1, last: place - 1 };
    if (!beside.some((loop) => contains(span, loop)) || (hot !== outer && contains(span, hot))) continue;
    // Every round reads memory.
    if (code.slice(span.first, span.last + 1).some(({ name }) => classify(name) === "globalRead")) continue;
    if (!found || span.last - span.first < found.last - found.first) found = span;
  }
  return found;
}
