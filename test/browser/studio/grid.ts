/** @file Tests of grids: cells of two fields come alive, and are there after a reload. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, type StudioUnderTest } from "./harness.ts";

export function gridTests(studio: () => StudioUnderTest): void {
  test("a grid over steps and words is drawn, kept over a reload, and leads to each picture", async (t) => {
    const page = await studio().visit(t, { path: "/#/grid" });
    await page.getByLabel("Prompt", { exact: true }).fill("a cat by the sea");
    await page.getByLabel("Across: values").fill("2-4 [3]");
    await page.getByLabel("Down: what changes").selectOption("Words of the prompt");
    await page.getByLabel("Down: values").fill("cat, dog");
    await page.getByRole("button", { name: "Draw the grid" }).click();
    await page.getByText("6 of 6 pictures").waitFor();
    await page.reload();
    await page.getByText("6 of 6 pictures").waitFor();
    assert.deepEqual(await page.locator(".grid th").allTextContents(), ["2", "3", "4", "cat", "dog"]);
    await page.getByAltText("Picture: a dog by the sea").nth(2).waitFor();
    await assertAccessible(page);
    await page.getByRole("button", { name: "Picture: a dog by the sea" }).first().click();
    await page.getByRole("region", { name: "Picture" }).getByAltText("Picture: a dog by the sea").first().waitFor();
    // What is no grid is said in the server's words.
    await page.goto(`${studio().url}/#/grid`);
    await page.getByLabel("Across: values").fill("many");
    await page.keyboard.press("Control+Enter");
    await page
      .getByRole("alert")
      .getByText(/whole number/)
      .waitFor();
  });
}
