/** @file Memory of the host in one piece, given back when it is disposed and not when the collector comes by. */
import { BudgetError } from "../errors.ts";
import type { Arena } from "./device.ts";

export class HostMemory implements Arena {
  readonly label: string;
  readonly lengthBytes: number;
  #buffer: ArrayBuffer | undefined;

  /** Throws BudgetError `E_MEMORY` if the system has it not. Zeroed. */
  constructor(label: string, lengthBytes: number) {
    this.label = label;
    this.lengthBytes = lengthBytes;
    try {
      this.#buffer = new ArrayBuffer(lengthBytes);
    } catch (cause) {
      throw new BudgetError({
        code: "E_MEMORY",
        subject: label,
        problem: `the system has no ${lengthBytes} bytes of memory in one piece`,
        next: "close other programs, or give smaller --vram and --ram",
        cause,
      });
    }
  }

  get buffer(): ArrayBuffer {
    if (!this.#buffer) throw new Error(`${this.label}: used after its release`);
    return this.#buffer;
  }

  /** Views of it are empty from now on. Throws if it was given back before. */
  [Symbol.dispose](): void {
    this.buffer.transfer(0);
    this.#buffer = undefined;
  }
}
