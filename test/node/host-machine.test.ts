/** @file Budgets that nobody asked for, on machines with much memory and with little. */

import assert from "node:assert/strict";
import { totalmem } from "node:os";
import { test } from "node:test";
import { GiB, MiB } from "../../src/ledger/byte-text.ts";
import { gpuMachine, hostMachine, machineNamed, PROCESS_BYTES, resolveBudgets } from "../../src/node/host-machine.ts";

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

test("memory is the machine's, or the container's limit where that is less", (t) => {
  const limit = t.mock.method(process, "constrainedMemory", () => GiB);
  for (const machine of [hostMachine(), gpuMachine("a card")]) assert.equal(machine.ramBytes, GiB, machine.kind);
  assert.equal(hostMachine().deviceBytes, GiB);
  // No limit, or one that means none.
  for (const none of [0, 2 ** 60]) {
    limit.mock.mockImplementation(() => none);
    assert.equal(hostMachine().ramBytes, totalmem());
  }
});

test("a card's own budgets: its memory with some left to the desktop, half of what RAM there is or is free", (t) => {
  t.mock.method(process, "constrainedMemory", () => GiB);
  const available = t.mock.method(process, "availableMemory", () => 64 * GiB);
  const card = gpuMachine("a card");
  assert.deepEqual(resolveBudgets({}, card), { deviceBytes: 5.25 * GiB, ramBytes: GiB / 2 });
  const large = { ...card, ramBytes: 20 * GiB };
  assert.equal(resolveBudgets({}, large).ramBytes, 10 * GiB);
  available.mock.mockImplementation(() => 4 * GiB);
  assert.equal(resolveBudgets({}, large).ramBytes, 2 * GiB);
  // All but so much of each one's own memory: the card has 6 GiB.
  const spared = { vram: { allBut: GiB }, ram: { allBut: 3 * GiB } };
  assert.deepEqual(resolveBudgets(spared, large), { deviceBytes: 5 * GiB, ramBytes: 17 * GiB });
  const asked = { vram: { bytes: 7 * GiB }, ram: { bytes: 5 * GiB } };
  assert.deepEqual(resolveBudgets(asked, large), { deviceBytes: 7 * GiB, ramBytes: 5 * GiB });
});

test("a described machine has what is described, whatever is free here", (t) => {
  const described = machineNamed("rtx2060-6g");
  for (const free of [GiB, 64 * GiB]) {
    t.mock.method(process, "availableMemory", () => free);
    const budgets = { deviceBytes: described.deviceBytes, ramBytes: described.ramBytes / 2 };
    assert.deepEqual(resolveBudgets({}, described), budgets);
  }
  assert.throws(() => machineNamed("none"), { code: "E_MACHINE" });
});
