/** @file Tests of recall: a picture of any program is dropped, and its settings are the form's. What it says does nothing but show. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { encodePng } from "../../../src/image/png.ts";
import { assertAccessible, type StudioUnderTest } from "./harness.ts";

const EVIL = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"><svg onload=window.hacked=1> javascript:window.hacked=1`;

/** As a person drops a file onto the page. */
export async function drop(page: Page, name: string, bytes: Uint8Array): Promise<void> {
  const transfer = await page.evaluateHandle(
    ([file, base64]) => {
      const data = new DataTransfer();
      const content = Uint8Array.from(atob(base64!), (char) => char.charCodeAt(0));
      data.items.add(new File([content], file!, { type: "image/png" }));
      return data;
    },
    [name, Buffer.from(bytes).toString("base64")],
  );
  await page.dispatchEvent("main", "dragover", { dataTransfer: transfer });
  await page.dispatchEvent("main", "drop", { dataTransfer: transfer });
}

async function picture(infotext: string): Promise<Uint8Array> {
  const text = [{ keyword: "parameters", text: infotext }];
  return await encodePng({ width: 64, height: 64, rgb: new Uint8Array(3 * 64 * 64), text });
}

export function recallTests(studio: () => StudioUnderTest): void {
  test("an A1111 picture is dropped and gives its settings, all or the prompt, whatever is written in it", async (t) => {
    const page = await studio().visit(t);
    const infotext = `a fox in snow ${EVIL}
Negative prompt: blurry
Steps: 21, Sampler: Euler a, CFG scale: 6.5, Seed: 12345, Size: 128x64, Model: other, Template: "a {fox|cat} in snow"`;
    await drop(page, `${EVIL.replaceAll("/", "")}.png`, await picture(infotext));
    const dialog = page.getByRole("dialog", { name: "How this picture was made" });
    await dialog.getByText("Will come out a little different").click();
    await dialog.getByText(/model was other/).waitFor();
    await assertAccessible(page);
    await dialog.getByRole("button", { name: "Use all" }).click();
    const form = await page.evaluate(() => {
      dispatchEvent(new Event("pagehide"));
      return JSON.parse(localStorage.getItem("solvay.form")!) as Record<string, unknown>;
    });
    assert.equal(form.seed, 12345);
    assert.deepEqual([form.steps, form.guidance, form.width, form.height], [21, 6.5, 128, 64]);
    assert.equal(form.negativePrompt, "blurry");
    // Its undo.
    await page.getByRole("button", { name: "Undo" }).click();
    assert.equal(await page.getByLabel("What should the picture show?").inputValue(), "");
    // What it says is drawn, and shown everywhere.
    await drop(page, "again.png", await picture(infotext));
    await dialog.getByRole("button", { name: "Prompt only" }).click();
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page
      .getByRole("region", { name: "Picture" })
      .getByAltText(/a fox in snow/)
      .first()
      .waitFor();
    await page.goto(`${studio().url}/#/queue`);
    await page
      .getByText(/a fox in snow/)
      .first()
      .waitFor();
    assert.equal(await page.evaluate(() => "hacked" in window), false);
    assert.equal(await page.locator("main img[onerror], main script, main svg[onload]").count(), 0);
  });
}
