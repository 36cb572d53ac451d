/** @file What the loop completes: the commands, the names that a field takes, and files where a field names one. */
import { readdirSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import type { Fields } from "../job/field-type.ts";
import { JOB_FIELDS } from "../job/fields.ts";
import { useTable } from "../job/use-tables.ts";

/** Commands whose argument is a file. */
const FILE_COMMANDS = ["load", "model", "hires-upscaler"];
/** A folder of thousands is no help. */
const MAX_NAMES = 200;

/** For readline: what `line` may go on to, and the part of it that those replace. `commands`: without colons; `cwd`: of relative paths. */
export function completion(
  line: string,
  { commands, cwd }: { readonly commands: readonly string[]; readonly cwd: string },
): [string[], string] {
  const [, name, typed = ""] = /^:(\S+)\s+(.*)$/su.exec(line) ?? [];
  if (name === undefined) {
    const all = commands.map((command) => `:${command}`);
    return [line.startsWith(":") ? all.filter((command) => command.startsWith(line)) : [], line];
  }
  const field = Object.values<Fields[string]>(JOB_FIELDS).find(({ loop }) => loop?.word === name);
  const kind = field?.kind;
  if (FILE_COMMANDS.includes(name) || kind?.type === "picture") return [filesLike(typed, cwd), typed];
  if (kind?.type === "loras" || kind?.type === "files" || kind?.type === "pictures" || (kind && useTable(kind))) {
    // The last of a list; none of them stands for all.
    const last = /[^,]*$/u.exec(typed)![0].trimStart();
    const none = last === typed && "none".startsWith(typed) ? ["none"] : [];
    return [[...filesLike(last, cwd), ...none], last];
  }
  const names = kind?.type === "named" ? kind.table.names : kind?.type === "choice" ? kind.values : [];
  const cleared = field?.loop?.clear ? [field.loop.clear] : [];
  return [[...names, ...cleared].filter((each) => each.startsWith(typed.toLowerCase())), typed];
}

/** Names in the folder that `typed` leads to; folders end in a slash. */
function filesLike(typed: string, cwd: string): string[] {
  const [, folder = "", begun = ""] = /^(.*[\\/])?([^\\/]*)$/su.exec(typed) ?? [];
  const place = path.resolve(cwd, folder.replace(/^~(?=[\\/])/, homedir()));
  try {
    return readdirSync(place, { withFileTypes: true })
      .filter(({ name }) => name.startsWith(begun) && (begun !== "" || !name.startsWith(".")))
      .slice(0, MAX_NAMES)
      .map((entry) => `${folder}${entry.name}${entry.isDirectory() ? "/" : ""}`);
  } catch {
    return [];
  }
}
