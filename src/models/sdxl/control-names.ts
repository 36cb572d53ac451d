/**
 * @file Names of ControlNets in the original layout (lllyasviel's cldm.py: "control_model.", "zero_convs", "input_hint_block"), as diffusers' names
 * (its `single_file_utils.py`, convert_controlnet_checkpoint).
 */
import type { TensorEntry, TensorTable } from "../../container/table.ts";
import { ArtifactError } from "../../errors.ts";
import { isOriginalUnet, originalUnetNames } from "./original-unet.ts";

const PREFIX = /^(control_model|controlnet)\./;
const HINT = /^input_hint_block\.(\d{1,3})\.(weight|bias)$/;
const ZERO = /^zero_convs\.(\d{1,3})\.0\.(weight|bias)$/;
const MIDDLE = /^middle_block_out\.0\.(weight|bias)$/;

/** A file's table by diffusers' names; what is in them already stays. Throws ArtifactError `E_DUP_KEY`. */
export function diffusersControlNames(stored: TensorTable, file: string): TensorTable {
  const plain = [...stored.values()].map((entry) => ({ ...entry, name: entry.name.replace(PREFIX, "") }));
  const names = plain.map(({ name }) => name);
  const rename = names.some((name) => ZERO.test(name)) ? originalControlNames(names) : (name: string) => name;
  const table = new Map<string, TensorEntry>();
  for (const entry of plain) {
    const name = rename(entry.name);
    if (table.has(name)) {
      const problem = `two tensors are ${JSON.stringify(name.slice(0, 120))}`;
      throw new ArtifactError({ code: "E_DUP_KEY", subject: file, problem, next: "fetch the file again" });
    }
    table.set(name, { ...entry, name });
  }
  return table;
}

function originalControlNames(names: readonly string[]): (name: string) => string {
  const ofUnet = originalUnetNames(names.filter(isOriginalUnet));
  const hints = names.flatMap((name) => HINT.exec(name)?.[1] ?? []).map(Number);
  const last = Math.max(...hints);
  // A convolution, then what it is put through, by turns.
  const hintName = (at: number) =>
    at === 0 ? "conv_in" : at === last ? "conv_out" : `blocks.${Math.floor(at / 2) - 1}`;
  return (name) => {
    const [, zero, zeroEnd] = ZERO.exec(name) ?? [];
    if (zero !== undefined) return `controlnet_down_blocks.${zero}.${zeroEnd}`;
    const [, middleEnd] = MIDDLE.exec(name) ?? [];
    if (middleEnd !== undefined) return `controlnet_mid_block.${middleEnd}`;
    const [, hint, hintEnd] = HINT.exec(name) ?? [];
    if (hint !== undefined) return `controlnet_cond_embedding.${hintName(Number(hint))}.${hintEnd}`;
    return ofUnet(name) ?? name;
  };
}
