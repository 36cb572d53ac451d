/**
 * @file Samplers and schedules by the names that people know: ours, A1111's ("DPM++ 2M Karras", which is both), ComfyUI's
 * ("dpmpp_2m_sde", "sgm_uniform"), k-diffusion's ("sample_euler_ancestral") and diffusers' classes, whatever their capitals.
 */
import { type NameTable, nearestName, plainName } from "./name-table.ts";
import { SAMPLERS, type SamplerEntry, type SamplerName } from "./samplers.ts";
import { SCHEDULES, type ScheduleEntry, type ScheduleName } from "./schedules.ts";

/** A sampler, a schedule, or both. */
export interface NamedCourse {
  readonly sampler?: SamplerName;
  readonly schedule?: ScheduleName;
}

const SAMPLER_NAMES = Object.keys(SAMPLERS) as SamplerName[];
const SCHEDULE_NAMES = Object.keys(SCHEDULES) as ScheduleName[];

const SAMPLER_KEYS: ReadonlyMap<string, SamplerName> = new Map(
  SAMPLER_NAMES.flatMap((name) => {
    const { title, diffusers, aliases }: SamplerEntry = SAMPLERS[name];
    return [name, title, ...diffusers, ...aliases].map((known) => [plainName(known), name] as const);
  }),
);
const SCHEDULE_KEYS: ReadonlyMap<string, ScheduleName> = new Map(
  SCHEDULE_NAMES.flatMap((name) => {
    const { title, aliases }: ScheduleEntry = SCHEDULES[name];
    return [name, title, ...aliases].map((known) => [plainName(known), name] as const);
  }),
);

/** What a name says ("DDIM" alone is a sampler); nothing for one that nobody has. */
export function courseNamed(text: string): NamedCourse | undefined {
  const key = plainName(text);
  const sampler = SAMPLER_KEYS.get(key);
  if (sampler) return { sampler };
  for (const [suffix, schedule] of SCHEDULE_KEYS) {
    const before = key.endsWith(suffix) ? SAMPLER_KEYS.get(key.slice(0, -suffix.length)) : undefined;
    if (before) return { sampler: before, schedule };
  }
  const schedule = SCHEDULE_KEYS.get(key);
  return schedule && { schedule };
}

/** One name for what `courseNamed` found; read again it says the same. */
function nameOf({ sampler, schedule }: NamedCourse): string {
  return [sampler, schedule].filter((part) => part !== undefined).join(" ");
}

function tableOf(names: readonly string[], fits: (course: NamedCourse) => boolean): NameTable {
  return {
    names,
    meaning(text) {
      const course = courseNamed(text);
      return course && fits(course) ? nameOf(course) : undefined;
    },
    nearest: (text) => nearestName(names, text),
  };
}

/** A sampler, alone or with a schedule behind it. */
export const SAMPLER_TABLE: NameTable = tableOf(SAMPLER_NAMES, ({ sampler }) => sampler !== undefined);

export const SCHEDULE_TABLE: NameTable = {
  ...tableOf(SCHEDULE_NAMES, ({ sampler }) => sampler === undefined),
  // A name that is a sampler's too ("ddim") is a schedule's here.
  meaning: (text) => SCHEDULE_KEYS.get(plainName(text)),
};

/** Either, or both as one name. */
export const COURSE_TABLE: NameTable = tableOf([...SAMPLER_NAMES, ...SCHEDULE_NAMES], () => true);
