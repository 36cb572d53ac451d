/** @file The field of a job that is told of pictures beside its prompt (IP-Adapter). Part of fields.ts. */
import type { Fields, InfotextEntry } from "./field-type.ts";
import { parseInfotext } from "./infotext-text.ts";
import { type IpAdapterUse, withListedAdapters } from "./ip-adapter-use.ts";
import { itemsOfText, textOfItems } from "./list-text.ts";

export const IMAGE_PROMPT_FIELDS = {
  ipAdapters: {
    kind: { type: "ipAdapters" },
    description:
      "IP-Adapter for SDXL, base or Plus (.safetensors, .bin): pictures beside the prompt; again for more. The flags below are of the one before them",
    flag: { usage: "--ip-adapter <file>", group: "From a picture" },
    loop: {
      word: "ip-adapter",
      usage: "FILE:encoder=DIR:image=FILE[:mask=FILE:weight=W], ...|none",
      title: "IP-Adapters",
      clear: "none",
      cleared: "none",
    },
    infotext: {
      name: "IP-Adapter",
      each: { write: (use) => adapterEntry(use as IpAdapterUse), read: adapterOfEntry },
      read: singleAdapter,
      beside: ["Image encoder", "IP-Adapter images", "IP-Adapter weight", "IP-Adapter start", "IP-Adapter end"],
    },
    aliases: ["ip_adapter", "ip_adapters"],
    shapesPlan: true,
  },
} as const satisfies Fields;

/** As a ControlNet's unit is written: A1111 has IP-Adapters among those. */
function adapterEntry({ file, encoder, images = [], masks = [], weight = 1, start = 0, end = 1 }: IpAdapterUse) {
  const entries = {
    Model: file,
    ...(encoder !== undefined && { Encoder: encoder }),
    Images: textOfItems(images),
    ...(masks.length > 0 && { Masks: textOfItems(masks) }),
    Weight: weight,
    "Guidance Start": start,
    "Guidance End": end,
  };
  const text = (value: string | number) =>
    typeof value === "string" && /[,:"\n]/.test(value) ? JSON.stringify(value) : String(value);
  return Object.entries(entries)
    .map(([name, value]) => `${name}: ${text(value)}`)
    .join(", ");
}

function adapterOfEntry(text: string): unknown {
  const found = parseInfotext(text).entries;
  const list = (name: string) => itemsOfText(found.get(name) ?? "") ?? [];
  const masks = list("Masks");
  const encoder = found.get("Encoder");
  const number = (entry: string, name: string, standing: number) => {
    const value = found.get(entry);
    return value === undefined || Number(value) === standing ? {} : { [name]: Number(value) };
  };
  return {
    file: found.get("Model"),
    ...(encoder !== undefined && { encoder }),
    images: list("Images"),
    ...(masks.length > 0 && { masks }),
    ...number("Weight", "weight", 1),
    ...number("Guidance Start", "start", 0),
    ...number("Guidance End", "end", 1),
  };
}

/** As a job of one adapter was written before there were several. */
function singleAdapter(
  text: string,
  entries: ReadonlyMap<string, string>,
): ReturnType<NonNullable<InfotextEntry["read"]>> {
  const number = (entry: string) => (entries.has(entry) ? Number(entries.get(entry)) : undefined);
  return withListedAdapters({
    ipAdapter: text,
    imageEncoder: entries.get("Image encoder"),
    ipImages: itemsOfText(entries.get("IP-Adapter images") ?? ""),
    ipWeight: number("IP-Adapter weight"),
    ipStart: number("IP-Adapter start"),
    ipEnd: number("IP-Adapter end"),
  });
}
