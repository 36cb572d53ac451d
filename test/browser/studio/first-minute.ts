/** @file Tests over the demo model: the first minute, a cancel in mid-step, and a server that goes away and comes back. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { pretendingServer, serverFolder } from "../../support/server.ts";
import { openThreadlessEngine } from "../../support/threadless-engine.ts";
import { assertAccessible, type StudioUnderTest } from "./harness.ts";
import { drop } from "./recall.ts";

const UPSCALERS = fileURLToPath(new URL("../../../fixtures/upscalers", import.meta.url));

export function firstMinuteTests(studio: () => StudioUnderTest): void {
  test("the demo model draws what was asked for, stops within a step, and goes on after its server was away", async (t) => {
    const folder = await serverFolder();
    t.after(() => rm(folder, { recursive: true, force: true }));
    const start = (port = 0) =>
      pretendingServer({
        ...{ folder, port, studio: true, models: new Map([["demo", { upscalerDir: UPSCALERS }]]) },
        engine: () => openThreadlessEngine({ backend: "cpu", upscalerDir: UPSCALERS }),
      });
    let server = await start();
    t.after(() => server[Symbol.asyncDispose]());
    const { url } = server;
    const page = await studio().visit(t, { url });
    await page.getByLabel("What should the picture show?").fill("a lighthouse at dusk");
    // No word of how it works in sight.
    const words = (await page.locator("main").textContent()) ?? "";
    assert.doesNotMatch(words, /sampl|guidance|steps|seed|cfg|latent/i);
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    const picture = page.getByRole("region", { name: "Picture" }).getByAltText("Picture: a lighthouse at dusk").first();
    await picture.waitFor();
    const colours = await picture.evaluate((image: HTMLImageElement) => {
      const context = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d")!;
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.naturalWidth, image.naturalHeight);
      return new Set(Array.from({ length: data.length / 4 }, (_, at) => data[4 * at]!)).size;
    });
    assert.equal(colours > 50, true, `${colours} shades of red`);

    // The picture itself tells how to make it again, to the byte.
    const address = await picture.getAttribute("src");
    await drop(page, "mine.png", new Uint8Array(await (await fetch(url + address)).arrayBuffer()));
    await page.getByRole("dialog").getByText("Will be remade byte for byte").waitFor();
    await page.keyboard.press("Escape");

    // Enlarged by a network, it is a picture like the others, and tells the same.
    await page.getByRole("button", { name: "Enlarge", exact: true }).click();
    const dialog = page.getByRole("dialog", { name: "Enlarge the picture" });
    await dialog.getByLabel("By", { exact: true }).selectOption("compact-x2");
    await dialog.getByText(/256 × 256 · about/).waitFor();
    await assertAccessible(page);
    await dialog.getByRole("button", { name: "Enlarge", exact: true }).click();
    await page.waitForFunction((before) => {
      const shown = document.querySelector<HTMLImageElement>(".large img");
      return shown && shown.getAttribute("src") !== before && shown.naturalWidth === 256;
    }, address);
    await page.getByRole("button", { name: "Use all" }).click();
    await page.getByText("The form has it now").waitFor();
    await page.locator(".chosen").waitFor({ state: "detached" });

    const asked = await page.evaluate(async () => {
      const ask = async (prompt: string, steps: number) => {
        const body = JSON.stringify({ job: { prompt, steps, width: 64, height: 64 } });
        const headers = { "content-type": "application/json" };
        await fetch("/api/jobs", { method: "POST", headers, body });
      };
      await ask("a long way", 150);
      await ask("what comes next", 2);
      return true;
    });
    assert.equal(asked, true);
    await page.getByRole("link", { name: "Queue" }).click();
    await page.getByText(/Step [1-9]\d* of 150/).waitFor();
    await page.getByAltText("Preview of a long way").waitFor();
    await server[Symbol.asyncDispose]();
    await page.getByText("The server does not answer").first().waitFor();
    server = await start(Number(new URL(url).port));
    // The page finds it again by itself: what was drawn is drawn on, what waited waits.
    await page.getByText("The server does not answer").first().waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Cancel a long way" }).click();
    await page.getByRole("button", { name: "Try again: a long way" }).waitFor();
    await page.locator(".job.done").filter({ hasText: "what comes next" }).waitFor();
  });
}
