/** @file Fetches a model from the hub into its cache on this machine. */
import { chooseModelFiles } from "../models/families.ts";
import type { LibraryHost } from "./host.ts";
import type { PullDone, PullOptions } from "./pull-events.ts";

/** Rejects with UsageError, ArtifactError, BudgetError or DeviceError, or the signal's reason; what was fetched until then is kept. */
export async function pullModel(host: LibraryHost, id: string, options: PullOptions = {}): Promise<PullDone> {
  return await host.hub.pull(id, { ...options, choose: chooseModelFiles });
}
