/** @file Stable Diffusion XL as a family: everything that is SDXL's alone lies in this folder. */
import type { Family } from "../family.ts";
import { sdxlAdapterParts, sdxlEncoderWidths } from "./adapter-parts.ts";
import { SDXL_BASE_UNET } from "./base.ts";
import { openSdxl } from "./checkpoint.ts";
import { chooseSdxlFiles } from "./choose-files.ts";
import { contentOf } from "./file-content.ts";
import { tensorsOfNetwork } from "./file-parts.ts";
import { REFINER_COMPONENTS, SDXL_COMPONENTS, TEXT_FILES } from "./files.ts";
import { foreignFile } from "./foreign-files.ts";
import { isSdxlIndex } from "./model-index.ts";
import { openSdxlFiles } from "./open-files.ts";
import { networksIn, recogniseNetwork } from "./recognise.ts";
import { isSdxlRefiner, openSdxlRefinerFiles } from "./refiner-files.ts";
import { CANONICAL_NAME } from "./rules.ts";
import { unetSchema } from "./unet.ts";

export const SDXL: Family = {
  name: "sdxl",
  components: SDXL_COMPONENTS,
  refinerComponents: REFINER_COMPONENTS,
  textFiles: TEXT_FILES,
  isModelIndex: isSdxlIndex,
  chooseFiles: chooseSdxlFiles,
  open: (folder, options) => openSdxl(SDXL, folder, options),
  recognise: recogniseNetwork,
  networksIn,
  foreignFile,
  contentOf,
  adapterParts: sdxlAdapterParts,
  encoderWidths: sdxlEncoderWidths,
  get baseArtifactTarget() {
    return { component: "unet", schema: unetSchema(SDXL_BASE_UNET) };
  },
  isRefiner: isSdxlRefiner,
  openRefiner: openSdxlRefinerFiles,
  openFiles: (files, options) => openSdxlFiles(SDXL, files, options),
  tensorsOf(component, stored, file) {
    const known = [...SDXL_COMPONENTS, ...REFINER_COMPONENTS];
    const { id, folder } = known.find((entry) => entry.id === component)!;
    const tensors = tensorsOfNetwork(folder, stored, file);
    return new Map([...tensors].map(([name, entry]) => [CANONICAL_NAME[id](name), entry]));
  },
};
