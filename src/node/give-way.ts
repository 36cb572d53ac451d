/** @file A thread that computes, behind those that answer. */
import os from "node:os";

/** Its share beside another thread that wants the same processor is a quarter. */
const NICE = 5;

/** This thread, and those that it starts from now on, give way to others of the process and of the machine. On Linux alone: elsewhere a priority is the process's. */
export function giveWay(): void {
  if (process.platform === "linux") os.setPriority(0, NICE);
}
