/** What was asked for, in bytes: that much, or all but that much. */
export type Budget = {
    readonly bytes: number;
} | {
    readonly allBut: number;
};
/** Units are powers of 1024; a bare number is bytes. Throws UsageError `E_BUDGET_SYNTAX`. */
export declare function parseBudget(option: string, text: string): Budget;
/** The bytes a budget stands for on a tier of `capacityBytes`. Throws UsageError `E_BUDGET` if nothing is left. */
export declare function resolveBudget(option: string, budget: Budget, capacityBytes: number): number;
/** `4.50 GiB`, or `all but 1.00 GiB`. */
export declare function describeBudget(budget: Budget): string;
/** What to write after --vram or --ram: `parseBudget` reads it back as at least `bytes`, in whole MiB. */
export declare function budgetText(bytes: number): string;
