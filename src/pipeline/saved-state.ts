/** @file Whether a state that comes from outside is one of a job: by its step, the size of its latents and how many there are. */
import { UsageError } from "../errors.ts";
import type { DescribedJob } from "../models/family.ts";
import type { SamplerState } from "../sampler/sampler.ts";
import { elementCount } from "../tensor/dtype.ts";
import type { Leg, Route } from "./route.ts";

/** Throws UsageError `E_STATE`. */
export function requireStateFits(
  described: DescribedJob,
  { first, hires, refined, steps }: Route,
  state: SamplerState,
) {
  const { step, x, history } = state;
  if (!Number.isInteger(step) || step < 1 || step > steps) throw unfit(`its step (found ${step}, allowed 1..${steps})`);
  const isOf = (leg: Leg | undefined) => leg !== undefined && step > leg.stepsBefore;
  const leg = isOf(refined) ? refined! : isOf(hires) ? hires! : first;
  const { latentShape } = (isOf(hires) && described.hires) || described;
  const values = elementCount(latentShape);
  const wrong = [x, ...history].find(({ length }) => length !== values);
  if (wrong) throw unfit(`its latent's size (found ${wrong.length} values, allowed ${values})`);
  const { historyLength } = leg.course.sampler;
  if (history.length > historyLength) {
    throw unfit(`what its sampler keeps (found ${history.length} latents, allowed up to ${historyLength})`);
  }
}

function unfit(what: string): UsageError {
  const problem = `the state to go on from is not this job's: ${what}`;
  return new UsageError({ code: "E_STATE", problem, next: "give a state of the same job, or begin anew" });
}
