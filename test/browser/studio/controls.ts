/** @file Tests of networks that steer: their picture is prepared in the page by the engine's own code, thresholds move it, and the job says so. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, test } from "node:test";
import type { Page } from "playwright-core";
import type { ControlUse } from "../../../src/job/control-use.ts";
import { readPicture } from "../../../src/node/pictures.ts";
import { controlPictures } from "../../../src/pipeline/job-controls.ts";
import type { RunningServer } from "../../support/server.ts";
import { EVIL_NAME, filledServer } from "./filled-server.ts";
import { assertAccessible, assertAlsoAccessible, type StudioUnderTest } from "./harness.ts";

const PICTURE = new URL("../../../fixtures/controls/grey.png", import.meta.url);
const SIZE = { width: 64, height: 64 };

export function controlTests(studio: () => StudioUnderTest): void {
  let server: RunningServer;
  before(async () => {
    server = await filledServer();
  });

  test("a ControlNet's picture is shown as the network will get it, to the byte, while thresholds move by keys", async (t) => {
    const page = await studio().visit(t, { url: server.url });
    await page.getByLabel("What should the picture show?").fill("a tower");
    const buffer = await readFile(PICTURE);
    const place = page.getByLabel("Drop a picture to follow its shapes");
    await place.setInputFiles({ name: "grey.png", mimeType: "image/png", buffer });
    await page.getByLabel("Network", { exact: true }).selectOption("edges");
    const source = await readPicture(new Uint8Array(buffer), { name: "grey.png" });
    const assertShows = async (use: Omit<ControlUse, "file">) => {
      const { rgb } = controlPictures(source, { file: "", ...use }, SIZE, undefined).first!;
      await page.waitForFunction(isShown, Buffer.from(rgb).toString("base64"));
    };
    await assertShows({});
    await page.getByLabel("What it looks at").selectOption("Its outlines");
    await assertShows({ preprocess: "canny" });
    // Whatever a network is called, it is a word of the list.
    await page.getByLabel("Network", { exact: true }).selectOption(EVIL_NAME);
    await page.getByLabel("Network", { exact: true }).selectOption("edges");
    assert.equal(await page.evaluate(() => "hacked" in window), false);
    const low = page.getByRole("slider", { name: "Faint lines: from" });
    await low.focus();
    for (let times = 0; times < 3; times++) await page.keyboard.press("PageDown");
    const found = Number(await low.inputValue());
    assert.equal(found < 40, true, String(found));
    await assertShows({ preprocess: "canny", low: found });
    await assertAccessible(page);
    assert.deepEqual(await askedControls(page), [{ file: "edges", preprocess: "canny", low: found }]);
    // Another preparation begins with its own thresholds.
    await page.getByLabel("What it looks at").selectOption("Black and white");
    await page.getByLabel("White: from", { exact: true }).last().fill("90");
    await assertShows({ preprocess: "threshold", low: 90 });
    for (const [words, preprocess] of [
      ["Light and dark swapped", "invert"],
      ["Without colour", "grey"],
      ["Without details", "tile"],
    ] as const) {
      await page.getByLabel("What it looks at").selectOption(words);
      await assertShows({ preprocess });
    }
    // A picture of another shape: its middle.
    await page.getByLabel("Where its shape differs").selectOption("Its middle");
    await assertShows({ preprocess: "tile", fit: "crop" });
    // The same one in Advanced.
    await page.getByRole("radio", { name: "Advanced" }).check();
    await page.getByLabel("To this share of the steps").last().fill("0.5");
    assert.deepEqual(await askedControls(page), [{ file: "edges", preprocess: "tile", fit: "crop", end: 0.5 }]);
    await assertAlsoAccessible(page);
  });
}

/** Whether the preview has these bytes, three a pixel. */
function isShown(base64: string): boolean {
  const canvas = document.querySelector<HTMLCanvasElement>(".control-preview canvas[data-made]");
  if (!canvas) return false;
  const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
  const wanted = atob(base64);
  const same = (at: number) => wanted.charCodeAt(at) === data[Math.floor(at / 3) * 4 + (at % 3)];
  return wanted.length * 4 === data.length * 3 && Array.from({ length: wanted.length }, (_, at) => at).every(same);
}

/** Of the job that Draw asks for, without the picture's name, which is a hash of what was uploaded. */
async function askedControls(page: Page): Promise<unknown> {
  const asked = page.waitForResponse((answer) => answer.url().endsWith("/api/jobs") && answer.status() === 201);
  await page.getByRole("button", { name: "Draw", exact: true }).click();
  const { jobs } = (await (await asked).json()) as { jobs: { job: { controls: (ControlUse & object)[] } }[] };
  return jobs[0]!.job.controls.map(({ image, ...others }) => {
    assert.match(image!, /^sha256:[0-9a-f]{64}$/);
    return others;
  });
}
