/** @file Tests of pictures beside the prompt: dropped, with a mask for one of them, weighed, with an encoder of one's choice; the job says so. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, test } from "node:test";
import type { IpAdapterUse } from "../../../src/job/ip-adapter-use.ts";
import type { RunningServer } from "../../support/server.ts";
import { filledServer } from "./filled-server.ts";
import { assertAccessible, assertAlsoAccessible, type StudioUnderTest } from "./harness.ts";

const FOLDER = new URL("../../../fixtures/", import.meta.url);

export function likenessTests(studio: () => StudioUnderTest): void {
  let server: RunningServer;
  before(async () => {
    server = await filledServer();
  });

  test("pictures to take after, one of them only where its mask is white, by weight and encoder", async (t) => {
    const page = await studio().visit(t, { url: server.url });
    await page.getByLabel("What should the picture show?").fill("a tower");
    const drop = async (words: string, file: string) => {
      const buffer = await readFile(new URL(file, FOLDER));
      const place = page.getByLabel(words);
      await place.setInputFiles({ name: "x.png", mimeType: "image/png", buffer });
    };
    const shown = (label: string, count: number) =>
      page.waitForFunction(([alt, wanted]) => document.querySelectorAll(`img[alt="${alt}"]`).length === wanted, [
        label,
        count,
      ] as const);
    await drop("Drop a picture to take after its content or style", "from-pictures/init.png");
    await shown("Picture to take after", 1);
    await drop("Only here: Drop or choose a picture", "image-prompts/left.png");
    await shown("Only here", 1);
    await drop("One more picture: Drop or choose a picture", "from-pictures/soft.png");
    await shown("Picture to take after", 2);
    // Its mask is white: all have one, or none.
    await shown("Only here", 2);
    const weight = page.getByRole("slider", { name: "How much it counts" });
    await weight.focus();
    await page.keyboard.press("PageDown");
    const found = Number(await weight.inputValue());
    assert.ok(found < 1, String(found));
    await assertAlsoAccessible(page);
    await page.getByRole("radio", { name: "Advanced" }).check();
    await page.getByLabel("Image encoder").selectOption("vit-h");
    await page.getByLabel("It counts to this share of the steps").last().fill("0.5");
    await assertAccessible(page);
    const asked = page.waitForResponse((answer) => answer.url().endsWith("/api/jobs") && answer.status() === 201);
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    const { jobs } = (await (await asked).json()) as { jobs: { job: { ipAdapters: IpAdapterUse[] } }[] };
    const [{ images = [], masks = [], ...told }] = jobs[0]!.job.ipAdapters as [IpAdapterUse];
    assert.deepEqual(told, { file: "plus", weight: found, encoder: "vit-h", end: 0.5 });
    const names = [...images, ...masks];
    for (const name of names) assert.match(name, /^sha256:[0-9a-f]{64}$/);
    assert.deepEqual([images.length, masks.length, new Set(names).size], [2, 2, 4]);
    // Without its mask, none is needed.
    await page.getByRole("button", { name: "Take Only here away" }).first().click();
    await shown("Only here", 0);
  });
}
