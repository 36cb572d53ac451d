/** @file What PostgreSQL's text and JSON hold: no character of code 0, no half of a surrogate pair. */

/** Whether all texts of a JSON value can be kept in the database. */
export function isStorable(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed() && !value.includes("\0");
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([name, each]) => isStorable(name) && isStorable(each));
}
