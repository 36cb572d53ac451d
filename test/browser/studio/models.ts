/** @file Tests of models and adapters: searched, used with weights that the job then has, words into the prompt, an import. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { RunningServer } from "../../support/server.ts";
import { EVIL_NAME, filledServer } from "./filled-server.ts";
import { assertAccessible, assertAlsoAccessible, type StudioUnderTest } from "./harness.ts";

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
    // Names and words that are markup are words.
    await page.getByRole("button", { name: `Use ${EVIL_NAME}` }).click();
    await page.getByRole("slider", { name: EVIL_NAME }).waitFor();
    await page.getByRole("radio", { name: EVIL_NAME }).waitFor();
    await page.getByRole("button", { name: EVIL_NAME, exact: true }).click();
    await page.getByText(`In the prompt now: ${EVIL_NAME}`).waitFor();
    await page.getByRole("button", { name: `Use ${EVIL_NAME} no more` }).click();
    assert.equal(await page.evaluate(() => "hacked" in window), false);
    assert.equal(await page.locator("[onerror], [onload]").count(), 0);
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
    assert.deepEqual(
      [jobs[0]!.job.prompt, jobs[0]!.job.loras],
      [`${EVIL_NAME}, furry`, [{ file: "fur", weight: 0.8 }]],
    );
    // The next browser has the prompt, too.
    await page.waitForResponse(
      (answer) => answer.url().endsWith("/api/settings") && answer.request().method() === "POST",
    );
    const next = await studio().visit(t, { url: server.url });
    await next.getByRole("button", { name: "Earlier prompts" }).click();
    await next.getByRole("button", { name: `${EVIL_NAME}, furry`, exact: true }).waitFor();
  });

  test("models of the cache and of a folder are imported; progress is seen, and can be stopped", async (t) => {
    const page = await studio().visit(t, { url: server.url, path: "/#/models" });
    await page.getByText("this is FluxPipeline").waitFor();
    await page.getByRole("button", { name: "Import org/flat" }).click();
    await page.getByRole("button", { name: "Import deep" }).click();
    await page.getByText("Imported", { exact: true }).nth(1).waitFor();
    await assertAlsoAccessible(page);
    // One that takes long, as the server would tell it.
    await page.route("**/api/library", async (route) => {
      const answer = await route.fetch();
      const library = (await answer.json()) as { imports: { model: string }[] };
      const imports = library.imports.map((each) =>
        each.model === "deep" ? { ...each, id: "long", state: "running", doneBytes: 3, totalBytes: 4 } : each,
      );
      await route.fulfill({ response: answer, json: { ...library, imports } });
    });
    const stopped = page.waitForRequest((request) => request.url().endsWith("/api/library/imports/long/cancel"));
    await page.reload();
    const progress = page.getByRole("progressbar", { name: "Importing deep" });
    assert.equal(await progress.getAttribute("value"), "0.75");
    await page.getByText("75%").waitFor();
    await assertAccessible(page);
    await page.getByRole("button", { name: "Cancel the import of deep" }).click();
    await stopped;
    await page.unrouteAll({ behavior: "ignoreErrors" });
  });
}
