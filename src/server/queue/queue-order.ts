/** @file A new order of what waits, told by as few new priorities as do: whoever asks later still comes behind. Pure. */

export interface Waiting {
  readonly id: string;
  /** In the order of asking. */
  readonly number: number;
  readonly priority: number;
}

/** Whether the first is claimed before the second. */
function comesBefore(a: Waiting, b: Waiting): boolean {
  return a.priority > b.priority || (a.priority === b.priority && a.number < b.number);
}

/** `waiting` in the order of claims, with the job `id` before the job `before`; at the end where that is undefined, or waits no more. */
export function movedBefore(waiting: readonly Waiting[], id: string, before: string | undefined): readonly Waiting[] {
  const sorted = waiting.toSorted((a, b) => (comesBefore(a, b) ? -1 : 1));
  const moved = sorted.find((each) => each.id === id);
  if (!moved || before === id) return sorted;
  const others = sorted.filter((each) => each !== moved);
  const at = others.findIndex((each) => each.id === before);
  return others.toSpliced(at < 0 ? others.length : at, 0, moved);
}

/**
 * By id, of those that need another priority for `order` to be that of claims. One that gets a new priority gets one that nobody behind it has: whichever was
 * asked for first, it comes before them.
 */
export function newPriorities(order: readonly Waiting[]): ReadonlyMap<string, number> {
  const changed = new Map<string, number>();
  let next: Waiting | undefined;
  for (const each of order.toReversed()) {
    const stays = !next || (changed.has(next.id) ? each.priority > next.priority : comesBefore(each, next));
    const priority = stays ? each.priority : next!.priority + 1;
    if (!stays) changed.set(each.id, priority);
    next = { ...each, priority };
  }
  return changed;
}
