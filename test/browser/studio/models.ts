/** @file Tests of models and adapters: searched, used with weights that the job then has, words into the prompt, an import. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { RunningServer } from "../../support/server.ts";
import { filledServer } from "./filled-server.ts";
import { assertAccessible, type StudioUnderTest } from "./harness.ts";

export function modelsTests(studio: () => StudioUnderTest): void {
  let server: RunningServer;
  before(async () => {
    server = await filledServer();
  });

  test("LoRAs are found, used with a weight by keys, and drawn with; those of another family say why not", async (t) => {
    const page = await studio().visit(t, { url: server.url, path: "/#/models" });
    const card = (name: string) => page.getByRole("listitem").filter({ has: page.getByRole("heading", { name }) });
    await card("old").getByText("this is an adapter for Stable Diffusion 1.5").waitFor();
    assert.ok(await page.getByRole("button", { name: "Use old" }).isDisabled());
    await assertAccessible(page);
    await page.getByRole("searchbox").fill("soft fluffy");
    await page.getByText("1 file", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Use fur" }).click();
    await page.getByRole("button", { name: "furry", exact: true }).click();
    const weight = page.getByRole("slider", { name: "fur" });
    await weight.focus();
    for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowLeft");
    assert.equal(await weight.getAttribute("aria-valuetext"), "0.80");
    await page.getByRole("link", { name: "Draw" }).click();
    assert.equal(await page.getByRole("slider", { name: "fur" }).inputValue(), "0.8");
    const asked = page.waitForResponse((answer) => answer.url().endsWith("/api/jobs") && answer.status() === 201);
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    const { jobs } = (await (await asked).json()) as { jobs: { job: { prompt: string; loras: unknown } }[] };
    assert.deepEqual([jobs[0]!.job.prompt, jobs[0]!.job.loras], ["furry", [{ file: "fur", weight: 0.8 }]]);
    // The next browser has the prompt, too.
    await page.waitForResponse(
      (answer) => answer.url().endsWith("/api/settings") && answer.request().method() === "POST",
    );
    const next = await studio().visit(t, { url: server.url });
    await next.getByRole("button", { name: "Earlier prompts" }).click();
    await next.getByRole("button", { name: "furry", exact: true }).waitFor();
  });

  test("a model of the cache is imported, and its progress is seen", async (t) => {
    const page = await studio().visit(t, { url: server.url, path: "/#/models" });
    await page.getByText("this is FluxPipeline").waitFor();
    await page.getByRole("button", { name: "Import org/flat" }).click();
    await page.getByText("Imported", { exact: true }).waitFor();
    await assertAccessible(page);
  });
}
