/**
 * @file The seam of samplers: from one latent to the next, over a model that predicts the clean latent. Between steps there is
 * plain data, so that a run can be stopped, shown, saved and gone on with, here or on another machine.
 */
/** The clean latent that the model sees in `x` at noise level `sigma`. Prediction type, guidance and input scaling lie below. */
export type Denoise = (x: Float32Array, sigma: number) => Promise<Float32Array>;
/** All that a run needs to go on after `step` steps. Nobody writes to its arrays. */
export interface SamplerState {
    readonly step: number;
    /** The latent, [1, C, H, W]. */
    readonly x: Float32Array;
    /** What the sampler keeps of earlier steps, newest last; as many as its `historyLength` at most. */
    readonly history: readonly Float32Array[];
}
/** Unit noise by place and not by history: a run that goes on draws what an uninterrupted one draws. */
export interface NoiseSource {
    /**
     * Draw number `place` of the seed, `count` values, the same for all draws of a run. Place 0 is the first latent's; a sampler that draws
     * d times a step takes 1 + d k to d + d k in step k.
     */
    normal(place: number, count: number): Float32Array<ArrayBuffer>;
}
export interface Sampler {
    /** Latents of earlier steps that a state holds at most: part of a plan's host memory. */
    readonly historyLength: number;
    /**
     * The noise levels at which step `step` asks the model, in their order: a plan's repeats and the time embeddings follow. `sigmas`
     * are the schedule's, one more than steps.
     */
    levels(sigmas: ArrayLike<number>, step: number): readonly number[];
    /** The state after step `state.step`. Asks the model exactly at `levels`. */
    step(state: SamplerState, sigmas: ArrayLike<number>, denoise: Denoise, noise: NoiseSource): Promise<SamplerState>;
}
