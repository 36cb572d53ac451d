/** @file The networks of an SDXL that adapters change, with every name by which files call their layers. */
import type { EncoderWidth } from "../../adapters/embedding-file.ts";
import type { ModelPart } from "../../adapters/layer-names.ts";
import type { Checkpoint } from "../family.ts";
import { SDXL_COMPONENTS } from "./files.ts";
import { originalUnetModules } from "./original-unet.ts";

const CHANGED = ["unet", "textEncoder", "textEncoder2"] as const;

/** transformers 5 saves text encoders without it, and so do files that were trained with it. */
const TEXT_MODEL = "text_model.";

/** Embeddings by id are no layers: files of their own (textual inversion) add to them. */
const EMBEDDINGS = /\.embeddings\./;

/** See Family.encoderWidths. */
export function sdxlEncoderWidths(model: Pick<Checkpoint, "rulesOf">): readonly EncoderWidth[] {
  return (["textEncoder", "textEncoder2"] as const).map((component) => {
    const { folder } = SDXL_COMPONENTS.find(({ id }) => id === component)!;
    const [, width] = model.rulesOf(component).schema.get("text_model.embeddings.token_embedding.weight")!;
    return { folder, width: width! };
  });
}

/** See Family.adapterParts. */
export function sdxlAdapterParts(model: Pick<Checkpoint, "rulesOf">): readonly ModelPart[] {
  return CHANGED.map((component) => {
    const { folder } = SDXL_COMPONENTS.find(({ id }) => id === component)!;
    const schema = new Map([...model.rulesOf(component).schema].filter(([name]) => !EMBEDDINGS.test(name)));
    const modules = [...schema.keys()]
      .filter((name) => name.endsWith(".weight"))
      .map((name) => name.slice(0, -".weight".length));
    const otherNames =
      component === "unet"
        ? originalUnetModules(modules)
        : new Map(
            modules.flatMap((name) => (name.startsWith(TEXT_MODEL) ? [[name.slice(TEXT_MODEL.length), name]] : [])),
          );
    return { component, folder, schema, otherNames };
  });
}
