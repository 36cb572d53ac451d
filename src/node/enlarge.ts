/** @file A picture file enlarged by an upscaler's file on this machine, with what computes opened for it alone. */
import { OpenedUpscale, type UpscaleCompute } from "../engine/upscale-job.ts";
import type { OpenRequest } from "../job/checked.ts";
import type { UpscaledPicture, UpscaleJob, UpscaleOptions } from "../job/upscale.ts";
import { openCompute } from "./compute.ts";
import { pictureOpener } from "./engine-parts.ts";
import { PROCESS_BYTES, resolveBudgets } from "./host-machine.ts";
import { openPictureWriter } from "./picture-writer.ts";
import { upscalerOpener } from "./upscaler-files.ts";

export interface EnlargeRequest extends Pick<OpenRequest, "backend" | "adapter" | "budgets"> {
  /** Picture and network as the user wrote them. */
  readonly job: UpscaleJob;
  /** What their paths are relative to. */
  readonly cwd: string;
  readonly toAbsolute: (path: string) => string;
}

export interface EnlargeOptions extends UpscaleOptions {
  /** Ends behind the plan, which is told as an event: nothing is computed. */
  readonly planOnly?: boolean | undefined;
}

/** Rejects with ArtifactError, UsageError, BudgetError or DeviceError, or the signal's reason. Resolves to undefined where only a plan was asked for. */
export async function enlargePicture(
  { job, cwd, toAbsolute, backend, adapter, budgets: asked = {} }: EnlargeRequest,
  { planOnly, ...options }: EnlargeOptions,
): Promise<UpscaledPicture | undefined> {
  const host = {
    ...{ openPictureWriter, openPicture: pictureOpener(cwd) },
    openUpscaler: upscalerOpener(undefined, toAbsolute),
  };
  // What is missing is said before a card or a runtime is woken.
  await using opened = await OpenedUpscale.open(host, job, options.signal);
  const { machine, note, ...compute } = await openCompute({ backend, adapter });
  let { device } = compute;
  await using devices = new AsyncDisposableStack();
  devices.defer(() => device[Symbol.asyncDispose]());
  const { reopen } = compute;
  if (note !== undefined) options.onEvent?.({ type: "note", text: note });
  const settings: UpscaleCompute = {
    ...{ device, machine, budgets: resolveBudgets(asked, machine), processBytes: PROCESS_BYTES },
    now: () => performance.now(),
    pause: () => new Promise<void>((resume) => setImmediate(resume)),
    reopen: reopen && (async () => (device = await reopen())),
  };
  if (!planOnly) return await opened.run(settings, options);
  options.onEvent?.({ type: "plan", plan: await opened.plan(settings, options.signal) });
  return undefined;
}
