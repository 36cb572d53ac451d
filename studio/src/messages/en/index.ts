/** @file English, whose keys are everybody's. A view adds its own file here, and in each other language. */
import { control } from "./control.ts";
import { draw } from "./draw.ts";
import { enlarge } from "./enlarge.ts";
import { fields } from "./fields.ts";
import { gallery } from "./gallery.ts";
import { grid } from "./grid.ts";
import { likeness } from "./likeness.ts";
import { models } from "./models.ts";
import { queue } from "./queue.ts";
import { recall } from "./recall.ts";
import { shell } from "./shell.ts";
import { solvay } from "./solvay.ts";
import { start } from "./start.ts";

export const en = {
  ...shell,
  ...draw,
  ...control,
  ...likeness,
  ...enlarge,
  ...fields,
  ...queue,
  ...recall,
  ...gallery,
  ...start,
  ...grid,
  ...solvay,
  ...models,
} as const;
