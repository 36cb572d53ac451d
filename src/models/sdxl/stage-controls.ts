/**
 * @file The ControlNets (and T2I-Adapters, which only look) of one size of a job: their graphs with ids of passes, what they add to the denoise phase's plan, and what of them a
 * denoiser runs when. Each is a component of its own and one more cyclic pass before the UNet's step, which reads its results as links.
 */

import { UsageError } from "../../errors.ts";
import type { Graph, ValueId } from "../../ir/graph.ts";
import type { PassDescription } from "../../plan/describe.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { ControlShape } from "../control.ts";
import { isStrengths, type LayerAdapters } from "../layer-builder.ts";
import { type ControlNetConfig, controlNetGraphs, controlNetTimeGraph } from "./controlnet.ts";
import { type T2iAdapterConfig, t2iAdapterGraph } from "./t2i-adapter.ts";
import type { ControlLink } from "./unet.ts";

interface Steering extends ControlLink {
  readonly shape: ControlShape;
  readonly ids: { readonly hint: string; readonly text: string; readonly step: string };
  /** Looks at the picture, once. */
  readonly hint: Graph;
}

/** A ControlNet, of one size. */
export interface StageNet extends Steering {
  readonly kind: "net";
  readonly config: ControlNetConfig;
  readonly text: Graph | undefined;
  readonly step: Graph;
  /** By the number of model calls at once. */
  readonly times: ReadonlyMap<number, { readonly id: string; readonly graph: Graph }>;
}

/** A T2I-Adapter: all of it is in the look at the picture. */
export interface StageFeatures extends Steering {
  readonly kind: "features";
  readonly config: T2iAdapterConfig;
  /** Of the picture. */
  readonly size: { readonly height: number; readonly width: number };
}

export type StageControl = StageNet | StageFeatures;

export interface ControlsSize {
  /** Of one latent cell. */
  readonly pixelsPerCell: number;
  readonly controls: readonly ControlShape[];
  /** Of the latent. */
  readonly height: number;
  readonly width: number;
  readonly textTokens: number;
  readonly fp32: boolean;
  /** All the numbers of model calls whose time embeddings are computed at once, the job's first. */
  readonly callsAtOnce: readonly number[];
  /** Of the UNet. */
  readonly adapters: LayerAdapters | undefined;
}

/** `idPrefix`: before the ids of all passes. */
export function stageControls(size: ControlsSize, idPrefix: string): readonly StageControl[] {
  const { height, width, textTokens, fp32, pixelsPerCell, adapters } = size;
  return size.controls.map((shape, i): StageControl => {
    // Of which kind it is was checked when it was opened by this family.
    const config = shape.network as ControlNetConfig | T2iAdapterConfig;
    const prefix = `control${i}.`;
    const id = `${idPrefix}control${i}`;
    const ids = { hint: `${id}.hint`, text: `${id}.text`, step: `${id}.step` };
    const { guess, rows } = shape;
    if (config.kind === "t2i-adapter") {
      const picture = { height: height * pixelsPerCell, width: width * pixelsPerCell };
      requireFolds(picture, config);
      const hint = t2iAdapterGraph(config, picture, prefix, fp32);
      return { ...{ kind: "features", prefix, rows, shape, config, ids, hint }, size: picture };
    }
    const options = { fp32, prefix, guess, adapters };
    const graphs = controlNetGraphs(config, { batch: rows, height, width, textTokens }, options);
    const timeOf = (calls: number, at: number) => {
      const graph = controlNetTimeGraph(config, calls * rows, options);
      return [calls, { id: at === 0 ? `${id}.time` : `${id}.time-${calls}`, graph }] as const;
    };
    return {
      ...{ kind: "net", prefix, rows, shape, config, ids, ...graphs },
      times: new Map(size.callsAtOnce.map(timeOf)),
    };
  });
}

/** Its features are of whole folds, twice. Throws UsageError `E_CONTROL`. */
function requireFolds({ height, width }: StageFeatures["size"], { fold }: T2iAdapterConfig): void {
  const whole = 2 * fold;
  if (height % whole === 0 && width % whole === 0) return;
  throw new UsageError({
    code: "E_CONTROL",
    subject: `${width}x${height}`,
    problem: `a T2I-Adapter looks at pictures whose sides are multiples of ${whole}`,
    next: "choose such a size (--width, --height)",
  });
}

function isNet(control: StageControl): control is StageNet {
  return control.kind === "net";
}

/**
 * Of all of them, in the order in which a denoise phase runs them; `tellings` and `calls` as of the UNet's passes. `changes`: how often the strengths
 * change that a graph reads.
 */
export function controlPasses(
  controls: readonly StageControl[],
  {
    tellings,
    calls,
    changes,
  }: {
    readonly tellings: number;
    readonly calls: (callsAtOnce: number) => number;
    readonly changes: (graph: Graph) => number;
  },
): { readonly once: readonly PassDescription[]; readonly cyclic: readonly PassDescription[] } {
  const rest = { repeats: 1, cyclic: false, links: [] };
  const looks = controls.map(({ ids, shape: { component }, hint }): PassDescription => {
    return { ...rest, id: ids.hint, graph: hint, component, links: [...hint.outputs.keys()] };
  });
  const told = controls.filter(isNet).flatMap(({ ids, shape: { component }, text, times }): PassDescription[] => {
    const timePasses = [...times].map(([atOnce, { id, graph }]) => {
      return { ...rest, id, graph, component, repeats: calls(atOnce) + changes(graph) };
    });
    if (!text) return timePasses;
    const repeats = tellings + changes(text);
    return [{ ...rest, id: ids.text, graph: text, component, repeats, links: [...text.outputs.keys()] }, ...timePasses];
  });
  const once = [...looks, ...told];
  const cyclic = controls.filter(isNet).map(({ ids, shape, hint, text, step }) => ({
    ...{ id: ids.step, graph: step, component: shape.component, repeats: shape.calls, cyclic: true },
    links: [...hint.outputs.keys(), ...(text?.outputs.keys() ?? []), ...step.outputs.keys()],
  }));
  return { once, cyclic };
}

/** Host memory while they denoise: a picture as numbers (and with its planes reversed), time embeddings, prompts' rows, the latent for each answer, strengths. */
export function controlHostBytes(controls: readonly StageControl[]): number {
  const bytes = ({ values }: Graph, ids: Iterable<ValueId>) =>
    4 * [...ids].reduce((sum, id) => sum + elementCount(values[id]!.shape), 0);
  // Of a T2I-Adapter, the picture and the same folded.
  const features = controls.filter((control) => !isNet(control));
  const looked = features.reduce((sum, { hint }) => sum + 2 * bytes(hint, hint.inputs.values()), 0);
  return controls.filter(isNet).reduce((sum, { hint, text, times, step, config }) => {
    const graphs = [...times.values()].map(({ graph }) => graph);
    const time = Math.max(
      ...graphs.map((graph) => bytes(graph, [...graph.inputs.values(), ...graph.outputs.values()])),
    );
    const inputs = [...step.inputs].filter(([name]) => name === "latent" || isStrengths(name)).map(([, id]) => id);
    return (
      sum +
      (config.bgr ? 2 : 1) * bytes(hint, hint.inputs.values()) +
      time +
      bytes(step, inputs) +
      (text ? bytes(text, text.inputs.values()) : 0)
    );
  }, looked);
}
