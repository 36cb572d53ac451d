/** @file What a person's pages keep with the server, so that the next browser has it too: small values by name, by the key that asks. */

import { UsageError } from "../errors.ts";
import type { Database } from "./queue/database.ts";
import { isStorable } from "./storable-text.ts";

/** Values that one key may keep, and how large they may be. */
export const SETTING_LIMITS = { names: 64, valueChars: 32_768, nameChars: 40 } as const;
export const SETTING_NAME = "^[a-z][A-Za-z0-9-]{0,39}$";

export type KeptSettings = Readonly<Record<string, unknown>>;

export async function keptSettings(database: Database, owner: string): Promise<KeptSettings> {
  const rows = await database.query<{ name: string; value: unknown }>(
    "select name, value from solvay.settings where owner = $1 order by name",
    [owner],
  );
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
}

/** Values in place of those that were kept; null takes one away. All, or none: throws UsageError `E_SETTING`. */
export async function keepSettings(database: Database, owner: string, changes: KeptSettings): Promise<KeptSettings> {
  await database.transaction(async (sql) => {
    for (const [name, value] of Object.entries(changes)) {
      if (!new RegExp(SETTING_NAME).test(name))
        throw refused(name, "a name is letters, digits and -, from a small letter");
      const text = JSON.stringify(value);
      if (text.length > SETTING_LIMITS.valueChars) {
        throw refused(name, `too large (found ${text.length} characters, allowed ${SETTING_LIMITS.valueChars})`);
      }
      if (!isStorable(value))
        throw refused(name, "a text has a character of code 0, or half of one of two UTF-16 codes");
      if (value === null) await sql.query("delete from solvay.settings where owner = $1 and name = $2", [owner, name]);
      else {
        await sql.query(
          `insert into solvay.settings (owner, name, value) values ($1, $2, $3)
           on conflict (owner, name) do update set value = excluded.value`,
          [owner, name, text],
        );
      }
    }
    const [row] = await sql.query<{ count: number }>(
      "select count(*)::int as count from solvay.settings where owner = $1",
      [owner],
    );
    const count = row?.count ?? 0;
    if (count > SETTING_LIMITS.names) {
      throw refused("settings", `too many of them (found ${count}, allowed ${SETTING_LIMITS.names})`);
    }
  });
  return await keptSettings(database, owner);
}

function refused(subject: string, problem: string): UsageError {
  return new UsageError({ code: "E_SETTING", subject: subject.slice(0, 60), problem, next: "keep less" });
}
