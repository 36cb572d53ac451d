/**
 * @file The ledger: every byte that a tier gives out is reserved here first, by scope. A reservation over the budget throws
 * before anything is allocated; a double release throws too. The driver does not enforce a budget, so this does.
 */

import { BudgetError } from "../errors.ts";
import { budgetText } from "./budget.ts";
import { formatBytes } from "./byte-text.ts";

export type Tier = "device" | "ram" | "disk";

/** What to do about a full tier: its error code and the option that widens it. */
const TIERS: Readonly<Record<Tier, { readonly code: string; readonly option: string; readonly next: string }>> = {
  device: { code: "E_VRAM", option: "--vram", next: "give --vram" },
  ram: { code: "E_RAM", option: "--ram", next: "give --ram" },
  disk: { code: "E_DISK_FULL", option: "disk", next: "free" },
};

/** Bytes held until disposed. Disposing twice throws. */
export interface Reservation extends Disposable {
  readonly tier: Tier;
  readonly label: string;
  readonly lengthBytes: number;
}

export interface TierState {
  readonly budgetBytes: number;
  readonly usedBytes: number;
  readonly peakBytes: number;
}

export class Ledger {
  readonly #tiers: Record<Tier, { budgetBytes: number; usedBytes: number; peakBytes: number }>;
  readonly #held = new Set<Reservation>();

  constructor(budgets: Readonly<Record<Tier, number>>) {
    const tier = (budgetBytes: number) => ({ budgetBytes, usedBytes: 0, peakBytes: 0 });
    this.#tiers = { device: tier(budgets.device), ram: tier(budgets.ram), disk: tier(budgets.disk) };
  }

  /** Throws BudgetError if the tier has not that much left. */
  reserve(tier: Tier, lengthBytes: number, label: string): Reservation {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0) throw new RangeError(`${label}: ${lengthBytes} bytes`);
    const state = this.#tiers[tier];
    const freeBytes = state.budgetBytes - state.usedBytes;
    if (lengthBytes > freeBytes) {
      const { code, option, next } = TIERS[tier];
      throw new BudgetError({
        code,
        subject: option,
        problem: `${label} needs ${formatBytes(lengthBytes)}, ${formatBytes(freeBytes)} of ${formatBytes(state.budgetBytes)} are free`,
        next: `${next} ${budgetText(state.usedBytes + lengthBytes)} or more`,
      });
    }
    state.usedBytes += lengthBytes;
    state.peakBytes = Math.max(state.peakBytes, state.usedBytes);
    const held = this.#held;
    const reservation: Reservation = {
      tier,
      label,
      lengthBytes,
      [Symbol.dispose]() {
        if (!held.delete(reservation)) throw new Error(`${label}: released twice`);
        state.usedBytes -= lengthBytes;
      },
    };
    held.add(reservation);
    return reservation;
  }

  /** Peaks count from what is held now. */
  restartPeaks(): void {
    for (const state of Object.values(this.#tiers)) state.peakBytes = state.usedBytes;
  }

  state(tier: Tier): TierState {
    return { ...this.#tiers[tier] };
  }

  /** What is held now, for messages and tests: empty once all work has ended. */
  held(): readonly { readonly tier: Tier; readonly label: string; readonly lengthBytes: number }[] {
    return [...this.#held].map(({ tier, label, lengthBytes }) => ({ tier, label, lengthBytes }));
  }
}
