/**
 * @file Byte-pair encoding of one piece of text, step by step as Hugging Face `tokenizers` does it
 * (models/bpe/word.rs): one merge at a time, lowest rank first, then leftmost.
 */

/** What merging two neighbours gives. */
export interface Merge {
  readonly rank: number;
  readonly newId: number;
}

/** Neighbouring ids to their merge, by `pairKey`. */
export type MergeTable = ReadonlyMap<number, Merge>;

/** Ids stay below this, so that a pair of them is one exact number. */
export const MAX_TOKEN_ID = 2 ** 26;

/** Key of two neighbouring ids in a `MergeTable`. */
export function pairKey(left: number, right: number): number {
  return left * MAX_TOKEN_ID + right;
}

interface Candidate extends Merge {
  readonly position: number;
}

/** Merges `ids` until no pair of neighbours is in the table. O(n log n), whatever the length of the word. */
export function mergePairs(ids: readonly number[], merges: MergeTable): number[] {
  const symbol = [...ids];
  const previous = symbol.map((_, at) => at - 1);
  const next = symbol.map((_, at) => (at + 1 < symbol.length ? at + 1 : -1));
  const gone = symbol.map(() => false);
  const queue: Candidate[] = [];

  const propose = (left: number, right: number): void => {
    const merge = merges.get(pairKey(symbol[left]!, symbol[right]!));
    if (merge) push(queue, { ...merge, position: left });
  };
  for (let at = 0; at + 1 < symbol.length; at++) propose(at, at + 1);

  for (let top = pop(queue); top; top = pop(queue)) {
    const left = top.position;
    const right = next[left]!;
    if (gone[left] || right < 0) continue;
    // A neighbour may have changed since this candidate was proposed.
    if (merges.get(pairKey(symbol[left]!, symbol[right]!))?.newId !== top.newId) continue;
    symbol[left] = top.newId;
    gone[right] = true;
    const after = next[right]!;
    next[left] = after;
    if (after >= 0) previous[after] = left;
    if (previous[left]! >= 0) propose(previous[left]!, left);
    if (after >= 0) propose(left, after);
  }
  return symbol.filter((_, at) => !gone[at]);
}

function before(a: Candidate, b: Candidate): boolean {
  return a.rank !== b.rank ? a.rank < b.rank : a.position < b.position;
}

function push(heap: Candidate[], item: Candidate): void {
  let at = heap.length;
  heap.push(item);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(item, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = item;
}

function pop(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (!top || !last || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
