/** @file Stable Diffusion XL as a family: everything that is SDXL's alone lies in this folder. */
import type { Family } from "../family.ts";
import { SDXL_BASE_UNET } from "./base.ts";
import { openSdxl } from "./checkpoint.ts";
import { chooseSdxlFiles } from "./choose-files.ts";
import { SDXL_COMPONENTS, type SdxlComponentId, TEXT_FILES } from "./files.ts";
import { isSdxlIndex } from "./model-index.ts";
import { otherLayout, recogniseNetwork } from "./recognise.ts";
import { CANONICAL_NAME } from "./rules.ts";
import { unetSchema } from "./unet.ts";

export const SDXL: Family = {
  name: "sdxl",
  components: SDXL_COMPONENTS,
  textFiles: TEXT_FILES,
  isModelIndex: isSdxlIndex,
  chooseFiles: chooseSdxlFiles,
  open: (folder, options) => openSdxl(SDXL, folder, options),
  recognise: recogniseNetwork,
  otherLayout,
  get baseArtifactTarget() {
    return { component: "unet", schema: unetSchema(SDXL_BASE_UNET) };
  },
  canonicalName: (component, storedName) => CANONICAL_NAME[component as SdxlComponentId](storedName),
};
