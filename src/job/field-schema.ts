/** @file The tables of fields.ts as zod schemas: strict, with limits, defaults and descriptions for z.toJSONSchema. */
import * as z from "zod";
import { type Budget, parseBudget } from "../ledger/budget.ts";
import { type Field, type Fields, flagName, type ValuesOf } from "./field-type.ts";
import { MAX_LORA_CHARS, MAX_LORA_WEIGHT, MAX_LORAS } from "./lora-use.ts";
import { pairOf } from "./pair.ts";
import { MAX_USE_CHARS } from "./parted-use.ts";
import { MAX_PICTURE_CHARS } from "./picture.ts";
import { RANDOM_SEED, seedFromDigits } from "./seed.ts";
import { useTable } from "./use-tables.ts";

/** A strict schema of these fields; z.toJSONSchema describes it with limits, defaults and descriptions. */
export function schemaOf<F extends Fields>(fields: F): z.ZodType<ValuesOf<F>> {
  const shape = Object.entries(fields).map(([name, field]) => [name, fieldSchema(name, field)] as const);
  return z.strictObject(Object.fromEntries(shape)) as unknown as z.ZodType<ValuesOf<F>>;
}

function fieldSchema(name: string, field: Field): z.ZodType {
  const { description, default: standing, absent } = field;
  const text = absent === undefined ? description : `${description} (default: ${absent})`;
  const schema = valueSchema(name, field).meta({
    description: text,
    ...(standing !== undefined && { default: standing }),
  });
  return field.required ? schema : schema.optional();
}

function valueSchema(name: string, { kind, flag }: Field): z.ZodType {
  switch (kind.type) {
    case "text":
      return z.string().max(kind.maxChars);
    case "whole": {
      const schema = z.int().min(kind.min).max(kind.max);
      return kind.multiple === undefined ? schema : schema.multipleOf(kind.multiple);
    }
    case "decimal":
      return z.number().min(kind.min).max(kind.max);
    case "choice":
      return z.enum(kind.values);
    case "named":
      return z.string().transform((text, context) => {
        const meaning = kind.table.meaning(text);
        if (meaning === undefined) context.addIssue({ code: "custom", message: "no such name" });
        return meaning;
      });
    case "switch":
      return z.boolean();
    case "seed": {
      const digits = z.string().regex(/^\d{1,40}$/);
      const seed = z.union([
        z.int().min(RANDOM_SEED).max(Number.MAX_SAFE_INTEGER),
        digits,
        z.literal(`${RANDOM_SEED}`),
      ]);
      return seed.transform((value, context) => {
        if (Number(value) === RANDOM_SEED) return undefined;
        const read = seedFromDigits(String(value));
        if (read === undefined) context.addIssue({ code: "custom", message: "past the last seed" });
        return read;
      });
    }
    case "pair": {
      const { separator, min, max } = kind;
      const fits = (text: string) => pairOf(text, separator)?.every((number) => number >= min && number <= max);
      return z
        .string()
        .regex(new RegExp(`^\\d{1,9}${separator}\\d{1,9}$`))
        .refine((text) => fits(text) === true);
    }
    case "picture":
      return z.string().min(1).max(MAX_PICTURE_CHARS);
    case "loras": {
      const weight = z.number().min(-MAX_LORA_WEIGHT).max(MAX_LORA_WEIGHT).optional();
      const share = z.number().min(0).max(1).optional();
      const file = z.string().min(1).max(MAX_LORA_CHARS);
      const use = z.strictObject({ file, weight, unet: weight, te: weight, from: share, to: share });
      return z
        .array(use)
        .max(MAX_LORAS)
        .refine((uses) => uses.every(({ from = 0, to = 1 }) => from <= to));
    }
    case "controls":
    case "ipAdapters": {
      const { parts, max, fits } = useTable(kind)!;
      const told = Object.entries(parts).map(([part, { kind: each, description }]) => {
        return [part, valueSchema(part, { kind: each, description }).optional().meta({ description })] as const;
      });
      const file = z.string().min(1).max(MAX_USE_CHARS);
      const use = z.strictObject({ file, ...Object.fromEntries(told) });
      return z
        .array(use)
        .max(max)
        .refine((uses) => uses.every(fits));
    }
    case "pictures":
      return z.array(z.string().min(1).max(MAX_PICTURE_CHARS)).max(kind.maxCount);
    case "files":
      return z.array(z.string().min(1).max(MAX_LORA_CHARS)).max(kind.maxCount);
    case "amount": {
      const bytes = z.int().min(1);
      const value = z.union([z.strictObject({ bytes }), z.strictObject({ allBut: bytes })]);
      const read = (amount: string | number | Budget) => {
        if (typeof amount === "string") return parseBudget(flag ? flagName(flag) : name, amount);
        return typeof amount === "number" ? { bytes: amount } : amount;
      };
      return z.union([z.string(), bytes, value]).transform(read);
    }
  }
}
