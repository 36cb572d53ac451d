/**
 * @file Loaded by `node --import` before Solvay's command, in each of its threads: the card then seems to offer no subgroup
 * matrices, so that `--precision fp16` computes by fp16 products. For comparison only: Solvay itself has no such switch.
 */
import { globals } from "webgpu";

const { prototype } = (globals as { readonly GPU: { readonly prototype: GPU } }).GPU;
const { requestAdapter } = prototype;
prototype.requestAdapter = async function (this: GPU, ...asked) {
  const adapter = await requestAdapter.apply(this, asked);
  if (adapter) Object.defineProperty(adapter.info, "subgroupMatrixConfigs", { value: [] });
  return adapter;
};
