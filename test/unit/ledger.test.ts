/** @file The ledger: budgets hold before anything is taken, what is given back counts once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BudgetError } from "../../src/errors.ts";
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
