/** @file A job's settings as a link, and back: one query parameter a field, readable, and read by the field's kind. */
import type { JobFields, JobValue, SchemaField } from "../../api/types.ts";
import { addressOf } from "../../shell/route.ts";

/** What fits into a link: pictures and lists do not. */
function isSimple(value: JobValue): value is string | number | boolean {
  return typeof value !== "object";
}

export function linkOf(job: JobFields, fields: readonly SchemaField[]): string {
  const shared = Object.entries(job).filter(([name, value]) => {
    const kind = fields.find((field) => field.name === name)?.kind.type;
    return kind !== undefined && kind !== "picture" && isSimple(value);
  });
  const query = Object.fromEntries(shared.map(([name, value]) => [name, String(value)]));
  return new URL(addressOf("draw", query), location.href).href;
}

/** Fields that the schema has, with values of their kinds; everything else is passed over. The server checks them. */
export function fieldsOfQuery(query: URLSearchParams, fields: readonly SchemaField[]): JobFields {
  const read = fields.flatMap(({ name, kind }): [string, JobValue][] => {
    const text = query.get(name);
    if (text === null) return [];
    switch (kind.type) {
      case "whole":
      case "decimal": {
        const value = Number(text);
        return text !== "" && Number.isFinite(value) ? [[name, value]] : [];
      }
      case "switch":
        return [[name, text === "true"]];
      case "seed": {
        if (!/^\d{1,20}$/.test(text)) return [];
        const value = Number(text);
        return [[name, Number.isSafeInteger(value) ? value : text]];
      }
      case "picture":
      case "loras":
      case "controls":
      case "ipAdapters":
      case "pictures":
      case "files":
        return [];
      default:
        return [[name, text.slice(0, kind.maxChars ?? 200)]];
    }
  });
  return Object.fromEntries(read);
}
