/** @file Budgets that nobody asked for, on machines with much memory and with little. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { GiB, MiB } from "../../src/ledger/byte-text.ts";
import { gpuMachine, hostMachine, PROCESS_BYTES, resolveBudgets } from "../../src/node/host-machine.ts";

test("defaults are shares of what is available, and leave room for the process on a small machine", (t) => {
  const available = t.mock.method(process, "availableMemory", () => 64 * GiB);
  assert.deepEqual(resolveBudgets({}, hostMachine()), { deviceBytes: 6 * GiB, ramBytes: 2 * GiB });
  available.mock.mockImplementation(() => 4 * GiB);
  assert.deepEqual(resolveBudgets({}, hostMachine()), { deviceBytes: Math.floor(2.4 * GiB), ramBytes: GiB });
  available.mock.mockImplementation(() => 500 * MiB);
  for (const machine of [hostMachine(), gpuMachine("a card")]) {
    const { ramBytes } = resolveBudgets({}, machine);
    assert.ok(ramBytes > PROCESS_BYTES, `${machine.kind}: ${ramBytes} bytes`);
  }
  assert.equal(resolveBudgets({ ram: { bytes: 100 * MiB } }, hostMachine()).ramBytes, 100 * MiB);
});
