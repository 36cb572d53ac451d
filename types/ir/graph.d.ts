/**
 * @file The IR: a model as data. Values have logical shapes (images are NCHW, token sequences [B, T, C]); nodes apply an
 * op from ops.ts; segments are runs of nodes (a ResNet block, a transformer block, ...) that a backend lowers and a plan
 * moves weights for. Imports nothing that runs.
 */
import type { OpAttrs, OpName } from "./ops.js";
export type ValueId = number;
/** Element type of a value while computing. Weights keep their stored dtype outside of the IR. */
export type ValueDType = "f32" | "i32";
export interface Value {
    readonly id: ValueId;
    /** "input": fed by the caller. "weight": a parameter, `name` is its key. "node": computed. */
    readonly kind: "input" | "weight" | "node";
    /** Input or parameter name; for nodes a label for messages. */
    readonly name: string;
    readonly shape: readonly number[];
    readonly dtype: ValueDType;
}
export interface Node<Op extends OpName = OpName> {
    readonly op: Op;
    readonly inputs: readonly ValueId[];
    readonly output: ValueId;
    readonly attrs: OpAttrs[Op];
}
/** Nodes of every op, distinguishable by `op`. */
export type AnyNode = {
    [Op in OpName]: Node<Op>;
}[OpName];
export interface Segment {
    /** Path of the block in the model, e.g. `down_blocks.1.attentions.0.transformer_blocks.0`. */
    readonly name: string;
    readonly nodes: readonly AnyNode[];
    /** Values read that this segment does not compute, weights excluded, in order of first use. */
    readonly inputs: readonly ValueId[];
    /** Parameters read, in order of first use. */
    readonly weights: readonly ValueId[];
    /** Values computed here and read by a later segment or by the caller. */
    readonly outputs: readonly ValueId[];
}
export interface Graph {
    readonly name: string;
    /** Has values that fp16 can't hold: arithmetic in fp32, whatever precision is declared. Default false. */
    readonly fp32?: boolean;
    readonly values: readonly Value[];
    readonly segments: readonly Segment[];
    /** Caller-fed values by name. */
    readonly inputs: ReadonlyMap<string, ValueId>;
    /** Results by name. */
    readonly outputs: ReadonlyMap<string, ValueId>;
}
