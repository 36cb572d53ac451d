/** @file Device memory within a budget: counted in the ledger first, then taken from the device. */

import { DeviceMemoryError } from "../backend/device.ts";
import { formatBytes } from "../ledger/byte-text.ts";
import type { Ledger } from "../ledger/ledger.ts";

/**
 * Takes memory that `scope` gives back. Rejects with BudgetError if the budget has not that much, and with DeviceMemoryError if
 * the device has less than its budget.
 */
export async function takeMemory<Memory extends Disposable>(
  scope: AsyncDisposableStack,
  ledger: Ledger,
  { bytes, label }: { readonly bytes: number; readonly label: string },
  from: (label: string) => Promise<Memory>,
): Promise<Memory> {
  scope.use(ledger.reserve("device", bytes, label));
  try {
    return scope.use(await from(label));
  } catch (error) {
    if (!(error instanceof DeviceMemoryError)) throw error;
    const { budgetBytes, usedBytes } = ledger.state("device");
    const [needed, free, budget] = [bytes, budgetBytes - usedBytes + bytes, budgetBytes].map(formatBytes);
    throw new DeviceMemoryError({
      code: error.code,
      subject: label,
      problem: `needs ${needed}, budget has ${free} free of ${budget}, but ${error.problem}`,
      next: error.next,
      cause: error,
    });
  }
}
