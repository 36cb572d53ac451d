/** @file Tests of drawing: a visitor types words and gets a picture. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, type StudioUnderTest } from "./harness.ts";

export function drawTests(studio: () => StudioUnderTest): void {
  test("one types what one wants to see, and a picture comes", async (t) => {
    const page = await studio().visit(t);
    await page.getByLabel("What should the picture show?").fill("a lake at dawn");
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    const picture = page.getByRole("region", { name: "Picture" }).getByAltText("Picture: a lake at dawn").first();
    await picture.waitFor();
    assert.equal(await picture.evaluate((image: HTMLImageElement) => image.naturalWidth), 64);
    await assertAccessible(page);
  });

  test("Advanced has every field of the schema, in groups, and holds what Simple holds", async (t) => {
    const page = await studio().visit(t);
    await page.getByLabel("What should the picture show?").fill("a tower");
    await page.getByRole("radio", { name: "Advanced" }).check();
    for (const summary of await page.locator(".advanced summary").all()) {
      if (!(await summary.evaluate((element) => element.parentElement!.hasAttribute("open")))) await summary.click();
    }
    const { fields } = (await (await fetch(`${studio().url}/api/schema`)).json()) as {
      readonly fields: readonly { readonly name: string; readonly group?: string }[];
    };
    const shown = await page
      .locator(".draw-form [data-field]")
      .evaluateAll((all) => all.map((element) => element.getAttribute("data-field")));
    const wanted = fields.filter(({ group }) => group !== undefined).map(({ name }) => name);
    // The prompt, the picture to begin with and what belongs to it have places of their own.
    const placed = ["prompt", "initImage", "maskImage", "strength"];
    assert.deepEqual(shown.sort(), wanted.filter((name) => !placed.includes(name)).sort());
    await page.getByLabel("Steps", { exact: true }).last().fill("3");
    // Half a number is none.
    await page.getByLabel("Guidance", { exact: true }).last().fill("7.");
    await assertAccessible(page);
    await page.getByRole("radio", { name: "Simple" }).check();
    const asked = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/api/jobs"));
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    assert.deepEqual((await asked).postDataJSON(), {
      ...{ job: { prompt: "a tower", steps: 3, guidance: 7 }, count: 1, priority: 0 },
    });
  });
}
