export interface GenerateJob {
    readonly prompt: string;
    /** Left out and "" differ: only without one do models that ask for it get a zero embedding. */
    readonly negativePrompt?: string;
    /** 0 .. 2^53-1. Default: drawn at random and reported in the events. */
    readonly seed?: number;
    /** 1..1000. Default 30. */
    readonly steps?: number;
    /** Guidance scale, 0..100; <= 1 turns classifier-free guidance off. Default 5. */
    readonly guidance?: number;
    /** Pixels, a multiple of 8 from 16 to 4096. Default: the model's own size. */
    readonly width?: number;
    /** As `width`. */
    readonly height?: number;
}
/** What a plan depends on. */
export type PlanJob = Pick<GenerateJob, "steps" | "guidance" | "width" | "height">;
/** A job with nothing left open. */
export type FullJob = Omit<Required<GenerateJob>, "negativePrompt"> & Pick<GenerateJob, "negativePrompt">;
/** What a job leaves to the model: its own picture size in pixels. */
export interface PictureSize {
    readonly width: number;
    readonly height: number;
}
/** Fills in what a checked job leaves open: the table's defaults, the model's, and a seed. */
export declare function completeJob(job: GenerateJob, model: PictureSize): FullJob;
/** A seed for those who name none: short enough to be typed. */
export declare function drawSeed(): number;
/** The VAE makes `scale` pixels of one latent cell, and one there must be. Throws UsageError. */
export declare function requireLatent({ width, height }: PictureSize, scale: number): void;
