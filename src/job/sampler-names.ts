/** @file The names of a job's sampler and schedule, taken apart where one name holds both. */
import { UsageError } from "../errors.ts";
import { courseNamed } from "../sampler/names.ts";
import type { SamplerName } from "../sampler/samplers.ts";
import type { ScheduleName } from "../sampler/schedules.ts";
import type { GenerateJob } from "./job.ts";

/** A job whose names are checked, with `sampler` and `schedule` apart and without `scheduler`. Throws UsageError `E_JOB`. */
export function withNamesApart(job: GenerateJob): GenerateJob {
  const { scheduler, ...rest } = job;
  if (scheduler === undefined && !job.sampler?.includes(" ")) return rest;
  const { sampler, schedule } = job.sampler === undefined ? {} : courseNamed(job.sampler)!;
  const joint = scheduler === undefined ? {} : courseNamed(scheduler)!;
  const own = job.schedule === "default" ? undefined : (job.schedule as ScheduleName | undefined);
  return {
    ...rest,
    ...agreed<SamplerName>("sampler", [sampler, joint.sampler]),
    ...agreed<ScheduleName>("schedule", [own, schedule, joint.schedule]),
  };
}

function agreed<Name extends string>(
  field: "sampler" | "schedule",
  said: readonly (Name | undefined)[],
): Readonly<Record<string, Name>> {
  const names = [...new Set(said.filter((name) => name !== undefined))];
  if (names.length > 1) {
    const problem = `two different ones are named (found ${names.join(" and ")}, allowed one)`;
    throw new UsageError({ code: "E_JOB", subject: field, problem, next: `leave one of them out` });
  }
  return names[0] === undefined ? {} : { [field]: names[0] };
}
