/** @file The engine's other work: pictures that a network enlarges by themselves, in turn with those that are drawn and within the same budgets. */
import type { Device } from "../backend/device.ts";
import { UsageError } from "../errors.ts";
import type { OpenPictureWriter } from "../image/picture-writer.ts";
import type { UpscaledPicture, UpscaleJob, UpscaleOptions } from "../job/upscale.ts";
import type { Runtime } from "../pipeline/runtime.ts";
import type { UpscaleSettings } from "../pipeline/upscale.ts";
import type { PlanReport } from "../plan/report.ts";
import type { OpenUpscaler } from "./hires-upscalers.ts";
import { OpenedUpscale, type OpenPicture, type UpscaleCompute } from "./upscale-job.ts";

export interface UpscalesParts extends Omit<UpscaleSettings, "device" | "budgets"> {
  readonly runtime: Runtime;
  readonly reopen: (() => Promise<Device>) | undefined;
  readonly takeTurn: () => Promise<Disposable>;
  readonly openPictureWriter: OpenPictureWriter;
  /** Absent: there are no files. */
  readonly openPicture: OpenPicture | undefined;
  readonly openUpscaler: OpenUpscaler | undefined;
}

export class Upscales {
  readonly #parts: UpscalesParts;

  constructor(parts: UpscalesParts) {
    this.#parts = parts;
  }

  /** Rejects as its parts do: see Engine. */
  async upscale(job: UpscaleJob, options: UpscaleOptions = {}): Promise<UpscaledPicture> {
    await using opened = await this.#open(job, options.signal);
    using _ = await this.#parts.takeTurn();
    options.signal?.throwIfAborted();
    // What pictures have left there would be beside the plan.
    await this.#parts.runtime.vacate();
    return await opened.run(this.#compute, options);
  }

  async plan(job: UpscaleJob): Promise<PlanReport> {
    await using opened = await this.#open(job);
    return await opened.plan(this.#compute);
  }

  async #open(job: UpscaleJob, signal?: AbortSignal): Promise<OpenedUpscale> {
    const { openPicture, openUpscaler, openPictureWriter } = this.#parts;
    if (openPicture && openUpscaler)
      return await OpenedUpscale.open({ openPicture, openUpscaler, openPictureWriter }, job, signal);
    const problem = "files can't be read here";
    throw new UsageError({ code: "E_UPSCALER", problem, next: "enlarge where the upscaler's file is" });
  }

  get #compute(): UpscaleCompute {
    const { runtime, reopen, machine, processBytes, now, pause } = this.#parts;
    const { device, budgets } = runtime;
    return {
      ...{ device, budgets, machine, now, pause, processBytes: processBytes + device.hostBytes },
      reopen:
        reopen &&
        (async () => {
          const other = await reopen();
          runtime.replaceDevice(other);
          return other;
        }),
    };
  }
}
