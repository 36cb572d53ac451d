/** @file What a model opens beside its own networks: each is of its family, and fits it. */
import type { OpenWeightsOptions } from "../checkpoint/weight-folder.ts";
import type { TensorTable } from "../container/table.ts";
import type { OpenedControl } from "./control.ts";
import type { FilePlace } from "./file-place.ts";
import type { OpenedImagePrompt } from "./image-prompt.ts";

export interface SideNetworks {
  /**
   * Opens and checks a file or folder of a network that steers this model by a picture, such as a ControlNet; reads headers and configs only.
   * `sources` gets what it opens beside the place's own file. Rejects with ArtifactError `E_CONTROL`, `E_SCHEMA`, or as files do.
   */
  openControl(place: FilePlace, options: OpenWeightsOptions): Promise<OpenedControl>;
  /** As openControl, of an IP-Adapter's tables (by path within its file) and the first image encoder that fits it. Rejects with ArtifactError `E_IP_ADAPTER`. */
  openImagePrompt(
    adapter: { readonly subject: string; readonly tables: ReadonlyMap<string, TensorTable> },
    encoders: readonly FilePlace[],
    options: OpenWeightsOptions,
  ): Promise<OpenedImagePrompt>;
}
