/**
 * @file Loaded by `node --import` before Solvay's command, in each of its threads: the card then seems to offer no subgroup
 * matrices, so that `--precision fp16` computes by fp16 products. For comparison only: Solvay itself has no such switch.
 */
import { globals } from "webgpu";

const adapterClass = (globals as { readonly GPUAdapter: { readonly prototype: GPUAdapter } }).GPUAdapter;
const described = Object.getOwnPropertyDescriptor(adapterClass.prototype, "info");
if (described?.get === undefined) throw new Error("E_CARD webgpu: its adapters tell of themselves in another way now");
const { get } = described;
Object.defineProperty(adapterClass.prototype, "info", {
  ...described,
  get(this: GPUAdapter): GPUAdapterInfo {
    const info: GPUAdapterInfo = get.call(this);
    return Object.defineProperty(info, "subgroupMatrixConfigs", { value: [] });
  },
});
