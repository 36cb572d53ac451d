/** @file The IP-Adapters of a job, each with the pictures that it tells the model of. Pure. */
import { hasSteps, MAX_USE_CHARS, type UsePart, type UseTable } from "./parted-use.ts";

export interface IpAdapterUse {
  /** Base or Plus, of SDXL: .safetensors, .bin. */
  readonly file: string;
  /** Folder or file of its image encoder. Default: that of the adapter before it, else one that fits in the folder of IP-Adapters. */
  readonly encoder?: string;
  /** Each a file, a data: URL, or sha256: and an asset's hash. */
  readonly images?: readonly string[];
  /** As `images`, one for each of them in their order: where it is white, the picture counts. Default: everywhere. */
  readonly masks?: readonly string[];
  /** 0..10. Default 1. */
  readonly weight?: number;
  /** Shares of the steps, 0..1, between which its pictures count. Default: all of them. */
  readonly start?: number;
  readonly end?: number;
}

const MAX_WEIGHT = 10;
const MAX_PICTURES = 16;

const PARTS = {
  encoder: {
    kind: { type: "text", maxChars: MAX_USE_CHARS },
    usage: "--image-encoder <path|hub-id>",
    description:
      "image encoder, a folder or a file, of the --ip-adapter before it: ViT-H or ViT-bigG, whichever it was trained with (default: that of the one before, else what fits in --ip-adapter-dir)",
  },
  images: {
    kind: { type: "pictures", maxCount: MAX_PICTURES },
    word: "image",
    usage: "--ip-image <file>",
    description: "picture that the --ip-adapter before it tells the model of; again for more",
  },
  masks: {
    kind: { type: "pictures", maxCount: MAX_PICTURES },
    word: "mask",
    usage: "--ip-mask <file>",
    description: "where its picture counts, white there and black elsewhere; one for each --ip-image, in their order",
  },
  weight: {
    kind: { type: "decimal", min: 0, max: MAX_WEIGHT },
    usage: "--ip-weight <n>",
    description: `how much its pictures count, 0 to ${MAX_WEIGHT} (default: 1)`,
  },
  start: {
    kind: { type: "decimal", min: 0, max: 1 },
    usage: "--ip-start <n>",
    description: "share of the steps after which they count, 0 to 1 (default: 0)",
  },
  end: {
    kind: { type: "decimal", min: 0, max: 1 },
    usage: "--ip-end <n>",
    description: "share of the steps up to which they count, 0 to 1 (default: 1)",
  },
} satisfies Record<Exclude<keyof IpAdapterUse, "file">, UsePart>;

/** By the names of IpAdapterUse's parts. */
export const IP_ADAPTER_USES: UseTable = {
  parts: PARTS,
  max: 4,
  fits: hasSteps,
  example: "FILE:encoder=DIR:image=face.png:mask=left.png:weight=0.8:start=0:end=0.5",
};

/** How a job of one adapter was written before there were several: its fields by the names of the parts. */
const ONE = { file: "ipAdapter", encoder: "imageEncoder", images: "ipImages", weight: "ipWeight" } as const;
const SINGLE = { ...ONE, start: "ipStart", end: "ipEnd" } as const;

/** The same job, its one adapter in a list if it is written so; records and jobs of before stay readable. */
export function withListedAdapters<Job extends object>(job: Job): Job {
  const { ipAdapter, ipAdapters } = job as Readonly<Record<string, unknown>>;
  if (typeof ipAdapter !== "string" || ipAdapters !== undefined) return job;
  const told = { ...job } as Readonly<Record<string, unknown>>;
  const single: readonly string[] = Object.values(SINGLE);
  const rest = Object.entries(told).filter(([name]) => !single.includes(name));
  const { pictureHashes } = told;
  const hashes = typeof pictureHashes === "string" && {
    pictureHashes: pictureHashes.replaceAll(/\bipImages\.(\d+):/g, "ipAdapters.0.images.$1:"),
  };
  const use = Object.entries(SINGLE).flatMap(([part, name]) => (told[name] === undefined ? [] : [[part, told[name]]]));
  return { ...Object.fromEntries(rest), ...hashes, ipAdapters: [Object.fromEntries(use)] } as Job;
}
