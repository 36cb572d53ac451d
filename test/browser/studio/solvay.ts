/** @file Tests of the Solvay view: blocks light up, the graphs have values, and the planner answers sliders and cards. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { Page } from "playwright-core";
import type { RunningServer } from "../../support/server.ts";
import { filledServer } from "./filled-server.ts";
import { assertAccessible, assertAlsoAccessible, type StudioUnderTest } from "./harness.ts";

export function solvayTests(studio: () => StudioUnderTest): void {
  let server: RunningServer;
  before(async () => {
    server = await filledServer();
  });
  const visit = async (...[t]: Parameters<StudioUnderTest["visit"]>): Promise<Page> =>
    await studio().visit(t, { url: server.url, path: "/#/solvay" });

  test("each block is shown where the plan puts it, and lit as the engine has it", async (t) => {
    const page = await visit(t);
    const map = page.getByRole("img", { name: /^4 blocks, stays: 768 MiB, streams from disk: 256 MiB/ }).first();
    await map.waitFor();
    const block = (name: string) => page.locator(`.live [title^="${name}: "]`);
    await block("b").and(page.locator(".there")).waitFor();
    await block("c").and(page.locator(".there.now")).waitFor();
    await page.locator('.live .owner:has-text("vae") .loading').waitFor();
    await page.getByRole("img", { name: /512 MiB on the device$/ }).waitFor();
    const graph = page.locator(".graph", { hasText: "VRAM" });
    await graph.locator("canvas").waitFor();
    assert.match((await graph.textContent())!, /512 MiB/);
    // A rate is of two moments.
    await page.locator(".graph", { hasText: "Weights to the device" }).filter({ hasText: "4 GB/s" }).waitFor();
    await page.getByText("3 of 4 blocks stay").first().waitFor();
    await assertAlsoAccessible(page);
  });

  test("what if: sliders and cards are answered by the planner, by keys too, and a refusal says why", async (t) => {
    const page = await visit(t);
    const answer = page.locator(".what-if-answer > p");
    await answer.getByText("4 sec").waitFor();
    const vram = page.getByRole("slider", { name: "VRAM" });
    await vram.focus();
    await page.keyboard.press("End");
    await answer.getByText("2 sec").waitFor();
    assert.equal(await vram.getAttribute("aria-valuetext"), "32 GiB");
    await page.keyboard.press("Home");
    await page.getByText("a block needs 256 MiB").waitFor();
    await page.getByRole("button", { name: "As it is" }).first().click();
    await answer.getByText("4 sec").waitFor();
    await page.getByRole("radio", { name: "RTX 2060 6 GB" }).check();
    await page.getByRole("row", { name: /GTX 1060 6 GB/ }).waitFor();
    await assertAccessible(page);
  });
}
