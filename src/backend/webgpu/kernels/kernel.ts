/**
 * @file What a kernel is: WGSL made from a specification, its storage bindings and its parameter record.
 *
 * All storage is bound `read_write`: WebGPU tracks usage by whole buffers, and inputs and outputs share an arena. Bindings
 * of one dispatch must not overlap, so operands that lie in the same place share one binding ("slot") and one variable.
 * Workgroups are numbered linearly: `P.wg + workgroup_id.x`; a dispatch may be any range of them.
 */

/** Element type of a storage binding. Packed halves are read as u32 (2 values) or vec2<u32> (4 values). */
export type View = "f32" | "vec4<f32>" | "u32" | "vec2<u32>" | "i32";

export const VIEW_BYTES: Readonly<Record<View, number>> = {
  f32: 4,
  u32: 4,
  i32: 4,
  "vec2<u32>": 8,
  "vec4<f32>": 16,
};

export type ParamType = "u32" | "i32" | "f32";

/** Fields after the common head of a parameter record: name -> type, in order. */
export type ParamFields = Readonly<Record<string, ParamType>>;

export interface Kernel {
  /** Names the variant: equal keys have equal WGSL. Also the pipeline's label. */
  readonly key: string;
  /** View of each binding, the parameter record excluded. */
  readonly slots: readonly View[];
  readonly params: ParamFields;
  readonly wgsl: () => string;
}

/** The uniform binding of parameters comes after the storage bindings. */
export const MAX_SLOTS = 8;
/** Parameter records lie this far apart in their buffer. */
export const RECORD_BYTES = 256;

/** WebGPU's limit on workgroups in one dimension of a dispatch. */
export const MAX_WORKGROUPS = 65535;

/** Operand name -> its variable, for WGSL text. */
export type Names = Readonly<Record<string, string>>;

export interface KernelText {
  readonly name: string;
  /** What distinguishes this variant besides operands. */
  readonly variant: string;
  readonly operands: readonly { readonly name: string; readonly view: View; readonly slot: number }[];
  readonly params: ParamFields;
  readonly workgroupSize: number;
  /** Lanes of every subgroup, where the adapter has several sizes and the text needs one. */
  readonly subgroupSize?: number;
  /** WGSL extensions that the text uses. */
  readonly enables?: readonly string[];
  /** Checks of WGSL that the text can't satisfy; it says why. */
  readonly diagnosticsOff?: readonly string[];
  /** Module-scope declarations (workgroup arrays, functions) and the body of `main`. */
  readonly text: (at: (operand: string, index: string) => string) => { readonly head: string; readonly body: string };
}

/**
 * Assembles a kernel. In the text, `at("x", "i")` is element i of operand x, in units of its view, the binding's window
 * accounted for. The body sees `t` (u32, thread in workgroup), `wg` (u32, linear workgroup) and `P` (parameters).
 */
export function makeKernel(spec: KernelText): Kernel {
  const slots: View[] = [];
  for (const { slot, view } of spec.operands) slots[slot] = view;
  const places = spec.operands.map(({ name, slot, view }) => `${name}${slot}${VIEW_SUFFIX[view]}`).join(".");
  return {
    key: `${spec.name}/${spec.variant}/${places}`,
    slots,
    params: spec.params,
    wgsl: () => assemble(spec, slots),
  };
}

const VIEW_SUFFIX: Readonly<Record<View, string>> = {
  f32: "f",
  u32: "u",
  i32: "i",
  "vec2<u32>": "uu",
  "vec4<f32>": "ffff",
};

function assemble(spec: KernelText, slots: readonly View[]): string {
  const slotOf = new Map(spec.operands.map(({ name, slot }) => [name, slot]));
  const at = (operand: string, index: string) => {
    const slot = slotOf.get(operand);
    if (slot === undefined) throw new Error(`kernel ${spec.name} has no operand ${operand}`);
    return `s${slot}[(${index}) - P.base${slot}]`;
  };
  const { head, body } = spec.text(at);
  const bindings = slots.map(
    (view, slot) => `@group(0) @binding(${slot}) var<storage, read_write> s${slot}: array<${view}>;`,
  );
  const fields = [
    "wg: u32",
    ...slots.map((_, slot) => `base${slot}: u32`),
    ...Object.entries(spec.params).map(([name, type]) => `${name}: ${type}`),
  ];
  const enables = (spec.enables ?? []).map((name) => `enable ${name};\n`).join("");
  const off = (spec.diagnosticsOff ?? []).map((name) => `diagnostic(off, ${name});\n`).join("");
  return `${off}${enables}struct Params { ${fields.join(", ")} }
${bindings.join("\n")}
@group(0) @binding(${slots.length}) var<uniform> P: Params;
${head}
@compute @workgroup_size(${spec.workgroupSize})${spec.subgroupSize === undefined ? "" : ` @subgroup_size(${spec.subgroupSize})`}
fn main(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let wg = P.wg + workgroup.x;
${body}
}
`;
}

/** Bytes of one record: first workgroup, the windows' bases (in units of the views), then the fields. */
export function writeRecord(
  into: DataView,
  offset: number,
  kernel: Kernel,
  workgroup: number,
  bases: readonly number[],
  values: Readonly<Record<string, number>>,
): void {
  let at = offset;
  const word = (value: number) => {
    into.setUint32(at, value, true);
    at += 4;
  };
  word(workgroup);
  for (const base of bases) word(base);
  for (const [name, type] of Object.entries(kernel.params)) {
    const value = values[name];
    if (value === undefined) throw new Error(`kernel ${kernel.key}: no value for ${name}`);
    if (type === "f32") into.setFloat32(at, value, true);
    else if (type === "i32") into.setInt32(at, value, true);
    else into.setUint32(at, value, true);
    at += 4;
  }
  if (at - offset > RECORD_BYTES) throw new Error(`kernel ${kernel.key}: its parameters exceed ${RECORD_BYTES} bytes`);
}
