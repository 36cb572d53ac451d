/**
 * @file ControlNets against diffusers in fp32 on the same weights (scripts/golden/controls_golden.py). Every pixel within 2/255, PSNR at least 50 dB.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { ControlUse } from "../../src/job/control-use.ts";
import type { GenerateJob } from "../../src/node.ts";
import { findTestAdapter } from "../backend/software-vulkan.ts";
import { requireSamePicture } from "../support/same-picture.ts";
import { sharedEngine } from "../support/shared-engine.ts";
import { searched } from "../support/thorough.ts";

interface GoldenControl extends Omit<ControlUse, "file" | "image"> {
  readonly net: string;
  readonly image: string;
}

interface GoldenJob
  extends Pick<GenerateJob, "prompt" | "seed" | "steps" | "guidance" | "width" | "height" | "strength"> {
  readonly negative?: string;
  readonly init?: string;
  readonly mask?: string;
  /** Strength of a LoRA. */
  readonly fur?: number;
  readonly hires?: { readonly scale: number; readonly strength: number; readonly steps: number };
  readonly controls: readonly GoldenControl[];
  readonly name: string;
  readonly file: string;
}

const fixtures = new URL("../../fixtures/", import.meta.url);
const jobs = JSON.parse(readFileSync(new URL("controls/manifest.json", fixtures), "utf8")) as readonly GoldenJob[];
const pathOf = (name: string) => fileURLToPath(new URL(name, fixtures));

function jobOf({ negative, init, mask, hires, fur, controls, name: _, file: __, ...job }: GoldenJob): GenerateJob {
  return {
    ...job,
    ...(negative !== undefined && { negativePrompt: negative }),
    ...(init !== undefined && { initImage: pathOf(`from-pictures/${init}`) }),
    ...(mask !== undefined && { maskImage: pathOf(`from-pictures/${mask}`) }),
    ...(fur !== undefined && { loras: [{ file: pathOf("controls/fur.safetensors"), weight: fur }] }),
    ...(hires && { hiresScale: hires.scale, hiresStrength: hires.strength, hiresSteps: hires.steps }),
    controls: controls.map(({ net, image, ...rest }) => ({
      ...rest,
      file: pathOf(`controls/${["edges", "union", "features"].includes(net) ? net : `${net}.safetensors`}`),
      image: pathOf(`from-pictures/${image}`),
    })),
  };
}

const engineOf = sharedEngine();

test("a union that is not told the kind of its picture, or one that it doesn't know, is refused", async () => {
  const engine = await engineOf({ model: pathOf("golden/deep"), backend: "cpu" });
  for (const [mode, words] of [
    [undefined, /E_CONTROL .*union: it looks at several kinds of pictures, and none was named/],
    ["12", /E_JOB controls\[0\]\.mode: /],
  ] as const) {
    const control = { file: pathOf("controls/union"), image: pathOf("from-pictures/init.png"), ...(mode && { mode }) };
    const drawn = async () => {
      for await (const _event of engine.generate({
        prompt: "a mill",
        steps: 1,
        width: 64,
        height: 48,
        controls: [control],
      }));
    };
    await assert.rejects(drawn(), words);
  }
});

/** What others show as well. */
const SHOWN_BY_OTHERS = ["one", "unguided", "img2img", "union", "control-lora", "hires"];
const drawn = searched(
  jobs.filter(({ name }) => !SHOWN_BY_OTHERS.includes(name)),
  jobs,
);

const card = await findTestAdapter();
/** A software card is slow. */
const ON_CARD = ["features", "union", "control-lora-and-lora"];
const onCard = searched(
  [],
  jobs.filter(({ name }) => ON_CARD.includes(name)),
);

for (const [backend, these] of [
  ["cpu", drawn],
  ["webgpu", onCard],
] as const) {
  for (const job of these) {
    const skip = backend === "webgpu" ? card.skip : undefined;
    test(`${job.file} equals diffusers' picture on ${backend}`, { skip }, async () => {
      const named = backend === "webgpu" && card.skip === undefined ? { adapter: card.name } : {};
      const engine = await engineOf({ model: pathOf("golden/deep"), backend, ...named });
      for await (const event of engine.generate(jobOf(job))) {
        if (event.type !== "image") continue;
        const expected = new Uint8Array(await readFile(pathOf(`controls/${job.file}`)));
        return await requireSamePicture(new Uint8Array(event.bytes), expected);
      }
      throw new Error("the job ended without a picture");
    });
  }
}
