/** Attributes of each op. */
export interface OpAttrs {
    /** x [B, Ci, H, W], w [Co, Ci, kh, kw], bias? [Co] -> [B, Co, H', W']. `pad` is [top, left, bottom, right], zeros. */
    conv2d: {
        readonly stride: number;
        readonly pad: readonly [number, number, number, number];
    };
    /** x [..., K], w [N, K], bias? [N] -> [..., N]: x wT + b. */
    linear: Record<never, never>;
    /** x [B, C, H, W] (or [B, C, T]), w [C], b [C] -> same: mean and biased variance over each group of C/groups channels. */
    groupNorm: {
        readonly groups: number;
        readonly eps: number;
    };
    /** x [..., C], w [C], b [C] -> same: over the last axis, biased variance. */
    layerNorm: {
        readonly eps: number;
    };
    /** x sigmoid(x). */
    silu: Record<never, never>;
    /** x Phi(x), exact (erf). */
    gelu: Record<never, never>;
    /** x sigmoid(1.702 x). */
    quickGelu: Record<never, never>;
    /** x [..., 2C] -> [..., C]: x[..., :C] gelu(x[..., C:]). */
    geglu: Record<never, never>;
    /** a + b; b has a's shape, or broadcasts to it by the NumPy rule (b may have fewer axes). Output has a's shape. */
    add: Record<never, never>;
    /** x [B, C, H, W] + t [B, C] over all pixels. */
    addChannels: Record<never, never>;
    /** x factor. */
    scale: {
        readonly factor: number;
    };
    /** q [B, T, C], k [B, S, C], v [B, S, C] -> [B, T, C]: softmax(q kT / sqrt(C/heads)) v per head, fp32; causal: key <= query. */
    attention: {
        readonly heads: number;
        readonly causal: boolean;
    };
    /** table [V, C], ids [...] i32 -> [..., C]: rows of the table (a weight or a computed value). */
    embedding: Record<never, never>;
    /** Same elements, row-major, in another shape. */
    reshape: {
        readonly shape: readonly number[];
    };
    /** x [B, C, H, W] -> [B, H W, C]. */
    toTokens: Record<never, never>;
    /** x [B, H W, C] -> [B, C, H, W]. */
    toImage: {
        readonly height: number;
        readonly width: number;
    };
    /** x [B, C, H, W] -> [B, C, height, width], nearest: source index floor(i * in / out). */
    upsampleNearest: {
        readonly height: number;
        readonly width: number;
    };
    /** a [.., A, ..], b [.., B, ..] -> [.., A+B, ..] on `axis` (0-based). */
    concat: {
        readonly axis: number;
    };
    /** x [.., A, ..] -> [.., to-from, ..]: elements `from` up to, not including, `to` of `axis` (0-based). */
    slice: {
        readonly axis: number;
        readonly from: number;
        readonly to: number;
    };
    /**
     * x [B, C, ...] -> [B, groups, 2]: of the C/groups channels of each group together, [.., 0] the mean and [.., 1] the biased
     * variance (the mean square of x - mean: take the mean first, E[x^2] - mean^2 cancels). Of a band of rows these are partial
     * statistics, to be combined by Chan's formula with the bands' element counts.
     */
    groupStats: {
        readonly groups: number;
    };
    /**
     * x [B, C, ...], statistics [B, groups, 2] as groupStats gives them, w [C], b [C] -> x's shape:
     * (x - mean) / sqrt(variance + eps) w + b, mean and variance of the channel's group: groupNorm with statistics from outside.
     */
    groupNormApply: {
        readonly groups: number;
        readonly eps: number;
    };
}
export type OpName = keyof OpAttrs;
type Shape = readonly number[];
type InferShape = {
    [Op in OpName]: (inputs: readonly Shape[], attrs: OpAttrs[Op]) => Shape;
};
/** Output shape from input shapes. Throws RangeError on shapes that do not fit. */
export declare const INFER_SHAPE: InferShape;
export {};
