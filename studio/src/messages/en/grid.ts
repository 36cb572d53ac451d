/** @file Words of grids. */
export const grid = {
  "nav.grid": "Grid",
  "grid.x": "Across",
  "grid.y": "Down",
  "grid.z": "Sheets",
  "grid.go": "Draw the grid",
  "grid.field": "{axis}: what changes",
  "grid.values": "{axis}: values",
  "grid.none": "Nothing",
  "grid.words": "Words of the prompt",
  "grid.wordsHint": "cat, dog, fox",
  "grid.hint":
    "Everything else is as the form has it. Values between commas; 1-5, 20-40:10 and 0.2-0.8 [4] are ranges. For words: the first is replaced by the others.",
  "grid.add": "{axis}: add a value",
  "grid.addOne": "Add ...",
  "grid.done": { one: "{done} of {count} picture", other: "{done} of {count} pictures" },
  "grid.size": "Size of the cells",
  "grid.later": { one: "{count} more waits for room in the queue", other: "{count} more wait for room in the queue" },
  "grid.leaveOut": "Leave them out",
} as const;
