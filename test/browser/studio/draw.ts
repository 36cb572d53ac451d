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
}
