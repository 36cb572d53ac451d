/** @file ControlNets at work in a denoise phase: told of prompts and times as the UNet is, and asked before its step. */
import type { PhaseRun } from "../../stream/phase.ts";
import type { Conditioning } from "../conditioning.ts";
import { atStep } from "../conditioning.ts";
import type { ControlInput } from "../control.ts";
import { timestepEmbedding } from "../embedding.ts";
import { withStrengths } from "../layer-builder.ts";
import { foldPicture } from "../upscaler.ts";
import type { StageControl, StageFeatures, StageNet } from "./stage-controls.ts";
import { type CallRows, concatenated, ofCall, timeRows } from "./step-inputs.ts";

/** Has each look at its picture. Throws Error where pictures are not those of the shape. */
export async function openControls(
  controls: readonly StageControl[],
  inputs: readonly ControlInput[],
  phase: PhaseRun,
  signal: AbortSignal | undefined,
): Promise<readonly ControlRun[]> {
  if (controls.length !== inputs.length)
    throw new Error(`${controls.length} controls, and pictures for ${inputs.length}`);
  const runs = controls.map((control, i) =>
    control.kind === "net" ? new NetRun(control, inputs[i]!, phase) : new FeatureRun(control, inputs[i]!, phase),
  );
  for (const run of runs) await run.look(signal);
  return runs;
}

interface CallOfStep {
  readonly at: Parameters<typeof ofCall>[1];
  readonly upcoming: readonly string[];
  readonly strengths: readonly number[];
}

interface ControlRun {
  readonly stepId: string;
  look(signal: AbortSignal | undefined): Promise<void>;
  /** `told`: of all the batch. `strengths`: of the model's adapters. */
  tell(told: readonly Conditioning[], strengths: readonly number[], signal: AbortSignal | undefined): Promise<void>;
  /** Of some calls; `additions`: of all the batch. */
  time(calls: readonly CallRows[], strengths: readonly number[], signal: AbortSignal | undefined): Promise<void>;
  /** Whether it is to run before such a step of the UNet. */
  isAsked(step: number): boolean;
  /** `input`: the latent as the UNet reads it, [1, C, H, W]. */
  step(input: Float32Array, of: CallOfStep, signal: AbortSignal | undefined): Promise<void>;
  weightInput(step: number): readonly [string, Float32Array];
}

/** Only looks: the UNet does the rest. */
class FeatureRun implements ControlRun {
  readonly stepId = "";
  readonly #control: StageFeatures;
  readonly #input: ControlInput;
  readonly #phase: PhaseRun;

  constructor(control: StageFeatures, input: ControlInput, phase: PhaseRun) {
    this.#control = control;
    this.#input = input;
    this.#phase = phase;
  }

  async look(signal: AbortSignal | undefined): Promise<void> {
    const { ids, config, size } = this.#control;
    const folded = foldPicture(this.#input.picture, config.fold, size.height, size.width);
    await this.#phase.run(ids.hint, new Map([["picture", folded]]), { signal });
  }

  async tell(): Promise<void> {}

  async time(): Promise<void> {}

  isAsked(): boolean {
    return false;
  }

  async step(): Promise<void> {}

  weightInput(step: number): readonly [string, Float32Array] {
    return [`${this.#control.prefix}weight`, Float32Array.of(atStep(this.#input.weights, step))];
  }
}

class NetRun implements ControlRun {
  readonly #control: StageNet;
  readonly #input: ControlInput;
  readonly #phase: PhaseRun;
  #times: ReadonlyMap<string, Float32Array> = new Map();
  #ran = false;

  constructor(control: StageNet, input: ControlInput, phase: PhaseRun) {
    this.#control = control;
    this.#input = input;
    this.#phase = phase;
  }

  get stepId(): string {
    return this.#control.ids.step;
  }

  async look(signal: AbortSignal | undefined): Promise<void> {
    const { ids, config, shape } = this.#control;
    const { picture } = this.#input;
    const inputs = new Map<string, Float32Array | Int32Array>([
      ["picture", config.bgr ? reversedPlanes(picture) : picture],
    ]);
    if (config.union) inputs.set("mode", Int32Array.of(shape.mode!));
    await this.#phase.run(ids.hint, inputs, { signal });
  }

  async tell(
    told: readonly Conditioning[],
    strengths: readonly number[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { ids, text, rows } = this.#control;
    if (!text) return;
    const context = concatenated(told.slice(-rows).map(({ sequences }) => sequences.get("context")!)); // [B, S, D]
    await this.#phase.run(ids.text, withStrengths(text, new Map([["context", context]]), strengths), { signal });
  }

  async time(calls: readonly CallRows[], strengths: readonly number[], signal: AbortSignal | undefined): Promise<void> {
    const { times, config, rows, shape } = this.#control;
    const { id, graph } = times.get(calls.length)!;
    const own = calls.map(({ timestep, additions }) => ({ timestep, additions: additions.slice(-rows) }));
    const inputs = timeRows(own, config);
    if (config.union) {
      // diffusers' control_type: a row of zeros, and 1 for the kind that is looked at.
      const types = Array.from({ length: config.union.types }, (_, type) => (type === shape.mode ? 1 : 0));
      const row = timestepEmbedding(types, config.additionTimeEmbedDim, config);
      inputs.set("types", concatenated(new Array<Float32Array>(calls.length * rows).fill(row)));
    }
    this.#times = await this.#phase.run(id, withStrengths(graph, inputs, strengths), { signal });
  }

  /** Nothing of it counts while its weight is 0; but its results must be numbers. */
  isAsked(step: number): boolean {
    return !this.#ran || this.#weight(step) !== 0;
  }

  async step(
    input: Float32Array,
    { at, upcoming, strengths }: CallOfStep,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { ids, rows, step } = this.#control;
    const latent = concatenated(new Array<Float32Array>(rows).fill(input)); // [B, C, H, W]
    const inputs = new Map<string, Float32Array>([["latent", latent], ...ofCall(this.#times, at)]);
    await this.#phase.run(ids.step, withStrengths(step, inputs, strengths), { signal, upcoming });
    this.#ran = true;
  }

  weightInput(step: number): readonly [string, Float32Array] {
    return [`${this.#control.prefix}weight`, Float32Array.of(this.#weight(step))];
  }

  #weight(step: number): number {
    return atStep(this.#input.weights, step);
  }
}

/** [1, 3, H, W], the last colour first. */
function reversedPlanes(picture: Float32Array): Float32Array {
  const plane = picture.length / 3;
  return concatenated([2, 1, 0].map((channel) => picture.subarray(channel * plane, (channel + 1) * plane)));
}
