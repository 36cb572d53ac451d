/**
 * @file The ControlNets of one size of a job: their graphs with ids of passes, what they add to the denoise phase's plan, and what of them a
 * denoiser runs when. Each is a component of its own and one more cyclic pass before the UNet's step, which reads its results as links.
 */
import type { Graph, ValueId } from "../../ir/graph.ts";
import type { PassDescription } from "../../plan/describe.ts";
import { elementCount } from "../../tensor/dtype.ts";
import type { ControlShape } from "../control.ts";
import { type ControlNetConfig, controlNetGraphs, controlNetTimeGraph } from "./controlnet.ts";
import type { ControlLink } from "./unet.ts";

/** One of them, of one size. */
export interface StageControl extends ControlLink {
  readonly shape: ControlShape;
  readonly config: ControlNetConfig;
  readonly ids: { readonly hint: string; readonly text: string; readonly step: string };
  readonly hint: Graph;
  readonly text: Graph | undefined;
  readonly step: Graph;
  /** By the number of model calls at once. */
  readonly times: ReadonlyMap<number, { readonly id: string; readonly graph: Graph }>;
}

export interface ControlsSize {
  readonly controls: readonly ControlShape[];
  /** Of the latent. */
  readonly height: number;
  readonly width: number;
  readonly textTokens: number;
  readonly fp32: boolean;
  /** All the numbers of model calls whose time embeddings are computed at once, the job's first. */
  readonly callsAtOnce: readonly number[];
}

/** `idPrefix`: before the ids of all passes. */
export function stageControls(size: ControlsSize, idPrefix: string): readonly StageControl[] {
  const { height, width, textTokens, fp32 } = size;
  return size.controls.map((shape, i) => {
    // Of which kind it is was checked when it was opened by this family.
    const config = shape.network as ControlNetConfig;
    const prefix = `control${i}.`;
    const id = `${idPrefix}control${i}`;
    const { guess, rows } = shape;
    const graphs = controlNetGraphs(config, { batch: rows, height, width, textTokens }, { fp32, prefix, guess });
    const timeOf = (calls: number, at: number) => {
      const graph = controlNetTimeGraph(config, calls * rows, { fp32, prefix });
      return [calls, { id: at === 0 ? `${id}.time` : `${id}.time-${calls}`, graph }] as const;
    };
    return {
      ...{ prefix, rows, shape, config, ...graphs },
      ids: { hint: `${id}.hint`, text: `${id}.text`, step: `${id}.step` },
      times: new Map(size.callsAtOnce.map(timeOf)),
    };
  });
}

/** Of all of them, in the order in which a denoise phase runs them; `tellings` and `calls` as of the UNet's passes. */
export function controlPasses(
  controls: readonly StageControl[],
  { tellings, calls }: { readonly tellings: number; readonly calls: (callsAtOnce: number) => number },
): { readonly once: readonly PassDescription[]; readonly cyclic: readonly PassDescription[] } {
  const rest = { repeats: 1, cyclic: false, links: [] };
  const once = controls.flatMap(({ ids, shape: { component }, hint, text, times }): PassDescription[] => [
    { ...rest, id: ids.hint, graph: hint, component, links: [...hint.outputs.keys()] },
    ...(text
      ? [{ ...rest, id: ids.text, graph: text, component, repeats: tellings, links: [...text.outputs.keys()] }]
      : []),
    ...[...times].map(([atOnce, { id, graph }]) => ({ ...rest, id, graph, component, repeats: calls(atOnce) })),
  ]);
  const cyclic = controls.map(({ ids, shape, hint, text, step }) => ({
    ...{ id: ids.step, graph: step, component: shape.component, repeats: shape.calls, cyclic: true },
    links: [...hint.outputs.keys(), ...(text?.outputs.keys() ?? []), ...step.outputs.keys()],
  }));
  return { once, cyclic };
}

/** Host memory while they denoise: a picture as numbers (and with its planes reversed), time embeddings, prompts' rows, the latent for each answer. */
export function controlHostBytes(controls: readonly StageControl[]): number {
  const bytes = ({ values }: Graph, ids: Iterable<ValueId>) =>
    4 * [...ids].reduce((sum, id) => sum + elementCount(values[id]!.shape), 0);
  return controls.reduce((sum, { hint, text, times, step, config }) => {
    const graphs = [...times.values()].map(({ graph }) => graph);
    const time = Math.max(
      ...graphs.map((graph) => bytes(graph, [...graph.inputs.values(), ...graph.outputs.values()])),
    );
    const latent = bytes(step, [step.inputs.get("latent")!]);
    return (
      sum +
      (config.bgr ? 2 : 1) * bytes(hint, hint.inputs.values()) +
      time +
      latent +
      (text ? bytes(text, text.inputs.values()) : 0)
    );
  }, 0);
}
