/** @file What a weight file holds, for people: its networks with their dtypes, what is passed over, what it says of its training. */
import { visionWords } from "../clip-vision-file.ts";
import { controlLoraWords } from "./control-lora.ts";
import { isLeftAside, isMarker, placeOf } from "./file-parts.ts";
import { WEIGHT_FOLDERS } from "./files.ts";
import { foreignFile } from "./foreign-files.ts";

interface Tensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** See Family.contentOf. */
export function contentOf(tensors: Iterable<Tensor>, metadata: Readonly<Record<string, string>>): readonly string[] {
  const all = [...tensors];
  const foreign = controlLoraWords(all) ?? visionWords(all) ?? foreignFile(all);
  if (foreign !== undefined) return [`this is ${foreign}`];
  const lines = WEIGHT_FOLDERS.flatMap(({ folder }) => {
    const part = all.filter(({ name }) => !isLeftAside(name) && placeOf(name)?.folder === folder);
    const counts = [...Map.groupBy(part, ({ dtype }) => dtype)].map(([dtype, { length }]) => `${length} ${dtype}`);
    return part.length > 0 ? [`${folder}: ${part.length} tensors (${counts.join(", ")})`] : [];
  });
  const leftAside = all.filter(({ name }) => isLeftAside(name)).length;
  if (leftAside > 0) lines.push(`passed over: ${leftAside} tensors that training left or that are computed`);
  const markers = all.filter(({ name }) => isMarker(name)).map(({ name }) => name);
  const spec = metadata["modelspec.prediction_type"];
  const told = [...markers, ...(spec === undefined ? [] : [`modelspec.prediction_type ${spec}`])];
  if (told.length > 0) lines.push(`trained as: ${told.join(", ")}`);
  return lines;
}
