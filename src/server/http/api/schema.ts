/** @file What a form is drawn from: a job's fields with a server's limits, and what suits the model that is served. */

import type { OpenRequest } from "../../../job/checked.ts";
import type { Field, Kind } from "../../../job/field-type.ts";
import { JOB_FIELDS } from "../../../job/fields.ts";
import type { EngineInfo } from "../../../job/types.ts";
import { type UsesType, useTable } from "../../../job/use-tables.ts";
import { imagePromptNames, imagePromptsIn } from "../../../node/image-prompt-files.ts";
import type { JsonObject } from "../../../source/json-fields.ts";
import { drawingInfo, type Services } from "../../services.ts";
import { MAX_COUNT, SERVED_LIMITS } from "../../work/served-job.ts";
import { controlNetsIn } from "../a1111/files.ts";
import type { Route } from "../route.ts";
import { modelAdvice } from "./model-advice.ts";

/** Width to height of the sizes that SDXL was trained on most, as far as people ask for them. */
const SHAPES = [1 / 1, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3, 9 / 16];

export function schemaRoutes(services: Services): readonly Route[] {
  return [
    {
      ...{ method: "get", path: "/api/schema", summary: "A job's fields for a form, and what suits the model" },
      handle: async (context) => {
        const info = await drawingInfo(services);
        const names = await namesIn(services.model);
        const fields = Object.entries<Field>(JOB_FIELDS).map(([name, field]) => fieldView(name, field, names));
        return context.json({
          fields,
          maxCount: MAX_COUNT,
          // Where no worker has said yet what it has open, the name alone says something.
          model: { sizes: info ? sizesOf(info) : [], ...modelAdvice(info?.model ?? services.models.standing) },
        });
      },
    },
  ];
}

/** What lists of files may name, by their kind, and what parts of their items may. */
interface ServedNames {
  readonly files: Readonly<Record<UsesType, readonly string[]>>;
  readonly parts: Readonly<Partial<Record<UsesType, Readonly<Record<string, readonly string[]>>>>>;
}

async function namesIn({ controlDir, ipAdapterDir }: OpenRequest): Promise<ServedNames> {
  const controls = await controlNetsIn(controlDir).catch(() => []);
  const found = await imagePromptsIn(ipAdapterDir).catch(() => ({ adapters: [], encoders: [] }));
  const { adapters, encoders } = imagePromptNames(found);
  return { files: { controls, ipAdapters: adapters }, parts: { ipAdapters: { encoder: encoders } } };
}

function fieldView(
  name: string,
  { kind, description, default: standing, absent, flag, ...field }: Field,
  names: ServedNames,
): JsonObject {
  // What the table asks for beside its flags is a prompt's: without a flag, programs write it.
  const group = flag?.group ?? (field.required ? "Prompts" : undefined);
  return {
    ...{ name, kind: kindView(name, kind, names), description },
    ...(group !== undefined && { group }),
    ...(standing !== undefined && { default: standing }),
    ...(absent !== undefined && { absent }),
    ...(field.required && { required: true }),
    ...(field.shapesPlan && { shapesPlan: true }),
  };
}

function kindView(name: string, kind: Kind, { files, parts }: ServedNames): JsonObject {
  const { min, max } = SERVED_LIMITS[name as keyof typeof SERVED_LIMITS] ?? {};
  if (kind.type === "text") return { ...kind, maxChars: Math.min(kind.maxChars, max ?? kind.maxChars) };
  const table = useTable(kind);
  if (table) {
    const type = kind.type as UsesType;
    const told = Object.entries(table.parts).map(([part, { kind: own, description }]) => {
      const values = parts[type]?.[part];
      return { name: part, kind: values ? { type: "choice", values } : own, description };
    });
    return { type, files: files[type], parts: told };
  }
  if (kind.type === "named") return { type: kind.type, values: kind.table.names };
  return { ...kind, ...(min !== undefined && { min, max }) };
}

/** As many pixels as the model's own size has, in sides of 64 pixels where it is large, of 8 where it is small. */
function sizesOf({ defaultWidth, defaultHeight }: EngineInfo): readonly JsonObject[] {
  const pixels = defaultWidth * defaultHeight;
  const multiple = pixels >= 512 * 512 ? 64 : 8;
  const side = (length: number) => Math.max(64, Math.round(length / multiple) * multiple);
  const own = { width: defaultWidth, height: defaultHeight };
  const others = SHAPES.map((shape) => ({
    width: side(Math.sqrt(pixels * shape)),
    height: side(Math.sqrt(pixels / shape)),
  }));
  const isNew = ({ width, height }: typeof own) => width !== own.width || height !== own.height;
  return [own, ...others.filter(isNew)];
}
