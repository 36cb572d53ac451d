/** @file What other programs call samplers and schedules where that is no name of A1111's, ComfyUI's or diffusers': rewritten to one of those. */

/** Ends of a sampler's name that say something of its schedule, or of where its noise is drawn. */
const ENDINGS: readonly (readonly [RegExp, string])[] = [
  // ComfyUI and Fooocus: the noise of SDE samplers comes from the graphics card.
  [/_gpu$/i, ""],
  // InvokeAI.
  [/_k$/i, " karras"],
  // Draw Things.
  [/ AYS$/i, " Align Your Steps"],
  [/^Euler A\b/, "Euler a"],
];
/** What NovelAI calls the schedule of its model. */
const MODELS_OWN = "native";

/** A name as `courseNamed` may know it. */
export function samplerHeard(name: string): string {
  return ENDINGS.reduce((text, [ending, ours]) => text.replace(ending, ours), name.trim());
}

/** Undefined: the model's own. */
export function scheduleHeard(name: string): string | undefined {
  return name.toLowerCase() === MODELS_OWN ? undefined : name;
}
