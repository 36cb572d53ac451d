/** @file The fields of a job that is told of pictures beside its prompt (IP-Adapter). Part of fields.ts. */
import type { Fields } from "./field-type.ts";

const PATH = { type: "text", maxChars: 32767 } as const;
const SHARE = { type: "decimal", min: 0, max: 1 } as const;
const MAX_PICTURES = 16;

export const IMAGE_PROMPT_FIELDS = {
  ipAdapter: {
    kind: PATH,
    description: "IP-Adapter for SDXL, base or Plus (.safetensors, .bin): pictures beside the prompt",
    flag: { usage: "--ip-adapter <file>", group: "From a picture" },
    loop: { word: "ip-adapter", usage: "FILE|none", title: "IP-Adapter", clear: "none", cleared: "none" },
    infotext: { name: "IP-Adapter" },
    aliases: ["ip_adapter"],
    shapesPlan: true,
  },
  imageEncoder: {
    kind: PATH,
    description: "folder of its image encoder: ViT-H or ViT-bigG, whichever it was trained with",
    flag: { usage: "--image-encoder <dir|hub-id>", group: "From a picture" },
    loop: { word: "image-encoder", usage: "DIR|none", title: "Image encoder", clear: "none", cleared: "none" },
    infotext: { name: "Image encoder" },
    aliases: ["image_encoder"],
    shapesPlan: true,
  },
  ipImages: {
    kind: { type: "pictures", maxCount: MAX_PICTURES },
    description: "picture that it tells the model of; again for more",
    flag: { usage: "--ip-image <file>", group: "From a picture" },
    loop: { word: "ip-image", usage: "FILE, ...|none", title: "Its pictures", clear: "none", cleared: "none" },
    infotext: { name: "IP-Adapter images" },
    aliases: ["ip_adapter_image", "ip_image"],
    shapesPlan: true,
  },
  ipWeight: {
    kind: { type: "decimal", min: 0, max: 10 },
    description: "how much its pictures count",
    default: 1,
    flag: { usage: "--ip-weight <n>", group: "From a picture" },
    loop: { word: "ip-weight", usage: "N" },
    infotext: { name: "IP-Adapter weight" },
    omitsDefault: true,
    aliases: ["ip_adapter_scale", "ip_weight"],
  },
  ipStart: {
    kind: SHARE,
    description: "share of the steps after which they count",
    default: 0,
    flag: { usage: "--ip-start <n>", group: "From a picture" },
    infotext: { name: "IP-Adapter start" },
    omitsDefault: true,
  },
  ipEnd: {
    kind: SHARE,
    description: "share of the steps up to which they count",
    default: 1,
    flag: { usage: "--ip-end <n>", group: "From a picture" },
    infotext: { name: "IP-Adapter end" },
    omitsDefault: true,
  },
} as const satisfies Fields;
