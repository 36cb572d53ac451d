/** @file The ledger: budgets hold before anything is taken, what is given back counts once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BudgetError } from "../../src/errors.ts";
import { parseBudget, resolveBudget } from "../../src/ledger/budget.ts";
import { MiB } from "../../src/ledger/byte-text.ts";
import { Ledger } from "../../src/ledger/ledger.ts";

test("ledger: over the budget throws before anything is taken, twice released throws, peaks are kept", () => {
  const ledger = new Ledger({ device: 100, ram: 10, disk: 0 });
  const first = ledger.reserve("device", 60, "weights");
  assert.throws(
    () => ledger.reserve("device", 41, "activations"),
    (error) => error instanceof BudgetError && /activations needs 41 B, 40 B of 100 B are free/.test(error.message),
  );
  {
    using _ = ledger.reserve("device", 40, "activations");
    assert.equal(ledger.state("device").usedBytes, 100);
  }
  assert.deepEqual(ledger.held(), [{ tier: "device", label: "weights", lengthBytes: 60 }]);
  first[Symbol.dispose]();
  assert.throws(() => first[Symbol.dispose](), /released twice/);
  assert.deepEqual(ledger.state("device"), { budgetBytes: 100, usedBytes: 0, peakBytes: 100 });
  assert.throws(() => ledger.reserve("ram", -1, "x"), RangeError);
  assert.throws(() => ledger.reserve("ram", 11, "x"), /E_RAM --ram/);
});

test("the budget that is advised is enough, beside what is held already, in whole MiB", () => {
  const ledger = new Ledger({ device: 1.5 * MiB, ram: 0, disk: 0 });
  ledger.reserve("device", MiB, "weights");
  for (const [bytes, advised] of [
    [MiB, 2],
    [MiB + 1, 3],
  ] as const) {
    assert.throws(() => ledger.reserve("device", bytes, "x"), { next: `give --vram ${advised}M or more` });
  }
});

test("a budget of all but so much is what is left; nothing left is none", () => {
  assert.equal(resolveBudget("--vram", { allBut: 30 }, 100), 70);
  assert.equal(resolveBudget("--vram", { bytes: 30 }, 20), 30);
  for (const capacity of [30, 20]) {
    assert.throws(() => resolveBudget("--vram", { allBut: 30 }, capacity), { code: "E_BUDGET" });
  }
  for (const [text, budget] of [
    ["-1G", { allBut: 2 ** 30 }],
    ["1.5t", { bytes: 1.5 * 2 ** 40 }],
    ["7", { bytes: 7 }],
    ["2KiB", { bytes: 2048 }],
  ] as const) {
    assert.deepEqual(parseBudget("--vram", text), budget);
  }
  for (const text of ["0", "0G", "-0", "0.2", "1 2", "1e3", "9007199254740993"]) {
    assert.throws(() => parseBudget("--vram", text), { code: "E_BUDGET_SYNTAX" }, text);
  }
});

test("peaks that begin anew count from what is held", () => {
  const ledger = new Ledger({ device: 100, ram: 10, disk: 0 });
  const held = ledger.reserve("device", 60, "weights");
  ledger.reserve("device", 30, "activations")[Symbol.dispose]();
  ledger.reserve("ram", 7, "pictures")[Symbol.dispose]();
  ledger.restartPeaks();
  assert.deepEqual([ledger.state("device").peakBytes, ledger.state("ram").peakBytes], [60, 0]);
  ledger.reserve("device", 5, "links")[Symbol.dispose]();
  assert.equal(ledger.state("device").peakBytes, 65);
  held[Symbol.dispose]();
  assert.equal(ledger.state("device").peakBytes, 65);
});
