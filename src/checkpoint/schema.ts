/** @file Does a tensor table hold what a network needs, and nothing strange? Names are made canonical first (older exports). */
import type { TensorEntry, TensorTable } from "../container/table.ts";
import { ArtifactError } from "../errors.ts";

export type Schema = ReadonlyMap<string, readonly number[]>;

export interface ComponentRules {
  /** Folder name, for messages. */
  readonly component: string;
  readonly schema: Schema;
  /** Canonical name of a stored name. */
  readonly canonical: (name: string) => string;
  /** Stored tensors that this network's part doesn't read, and that are no mistake. */
  readonly ignored: (canonicalName: string) => boolean;
  /** Whether a network of this kind, of any size, may read a tensor of this name: then one too many means that files are mixed up. */
  readonly familiar: (canonicalName: string) => boolean;
}

const FLOAT_DTYPES: ReadonlySet<string> = new Set(["f16", "bf16", "f32"]);

export interface SchemaReport {
  /** Canonical name -> entry, only what the schema asks for. */
  readonly table: TensorTable;
  /** One line each; empty if all fits. */
  readonly problems: string[];
  /** One line each: what is left aside, as the reference leaves it aside with a warning. */
  readonly notes: string[];
}

/**
 * Goes with weights that are stored otherwise than they are meant: scales of fp8 and fp4, the parts of bitsandbytes, GPTQ and AWQ,
 * adapters that were not merged. Without it the same names and shapes draw another picture.
 */
const PART_OF_WEIGHTS =
  /(^|[._])(scaled_fp8|comfy_quant|scale_(weight|input)|(weight|input|output)_scale(_\d+)?|absmax|quant_(map|state)|qweight|qzeros|scales|g_idx|weight_[gv]|lora|dora)([._]|$)/;

/** Compares names, shapes and dtypes. A [N, K, 1, 1] weight counts as [N, K] (old exports stored such projections as 1x1 convolutions). A shard misses nothing. */
export function compareWithSchema(stored: TensorTable, rules: ComponentRules, isShard = false): SchemaReport {
  const table = new Map<string, TensorEntry>();
  const problems: string[] = [];
  const strange: string[] = [];
  const unread: string[] = [];
  for (const [name, entry] of stored) {
    const key = rules.canonical(name);
    const expected = rules.schema.get(key);
    if (!expected) {
      if (rules.ignored(key)) continue;
      (rules.familiar(key) || PART_OF_WEIGHTS.test(key) ? strange : unread).push(name);
      continue;
    }
    const shape = entry.shape.length === expected.length + 2 ? trimUnitAxes(entry.shape) : entry.shape;
    if (shape.length !== expected.length || shape.some((dim, i) => dim !== expected[i])) {
      problems.push(`tensor "${name}": shape [${entry.shape}] expected [${expected}]`);
    } else if (!FLOAT_DTYPES.has(entry.dtype)) {
      problems.push(`tensor "${name}": dtype ${entry.dtype}, expected f16, bf16 or f32`);
    } else if (table.has(key)) {
      problems.push(`tensor "${name}": there is another one that is "${key}" as well`);
    } else {
      table.set(key, { ...entry, name: key, shape });
    }
  }
  const missing = [...rules.schema.keys()].filter(
    (key) => !table.has(key) && !problems.some((p) => p.includes(`"${key}"`)),
  );
  if (missing.length > 0 && !isShard)
    problems.push(`${missing.length} tensors are missing, first ${quoteFirst(missing)}`);
  if (strange.length > 0) problems.push(`${strange.length} tensors are not SDXL's, first ${quoteFirst(strange)}`);
  const notes: string[] = [];
  if (unread.length > 0) {
    const them =
      unread.length === 1 ? "1 tensor that nothing reads is" : `${unread.length} tensors that nothing reads are`;
    notes.push(`${rules.component}: ${them} left aside, first ${quoteFirst(unread)}`);
  }
  return { table, problems, notes };
}

/** The table by canonical name. `onNote` is told of what is left aside. Throws ArtifactError `E_SCHEMA` with the first problem and their count. */
export function requireSchema(
  stored: TensorTable,
  rules: ComponentRules,
  subject: string,
  onNote?: (note: string) => void,
): TensorTable {
  const { table, problems, notes } = compareWithSchema(stored, rules);
  if (problems.length > 0) {
    const more = problems.length > 1 ? ` (and ${problems.length - 1} more problems)` : "";
    throw new ArtifactError({
      code: "E_SCHEMA",
      subject,
      problem: `${problems[0]}${more}`,
      next: "check that weights and config.json belong together: solvay verify FOLDER",
    });
  }
  for (const note of notes) onNote?.(note);
  return table;
}

export function quoteFirst(names: readonly string[]): string {
  return names
    .slice(0, 3)
    .map((name) => JSON.stringify(name.slice(0, 120)))
    .join(", ");
}

function trimUnitAxes(shape: readonly number[]): readonly number[] {
  return shape.at(-1) === 1 && shape.at(-2) === 1 ? shape.slice(0, -2) : shape;
}
