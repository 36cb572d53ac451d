/** @file The pictures that a job names, wherever in it they are: each with what messages call it. Pure. */
import type { GenerateJob } from "./job.ts";
import { PICTURE_NAMES } from "./picture-fields.ts";

export interface NamedPicture {
  /** "initImage", "controls.0.image". */
  readonly name: string;
  /** As the job has it: see picture.ts. */
  readonly reference: string;
}

type Pictures = Pick<GenerateJob, (typeof PICTURE_NAMES)[number] | "controls" | "ipImages">;

export function namedPictures(job: Pictures): readonly NamedPicture[] {
  return [
    ...PICTURE_NAMES.map((name) => ({ name, reference: job[name] })),
    ...(job.controls ?? []).map(({ image }, i) => ({ name: controlImage(i), reference: image })),
    ...(job.ipImages ?? []).map((reference, i) => ({ name: imagePromptPicture(i), reference })),
  ].flatMap(({ name, reference }) => (reference === undefined ? [] : [{ name, reference }]));
}

/** The same job with others in their places, by name; those that are not there stay. */
export function withNamedPictures<Job extends Pictures>(job: Job, references: ReadonlyMap<string, string>): Job {
  if (references.size === 0) return job;
  const own = PICTURE_NAMES.flatMap((name) => (references.has(name) ? [[name, references.get(name)!]] : []));
  const { controls, ipImages } = job;
  return {
    ...job,
    ...Object.fromEntries(own),
    ...(ipImages && { ipImages: ipImages.map((own, i) => references.get(imagePromptPicture(i)) ?? own) }),
    ...(controls && {
      controls: controls.map((control, i) => {
        const image = references.get(controlImage(i));
        return image === undefined ? control : { ...control, image };
      }),
    }),
  };
}

/** What messages call one of the pictures that a job is told of. */
export function imagePromptPicture(index: number): string {
  return `ipImages.${index}`;
}

/** What messages call the picture of one of a job's controls. */
export function controlImage(index: number): string {
  return `controls.${index}.image`;
}
