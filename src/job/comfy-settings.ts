/**
 * @file From a graph of ComfyUI to a job's settings: from the picture that is saved back to the sampler, and from there to seed, steps,
 * prompts, model and size. Nodes on the way that change the picture and mean nothing here are told by name.
 */
import { ComfyGraph, type ComfyNode } from "./comfy-graph.ts";
import { samplerHeard } from "./foreign-samplers.ts";
import type { LoraUse } from "./lora-use.ts";
import { type PictureSettings, SettingsFound } from "./picture-settings.ts";

const SAVES = /^(?:SaveImage|PreviewImage)/;
const OTHER_SAVES = /save.*image|image.*save|preview.*image/i;
const SAMPLERS = new Set([
  "KSampler",
  "KSamplerAdvanced",
  "SamplerCustom",
  "SamplerCustomAdvanced",
  "KSampler (Efficient)",
]);
const EMPTY_LATENT = /^Empty.*Latent|^SDXLEmptyLatent/i;
const MODEL_INPUTS = ["ckpt_name", "unet_name", "base_ckpt_name"];
/** Nodes between that pass a picture, a latent or a condition on as it is. */
const PLAIN =
  /^(?:VAEDecode|VAEDecodeTiled|Reroute.*|PreviewImage|SaveImage.*|ConditioningZeroOut|VAELoader|CLIPSetLastLayer)$/;
/** SDXL's usual layer of the text encoders, as ComfyUI counts. */
const USUAL_CLIP_LAYER = -2;

/** The settings in a JSON text of ComfyUI; undefined of other texts. */
export function settingsOfComfy(text: string): PictureSettings | undefined {
  const graph = ComfyGraph.parse(text);
  if (!graph) return undefined;
  const found = new SettingsFound();
  const sampler = firstSampler(graph, found);
  if (sampler) {
    takeSampling(graph, sampler, found);
    takeModel(graph, sampler, found);
    takeLatent(graph, sampler, found);
  } else found.note("the graph has no sampler that is known here");
  return found.settings("comfyui", "ComfyUI");
}

/** The sampler that begins from noise: a second one makes the picture larger, or finer. */
function firstSampler(graph: ComfyGraph, found: SettingsFound): ComfyNode | undefined {
  const isSampler = ({ kind }: ComfyNode) => SAMPLERS.has(kind);
  const saves = [SAVES, OTHER_SAVES].flatMap((pattern) => graph.nodes.filter(({ kind }) => pattern.test(kind)));
  if (new Set(saves).size > 1)
    found.note(`the graph saves several pictures: read from ${saves[0]!.kind} ${saves[0]!.id}`);
  const start = saves.map((node) => graph.upstream({ node, slot: 0 }, isSampler)).find((path) => path !== undefined);
  let sampler = start?.found ?? graph.nodes.find(isSampler);
  if (start) tellWay(start.way, found);
  const seen = new Set<ComfyNode>();
  while (sampler && !seen.has(sampler)) {
    seen.add(sampler);
    const before = graph.upstream(graph.link(sampler, "latent_image"), isSampler, (input) =>
      /samples|latent|image|pixels/.test(input),
    );
    if (!before) return sampler;
    found.note(`a second pass (${sampler.kind} ${sampler.id}) is not understood here: left out`);
    tellWay(before.way, found);
    sampler = before.found;
  }
  return sampler;
}

function tellWay(way: readonly ComfyNode[], found: SettingsFound): void {
  for (const { kind, id } of way.toReversed()) if (!PLAIN.test(kind)) found.pass(`node ${kind} ${id}`, "its work");
}

function takeSampling(graph: ComfyGraph, node: ComfyNode, found: SettingsFound): void {
  const linked = (input: string) => graph.link(node, input)?.node;
  const [noise, select, sigmas, guider] = [linked("noise"), linked("sampler"), linked("sigmas"), linked("guider")];
  const first = (pairs: readonly (readonly [ComfyNode | undefined, string])[]) =>
    pairs.map(([each, input]) => each && graph.value(each, input)).find((value) => value !== undefined);
  found.take(
    "seed",
    first([
      [node, "seed"],
      [node, "noise_seed"],
      [noise, "noise_seed"],
    ]),
    "seed",
  );
  found.take(
    "steps",
    first([
      [node, "steps"],
      [sigmas, "steps"],
    ]),
    "steps",
  );
  // Without a scale a guider asks the model once.
  found.take(
    "guidance",
    first([
      [node, "cfg"],
      [guider, "cfg"],
    ]) ??
      (guider && 1),
    "cfg",
  );
  takeNamed(
    found,
    "sampler",
    first([
      [node, "sampler_name"],
      [select, "sampler_name"],
    ]),
    "sampler_name",
  );
  takeNamed(
    found,
    "schedule",
    first([
      [node, "scheduler"],
      [sigmas, "scheduler"],
    ]),
    "scheduler",
  );
  const denoise = first([
    [node, "denoise"],
    [sigmas, "denoise"],
  ]);
  if (typeof denoise === "number" && denoise !== 1) found.pass("denoise", denoise);
  if (select && select.kind !== "KSamplerSelect") found.pass(`node ${select.kind} ${select.id}`, "its sampler");
  if (sigmas && sigmas.kind !== "BasicScheduler") found.pass(`node ${sigmas.kind} ${sigmas.id}`, "its noise levels");
  const begin = graph.value(node, "start_at_step");
  if (typeof begin === "number" && begin > 0) found.pass("start_at_step", begin);
  const prompts = guider ?? node;
  takePrompt(graph, prompts, guider && graph.link(guider, "conditioning") ? "conditioning" : "positive", found);
  takePrompt(graph, prompts, "negative", found);
}

/** Where a job has no such field, the model's own is used: told as a fact. */
function takeNamed(found: SettingsFound, name: "sampler" | "schedule", value: unknown, called: string): void {
  const known = typeof value === "string" && name === "sampler" ? samplerHeard(value) : value;
  if (found.knows(name)) found.take(name, known, called);
  else found.fact(name === "schedule" ? "scheduleType" : name, value);
}

function takePrompt(graph: ComfyGraph, node: ComfyNode, input: string, found: SettingsFound): void {
  const negative = input === "negative";
  const called = negative ? "the negative prompt" : "the prompt";
  // A node with both has the negative one at its second output.
  const path = graph.upstream(
    graph.link(node, input),
    ({ inputs }) => ["text", "text_g"].some((name) => Object.hasOwn(inputs, name)),
    (each, at) =>
      each === "positive" ? at.slot === 0 : each === "negative" ? at.slot === 1 : /^cond|text|samples/i.test(each),
  );
  if (!path) {
    if (graph.link(node, input)) found.note(`${called} is not understood`);
    return;
  }
  tellWay(path.way, found);
  if (negative && path.way.some(({ kind }) => kind === "ConditioningZeroOut")) return;
  const { found: encoder } = path;
  const [text, second] = ["text", "text_l"].map((name) => graph.value(encoder, name));
  const main = text ?? graph.value(encoder, "text_g");
  found.take(negative ? "negativePrompt" : "prompt", main, called);
  // SDXL's second encoder is the one called G.
  if (second !== undefined && second !== main) found.pass(`text_l of ${called}`, second);
  const layer = graph.link(encoder, "clip");
  const skipped = graph.upstream(
    layer,
    ({ kind }) => kind === "CLIPSetLastLayer",
    (each) => each === "clip",
  )?.found;
  const last = skipped && graph.value(skipped, "stop_at_clip_layer");
  if (!negative && typeof last === "number") found.take("clipSkip", USUAL_CLIP_LAYER - last, "stop_at_clip_layer");
}

function takeModel(graph: ComfyGraph, sampler: ComfyNode, found: SettingsFound): void {
  const start = ["model", "guider", "sigmas"]
    .map((input) => graph.link(sampler, input))
    .find((link) => link !== undefined);
  const path = graph.upstream(
    start,
    ({ inputs }) => MODEL_INPUTS.some((name) => typeof inputs[name] === "string"),
    (input) => /model/.test(input),
  );
  const loras: LoraUse[] = [];
  for (const node of path?.way ?? []) {
    const { kind, inputs, id } = node;
    if (typeof inputs.lora_name === "string") {
      const [unet, te] = [graph.value(node, "strength_model"), graph.value(node, "strength_clip")];
      if (typeof unet === "number") loras.push({ file: inputs.lora_name, unet, te: typeof te === "number" ? te : 0 });
      else found.pass(`LoRA ${inputs.lora_name}`, "its strength");
    } else if (!PLAIN.test(kind) && !/Guider$|Scheduler$/.test(kind))
      found.pass(`node ${kind} ${id}`, "its change of the model");
  }
  if (loras.length > 0) found.take("loras", loras);
  const name = MODEL_INPUTS.map((input) => path?.found.inputs[input]).find((value) => value !== undefined);
  found.fact("model", name);
}

function takeLatent(graph: ComfyGraph, sampler: ComfyNode, found: SettingsFound): void {
  const path = graph.upstream(graph.link(sampler, "latent_image"), ({ kind }) => EMPTY_LATENT.test(kind));
  if (!path) {
    const from = graph.upstream(graph.link(sampler, "latent_image"), ({ kind }) => /^VAEEncode/.test(kind));
    found.note(from ? "it begins from another picture, which is not in the file" : "its size is not understood");
    return;
  }
  tellWay(path.way, found);
  for (const side of ["width", "height"] as const) found.take(side, graph.value(path.found, side), side);
  const batch = graph.value(path.found, "batch_size");
  if (typeof batch === "number" && batch > 1) {
    found.note(`one of a batch of ${batch}, whose pictures share one draw of noise: only the first can be made again`);
  }
}
