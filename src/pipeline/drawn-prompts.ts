/** @file A job's prompts drawn from the templates that they are, by the job's seed; what they were drawn from stays with the job. */
import { UsageError } from "../errors.ts";
import type { FullJob } from "../job/job.ts";
import { SplitMix64 } from "../prompt/split-mix.ts";
import { drawnPrompt, type ReadWildcard } from "../prompt/wildcards.ts";

/**
 * Each row draws from a stream of its own, whose seed is the next number of the job's: another negative prompt draws no other prompt. What the
 * second text encoder or the second pass reads is of the same picture: its text draws from the same numbers, so that what both have alike is drawn alike.
 */
const TEMPLATES = [
  { prompt: "template", prompt2: "template2", hiresPrompt: "hiresTemplate" },
  {
    negativePrompt: "negativeTemplate",
    negativePrompt2: "negativeTemplate2",
    hiresNegativePrompt: "hiresNegativeTemplate",
  },
] as const;

/**
 * In A1111's syntax; a job that names a template has been drawn. Rejects with UsageError `E_WILDCARD`, and as `read` does.
 * @param read absent: there is no folder of wildcards
 */
export async function withDrawnPrompts(
  job: FullJob,
  read: ReadWildcard | undefined,
  signal?: AbortSignal,
): Promise<FullJob> {
  if (job.promptSyntax !== "a1111") return job;
  const seeds = new SplitMix64(job.seed);
  const files = new Map<string, readonly string[]>();
  const linesOf = async (name: string) => {
    signal?.throwIfAborted();
    const lines = files.get(name) ?? (await (read ?? refuseWildcard)(name, signal));
    files.set(name, lines);
    return lines;
  };
  const drawn: Record<string, string> = {};
  for (const row of TEMPLATES) {
    const seed = seeds.next();
    for (const [field, origin] of Object.entries(row) as ["prompt", "template"][]) {
      const template = job[field];
      if (template === undefined || job[origin] !== undefined) continue;
      const drawing = drawnPrompt(template, new SplitMix64(seed));
      let step = drawing.next();
      while (!step.done) step = drawing.next(await linesOf(step.value));
      if (step.value !== template) Object.assign(drawn, { [field]: step.value, [origin]: template });
    }
  }
  return { ...job, ...drawn };
}

function refuseWildcard(name: string): never {
  throw new UsageError({
    code: "E_WILDCARD",
    subject: `__${name}__`,
    problem: "no folder of wildcards was named",
    next: "name it with --wildcards-dir, or write \\__ for underscores that are text",
  });
}
