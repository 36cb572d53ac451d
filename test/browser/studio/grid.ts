/** @file Tests of grids: cells of two fields come alive, and are there after a reload. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { filledServer } from "./filled-server.ts";
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
  test("a grid that is larger than the queue is asked for in parts, over a reload", async (t) => {
    // This one takes 12 jobs.
    const { url } = await filledServer();
    const page = await studio().visit(t, { url, path: "/#/grid" });
    await page.getByLabel("Prompt", { exact: true }).fill("a tree");
    await page.getByLabel("Across: values").fill("1, 2, 3, 4");
    await page.getByLabel("Down: what changes").selectOption("Words of the prompt");
    await page.getByLabel("Down: values").fill("tree, bush, fern, moss");
    const first = page.waitForResponse((answer) => answer.url().endsWith("/api/grids"));
    await page.getByRole("button", { name: "Draw the grid" }).click();
    const { jobs, next } = (await (await first).json()) as { jobs: ({ job: { seed: number } } | null)[]; next: number };
    // An eighth of the room is left for others.
    assert.deepEqual([jobs.length, jobs.filter(Boolean).length, next], [16, 11, 11]);
    await page.getByText(/of 16 pictures/).waitFor();
    await page.reload();
    await page.getByText("16 of 16 pictures").waitFor();
    const drawn = (await (await fetch(`${url}/api/jobs?limit=16`)).json()) as { jobs: { job: { seed: number } }[] };
    assert.equal(new Set(drawn.jobs.map(({ job }) => job.seed)).size, 1);
  });
}
