/** @file English, whose keys are everybody's. A view adds its own file here, and in each other language. */
import { draw } from "./draw.ts";
import { queue } from "./queue.ts";
import { shell } from "./shell.ts";

export const en = { ...shell, ...draw, ...queue } as const;
