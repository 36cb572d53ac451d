/** @file Pictures as latents: a job's own and what its mask leaves of it, or one that a leg has made; each sampled by its draw. */
import type { DescribedStage } from "../models/family.ts";
import { requireFiniteValues } from "../models/finite.ts";
import type { NoiseSource } from "../sampler/sampler.ts";
import { hardMask, latentMask, maskedDecoded } from "./inpainting.ts";
import { decodedFromImage, type JobPictures } from "./job-pictures.ts";
import type { Route } from "./route.ts";
import type { PhaseHost, PlannedJob } from "./runtime.ts";

export interface LookingContext {
  readonly runtime: PhaseHost;
  readonly planned: PlannedJob;
  readonly route: Route;
  readonly signal?: AbortSignal | undefined;
}

export interface Look {
  /** [1, 3, height, width] in -1..1. */
  readonly decoded: () => Float32Array;
  /** Of the draw that its latent is sampled with. */
  readonly place: number;
}

/** The latents of pictures, in their order. */
export async function latentsOf(
  { runtime, planned, signal }: LookingContext,
  stage: DescribedStage,
  noise: NoiseSource,
  looks: readonly (Look | undefined)[],
): Promise<(Float32Array<ArrayBuffer> | undefined)[]> {
  await using phase = await runtime.openPhase(planned, stage.phaseOf.look, signal);
  const latents: (Float32Array<ArrayBuffer> | undefined)[] = [];
  for (const look of looks) {
    if (!look) {
      latents.push(undefined);
      continue;
    }
    const moments = await stage.encodePicture(phase, look.decoded(), signal);
    requireFiniteValues(moments.mean, "the picture's latent");
    latents.push(stage.sampleLatent(moments, noise.normal(look.place, moments.mean.length)));
  }
  return latents;
}

/** What a job's pictures are in latent space. */
export interface Looked {
  /** The picture's own latent, [1, C, H, W]; none where nothing of it is seen. */
  readonly own: Float32Array | undefined;
  /** That of the masked picture, for networks that read it. */
  readonly masked: Float32Array | undefined;
  /** [H, W], 1 where it is painted anew. */
  readonly mask: Float32Array | undefined;
}

/** For image to image, and inpainting where there is a mask. */
export async function lookAtPictures(
  context: LookingContext,
  pictures: JobPictures,
  noise: NoiseSource,
): Promise<Looked> {
  const { planned, route, runtime } = context;
  const stage = planned.described;
  const { places } = route.first;
  const reads = pictures.mask !== undefined && runtime.checkpoint.inpaints;
  const shown = reads ? hardMask(pictures) : pictures;
  const [own, masked] = await latentsOf(context, stage, noise, [
    places.sample === undefined ? undefined : { decoded: () => decodedFromImage(shown), place: places.sample },
    places.masked === undefined
      ? undefined
      : { decoded: () => maskedDecoded(decodedFromImage(shown), shown), place: places.masked },
  ]);
  return { own, masked, mask: pictures.mask && latentMask(shown, stage.latentShape) };
}
