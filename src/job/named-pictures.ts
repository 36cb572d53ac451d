/** @file The pictures that a job names, wherever in it they are: each with what messages call it. Pure. */
import type { IpAdapterUse } from "./ip-adapter-use.ts";
import type { GenerateJob } from "./job.ts";
import { PICTURE_NAMES } from "./picture-fields.ts";

export interface NamedPicture {
  /** "initImage", "controls.0.image". */
  readonly name: string;
  /** As the job has it: see picture.ts. */
  readonly reference: string;
}

type Pictures = Pick<GenerateJob, (typeof PICTURE_NAMES)[number] | "controls" | "ipAdapters">;

export function namedPictures(job: Pictures): readonly NamedPicture[] {
  return [
    ...PICTURE_NAMES.map((name) => ({ name, reference: job[name] })),
    ...(job.controls ?? []).map(({ image }, i) => ({ name: controlImage(i), reference: image })),
    ...(job.ipAdapters ?? []).flatMap((use, i) =>
      ADAPTER_PICTURES.flatMap((part) =>
        (use[part] ?? []).map((reference, j) => ({ name: adapterPicture(i, part, j), reference })),
      ),
    ),
  ].flatMap(({ name, reference }) => (reference === undefined ? [] : [{ name, reference }]));
}

/** The same job with others in their places, by name; those that are not there stay. */
export function withNamedPictures<Job extends Pictures>(job: Job, references: ReadonlyMap<string, string>): Job {
  if (references.size === 0) return job;
  const own = PICTURE_NAMES.flatMap((name) => (references.has(name) ? [[name, references.get(name)!]] : []));
  const { controls, ipAdapters } = job;
  return {
    ...job,
    ...Object.fromEntries(own),
    ...(ipAdapters && {
      ipAdapters: ipAdapters.map((use, i): IpAdapterUse => {
        const parts = ADAPTER_PICTURES.flatMap((part) => {
          const named = use[part]?.map((before, j) => references.get(adapterPicture(i, part, j)) ?? before);
          return named ? [[part, named] as const] : [];
        });
        return { ...use, ...Object.fromEntries(parts) };
      }),
    }),
    ...(controls && {
      controls: controls.map((control, i) => {
        const image = references.get(controlImage(i));
        return image === undefined ? control : { ...control, image };
      }),
    }),
  };
}

const ADAPTER_PICTURES = ["images", "masks"] as const;

/** What messages call one of the pictures that an IP-Adapter of a job tells of, or of their masks. */
export function adapterPicture(adapter: number, part: (typeof ADAPTER_PICTURES)[number], index: number): string {
  return `ipAdapters.${adapter}.${part}.${index}`;
}

/** What messages call the picture of one of a job's controls. */
export function controlImage(index: number): string {
  return `controls.${index}.image`;
}
