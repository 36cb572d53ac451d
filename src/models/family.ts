/**
 * @file The seam of model families: SDXL today. A family finds its models among files, opens them, and describes a job as
 * phases of graphs; nothing above or below it asks which family it is.
 */
import type { EncoderWidth } from "../adapters/embedding-file.ts";
import type { ModelPart } from "../adapters/layer-names.ts";
import type { ComponentRules, Schema } from "../checkpoint/schema.ts";
import type { TensorTable } from "../container/table.ts";
import type { LatentColours } from "../image/latent-preview.ts";
import type { Graph } from "../ir/graph.ts";
import type { PhaseDescription } from "../plan/describe.ts";
import type { PredictionType } from "../sampler/prediction.ts";
import type { Denoise } from "../sampler/sampler.ts";
import type { SamplerName } from "../sampler/samplers.ts";
import type { NoiseSchedule } from "../sampler/schedule.ts";
import type { SchedulerConfig } from "../sampler/training.ts";
import type { Folder } from "../source/folder.ts";
import type { ModelChooser } from "../source/listing.ts";
import type { PackedBlock } from "../store/stored-model.ts";
import type { PhaseRun } from "../stream/phase.ts";
import type { CutTexts } from "../tokenizer/cut-text.ts";
import type { Conditioning, Guide, LearnedWord, Prompt, PromptText, Strengths } from "./conditioning.ts";
import type { ControlInput } from "./control.ts";
import type { FilePlace } from "./file-place.ts";
import type { DescribedImagePrompts, ImagePromptInput } from "./image-prompt.ts";
import type { JobShape } from "./job-shape.ts";
import type { Previewing } from "./previewing.ts";
import type { NetworkInFile, RecognisedNetwork } from "./recognised.ts";
import type { SideNetworks } from "./side-networks.ts";
import type { Upscaling } from "./upscaling.ts";

/** Embeddings of chunks of text kept for prompts to come back: 0.6 MB each of full-size SDXL. Counted in every phase's host memory. */
export const PROMPT_CACHE_ENTRIES = 32;

/** One of the networks that every model of a family has. */
export interface ComponentDescription {
  readonly id: string;
  /** Of the diffusers layout; components may share one. */
  readonly folder: string;
  /** Before the names of its blocks of weights in plans; keeps components apart. */
  readonly prefix: string;
  /** Brought into the block store only when something asks for it. */
  readonly onDemand?: boolean;
}

/** A network's weights. */
export interface Component {
  /** By canonical (diffusers) parameter name; exactly what the network reads. */
  readonly table: TensorTable;
  /** From the block store: the same weights by segment. */
  readonly blocks?: readonly PackedBlock[];
}

export interface OpenOptions {
  readonly signal?: AbortSignal | undefined;
  /** Weights from elsewhere than the folder's files, by component id; configs and tokenizers are the folder's all the same. */
  readonly weights?: (component: string) => Component | undefined;
}

/** What a model is opened from: a folder or a single file, and what stands in for parts of it. */
export interface ModelFiles {
  readonly model: FilePlace;
  /** In place of the model's own VAE. */
  readonly vae?: FilePlace | undefined;
  /** Config files of a single file's model, and tokenizers if it has some. */
  readonly config?: Folder | undefined;
  /** What the model predicts, whatever its files say. */
  readonly prediction?: PredictionType | undefined;
  /** Where the parts come from that a single file lacks. */
  readonly base: BaseModel;
  /** Holds CLIP's merges.txt, for a single file. */
  readonly vocabulary: Folder;
}

export type RefinerFiles = Pick<ModelFiles, "model" | "vocabulary">;

export interface BaseModel {
  readonly name: string;
  /** Whether the user has named it. */
  readonly asked: boolean;
  /** Undefined if it isn't here. */
  open(): Promise<Folder | undefined>;
}

/** `folder`: the model as the folder it would be, its texts at least, for whoever imports it. */
export interface OpenedFiles {
  readonly folder: Folder;
  readonly checkpoint: Checkpoint;
}

export interface Family {
  readonly name: string;
  /** In the order in which an image needs them. */
  readonly components: readonly ComponentDescription[];
  /** Those of a refiner: by ids and prefixes that none of `components` has. */
  readonly refinerComponents: readonly ComponentDescription[];
  /** Every text file that such a model may consist of, beside its weights. */
  readonly textFiles: readonly string[];
  /** Whether a folder with this model_index.json, its text, holds such a model. */
  isModelIndex(text: string): boolean;
  /** Which of a listing's files make up the model. */
  readonly chooseFiles: ModelChooser;
  /** Whether it is a refiner: of a folder by its model_index.json, of a file by the names in its header. Rejects with ArtifactError. */
  isRefiner(model: FilePlace, signal?: AbortSignal): Promise<boolean>;
  /** Opens and checks a refiner's folder or single file; reads headers and configs only. Rejects with ArtifactError or UsageError. */
  openRefiner(files: RefinerFiles, options?: OpenOptions): Promise<Refiner>;
  /** Opens and checks a folder; reads headers and configs only. Rejects with ArtifactError or UsageError. */
  open(folder: Folder, options?: OpenOptions): Promise<Checkpoint>;
  /** Opens and checks a model from whatever files it is in; reads headers and configs only. Rejects with ArtifactError or UsageError. */
  openFiles(files: ModelFiles, options?: OpenOptions): Promise<OpenedFiles>;
  /**
   * What a weight file by itself must hold, by the config.json beside it (`folder`: the name of the folder it lies in), else by its
   * tensors. Undefined where it shares no name with any of the family's networks. Throws ArtifactError for a config that can't be used.
   */
  recognise(
    table: TensorTable,
    beside?: { readonly folder: string; readonly config: string },
  ): RecognisedNetwork | undefined;
  /** The networks in a file of several, or of another layout than diffusers'; none in diffusers' files of one network. Throws ArtifactError. */
  networksIn(table: TensorTable, file: string): readonly NetworkInFile[];
  /** What a weight file with such tensors is, in words, where it can't be a model of the family nor one of its networks. */
  foreignFile(tensors: Iterable<{ readonly name: string; readonly shape: readonly number[] }>): string | undefined;
  /** What a weight file holds, one line each for people; nothing where it is none of the family's. */
  contentOf(
    tensors: Iterable<{ readonly name: string; readonly dtype: string; readonly shape: readonly number[] }>,
    metadata: Readonly<Record<string, string>>,
  ): readonly string[];
  /** The networks of an opened model that adapters may change, by every name by which their files call layers. */
  adapterParts(model: Pick<Checkpoint, "rulesOf">): readonly ModelPart[];
  /** The text encoders that learned words have vectors for. */
  encoderWidths(model: Pick<Checkpoint, "rulesOf">): readonly EncoderWidth[];
  /** What an artifact overlays where no model is named: the component and what it holds in the family's base model. */
  readonly baseArtifactTarget: ArtifactTarget;
  /** A component's tensors, a refiner's too, by canonical (diffusers) name, in a file of any layout that holds it. `file`: for messages. */
  tensorsOf(component: string, stored: TensorTable, file: string): TensorTable;
}

/** The network that LZR2 artifacts of a model are laid over. */
export interface ArtifactTarget {
  readonly component: string;
  readonly schema: Schema;
}

/** What jobs take from the model where they don't say. */
export interface ModelDefaults {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  readonly sampler: SamplerName;
}

/** An opened model: configs and tokenizers in memory, weights where they are. */
export interface Checkpoint extends SideNetworks, AsyncDisposable {
  readonly family: Family;
  readonly name: string;
  /** By id, in the family's order; one on demand may be missing. */
  readonly components: ReadonlyMap<string, Component>;
  /** Why a component on demand can't be had, by id. Weights that the block store has not read yet may give further reasons. */
  readonly absent: ReadonlyMap<string, string>;
  /** For the user, such as a part that is the base model's. */
  readonly notes: readonly string[];
  readonly defaults: ModelDefaults;
  /** Pixels of one latent cell. */
  readonly pixelsPerCell: number;
  /** Its network paints into a picture: it reads a mask and the masked picture beside the latent. */
  readonly inpaints: boolean;
  /** The noise levels that the model was trained at, and what it asks of a sampler. */
  readonly scheduler: SchedulerConfig;
  /** What the channels of a latent look like; undefined where nobody knows. */
  readonly latentColours: LatentColours | undefined;
  /** A1111's name of the model's schedule ("Karras"), as pictures record it. */
  readonly scheduleTitle: string;
  /** A negative prompt that was not given is all zeros; false: it is an empty prompt. */
  readonly zerosForAbsentPrompt: boolean;
  /** Whether the model is asked twice at such a guidance scale, with and without the prompt. */
  isGuided(guidanceScale: number): boolean;
  readonly artifactTarget: ArtifactTarget;
  /** The same model with other weights for these components. The caller keeps disposing of this one. */
  withWeights(weights: ReadonlyMap<string, Component>): Checkpoint;
  /** How many layers of the text encoders can be passed over at most. */
  readonly maxClipSkip: number;
  /** A prompt as the text encoders read it: one chunk of what is cut to fit, or in "a1111" as many as it takes. */
  promptChunks(prompt: PromptText): readonly Prompt[];
  /** What each of their tokenizers leaves out of a prompt that is too long for it, by its name. */
  cutText(prompt: Pick<PromptText, "text" | "second" | "words">): CutTexts;
  /** What a component must hold, and the names it is stored under. */
  rulesOf(component: string): ComponentRules;
  /** The graphs that a component's blocks of weights are cut by, in execution order; sizes of pictures don't matter to them. */
  weightGraphs(component: string): readonly Graph[];
  /** Pure. */
  describe(shape: JobShape): DescribedJob;
  /** What draws the last steps of jobs that want it. */
  readonly refiner?: Refiner | undefined;
  /** The same model with a refiner of its family. The caller keeps disposing of both. Throws ArtifactError where they don't fit. */
  withRefiner(refiner: Refiner): Checkpoint;
}

/** A model that can only draw last steps, opened: it has no way to pixels and back of its own. */
export interface Refiner extends AsyncDisposable {
  readonly name: string;
  readonly scheduler: SchedulerConfig;
  /** See Checkpoint. */
  readonly zerosForAbsentPrompt: boolean;
  promptChunks(prompt: PromptText): readonly Prompt[];
  /** By id, of the family's `refinerComponents`. */
  readonly components: ReadonlyMap<string, Component>;
  /** The refiner as the folder it would be, its texts at least, for whoever imports it. */
  readonly folder: Folder;
  /** See Checkpoint. */
  weightGraphs(component: string): readonly Graph[];
}

export interface EncodeOptions {
  /** Those that the prompt may have. */
  readonly words?: readonly LearnedWord[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One question of a sampler to the model. */
export interface ModelCall {
  /** The step that asks, from 0. */
  readonly step: number;
  readonly sigma: number;
}

export interface DenoiserOptions {
  readonly guide: Guide;
  readonly schedule: NoiseSchedule;
  /** All of the image's calls in their order ... */
  readonly calls: readonly ModelCall[];
  /** ... and the first that will be asked: a run may go on from a saved state. */
  readonly firstCall: number;
  /** Of each adapter by step, from 0; the last holds for all later steps. Absent: there are none. */
  readonly strengths?: Strengths | undefined;
  /** Where the stage has such networks. */
  readonly controls?: readonly ControlInput[] | undefined;
  readonly imagePrompts?: readonly ImagePromptInput[] | undefined;
  /** What a network for inpainting reads beside the latent: mask and masked picture, [1, C, H, W]. */
  readonly beside?: Float32Array | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a picture is in latent space before anything is drawn: a mean and a deviation for each value, [1, C, H, W]. */
export interface LatentMoments {
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
}

/** Denoising at one size, with the ways from pixels and back. */
export interface DescribedStage {
  /** Ids of its phases: from pixels to a latent, for the denoising steps, and from the latent to pixels. */
  readonly phaseOf: { readonly look: string; readonly denoise: string; readonly decode: string };
  /** [1, C, H, W] */
  readonly latentShape: readonly number[];
  /** Pixels of the picture that `decode` gives; a side that is no whole number of cells is cut. */
  readonly width: number;
  readonly height: number;
  /** How previews are made in the denoise phase, where the job's shape has a network for it. */
  readonly previewing?: Previewing | undefined;
  /** In the look phase: `picture` [1, 3, height, width] in -1..1. */
  encodePicture(phase: PhaseRun, picture: Float32Array, signal?: AbortSignal): Promise<LatentMoments>;
  /** The latent that samplers begin with, from moments and the unit noise of a draw. */
  sampleLatent(moments: LatentMoments, noise: Float32Array): Float32Array<ArrayBuffer>;
  /** In the denoise phase. The calls must then be asked in their order. */
  denoiser(phase: PhaseRun, options: DenoiserOptions): Promise<Denoise>;
  /** In the decode phase: `latent` [1, C, H, W] as samplers leave it -> [1, 3, height, width], about -1..1. */
  decode(phase: PhaseRun, latent: Float32Array, signal?: AbortSignal): Promise<Float32Array>;
}

/** A job's graphs, as phases that follow one another, and how to run them. */
export interface DescribedJob extends DescribedStage {
  /** Those that the job's shape asks for. */
  readonly phases: readonly PhaseDescription[];
  readonly phaseOf: DescribedStage["phaseOf"] & { readonly encode: string };
  /** The second pass, where the job's shape has one: then it makes the picture. */
  readonly hires?: DescribedStage | undefined;
  readonly imagePrompts?: DescribedImagePrompts | undefined;
  /** What makes the second pass's picture of the first's, where a network does. */
  readonly enlarging?: { readonly phase: string; readonly upscaling: Upscaling } | undefined;
  /** The refiner's steps, where the job's shape has some. */
  readonly refined?: RefinedStage | undefined;
  /** In the encode phase. */
  encode(phase: PhaseRun, prompt: Prompt, options?: EncodeOptions): Promise<Conditioning>;
}

/** Steps by a network of its own, which is told of prompts in its own way. */
export interface RefinedStage extends DescribedStage {
  readonly phaseOf: DescribedStage["phaseOf"] & { readonly encode: string };
  encode(phase: PhaseRun, prompt: Prompt, options?: EncodeOptions): Promise<Conditioning>;
}
