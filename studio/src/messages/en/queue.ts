/** @file Words of the queue. */
export const queue = {
  "queue.empty": "Nothing waits. What you draw will stand here.",
  "queue.running": "Being drawn",
  "queue.waiting": { one: "{count} picture waits", other: "{count} pictures wait" },
  "queue.over": "Finished",
  "queue.up": "Earlier: {prompt}",
  "queue.down": "Later: {prompt}",
  "queue.first": "To the front: {prompt}",
  "queue.cancel": "Cancel {prompt}",
  "queue.cancelAll": "Cancel all that wait",
  "queue.retry": "Try again: {prompt}",
  "queue.ready": "ready in about {time}",
  "queue.all": "all ready in about {time}",
  "queue.done": "Done",
  "queue.failed": "Failed",
  "queue.cancelled": "Cancelled",
} as const;
