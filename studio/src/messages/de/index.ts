/** @file German. */
import type { Catalogue } from "../translate.ts";
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

export const de: Catalogue = {
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
};
