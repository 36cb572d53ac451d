/** @file Tests of pictures that begin with a picture: a mask painted by the pointer, its edge, undo, zoom; handles by which the picture grows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodePng, encodePng } from "../../../src/image/png.ts";
import { assertAccessible, type StudioUnderTest } from "./harness.ts";

interface AskedJob {
  readonly job: Readonly<Record<string, string | number>>;
}

export function startPictureTests(studio: () => StudioUnderTest): void {
  test("a mask is painted with the pointer, undone, zoomed under; the picture grows by its handles", async (t) => {
    const page = await studio().visit(t, { viewport: { width: 1000, height: 800 } });
    const png = await encodePng({ width: 64, height: 64, rgb: new Uint8Array(3 * 64 * 64).fill(90) });
    const buffer = Buffer.from(png);
    await page.getByLabel("Drop or choose a picture").setInputFiles({ name: "a.png", mimeType: "image/png", buffer });
    await page.getByRole("button", { name: "Mask, part, edges" }).click();
    const sheet = (await page.locator(".sheet canvas").boundingBox())!;
    const at = (x: number, y: number) => [sheet.x + (sheet.width * x) / 64, sheet.y + (sheet.height * y) / 64] as const;
    const stroke = async (from: readonly [number, number], to: readonly [number, number]) => {
      await page.mouse.move(...from);
      await page.mouse.down();
      await page.mouse.move(...to, { steps: 4 });
      await page.mouse.up();
    };
    await stroke(at(20, 32), at(44, 32));
    await stroke(at(5, 5), at(10, 5));
    await page.keyboard.press("Control+z");
    const painted = () =>
      page.locator(".sheet canvas").evaluate((canvas: HTMLCanvasElement) => {
        const { data } = canvas.getContext("2d")!.getImageData(0, 0, 64, 64);
        return [7, 5, 32, 32].flatMap((_, place, all) =>
          place % 2 ? [] : data[4 * (64 * all[place + 1]! + all[place]!) + 3]!,
        );
      });
    assert.deepEqual(await painted(), [0, 255]);
    await page.keyboard.press("Control+Shift+Z");
    assert.equal((await painted())[0]! > 0, true);
    await page.getByRole("button", { name: "Undo" }).click();
    await assertAccessible(page);
    // The wheel enlarges about the pointer: what was under it stays there.
    await page.mouse.move(...at(32, 32));
    await page.mouse.wheel(0, -300);
    await page.waitForFunction(
      (before) => document.querySelector(".sheet")!.getBoundingClientRect().width > 1.3 * before,
      sheet.width,
    );
    const larger = (await page.locator(".sheet canvas").boundingBox())!;
    assert.equal(Math.abs((at(32, 32)[0] - larger.x) / larger.width - 0.5) < 0.01, true);
    await page.keyboard.press("0");
    await page.getByRole("slider", { name: "Grow to the right" }).focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByText("It grows at its sides").waitFor();
    await page.getByLabel("What should the picture show?").fill("a door");
    const asked = page.waitForResponse(
      (answer) => answer.url().endsWith("/api/jobs") && answer.request().method() === "POST",
    );
    await page.keyboard.press("Control+Enter");
    const { jobs } = (await (await asked).json()) as { readonly jobs: readonly AskedJob[] };
    const { outpaint, width, height, maskImage = "" } = jobs[0]!.job;
    assert.deepEqual({ outpaint, width, height }, { outpaint: "0,0,16,0", width: 80, height: 64 });
    const file = await fetch(`${studio().url}/api/assets/${String(maskImage).replace("sha256:", "")}`);
    const mask = await decodePng(new Uint8Array(await file.arrayBuffer()));
    const light = (x: number, y: number) => mask.pixels[mask.channels * (64 * y + x)]!;
    assert.deepEqual([light(32, 32), light(7, 5), light(32, 60)], [255, 0, 0]);
    // Its edge is soft: from all to nothing over several pixels.
    const edge = Array.from({ length: 64 }, (_, y) => light(32, y)).filter((value) => value > 0 && value < 255);
    assert.equal(edge.length >= 2, true, edge.join());
  });
  test("a part of a drawn picture is boxed with the pointer, put right by keys, and drawn by itself with words of its own", async (t) => {
    const page = await studio().visit(t, { viewport: { width: 1000, height: 800 } });
    await page.getByLabel("What should the picture show?").fill("a wide valley");
    await page.keyboard.press("Control+Enter");
    await page.getByRole("button", { name: "Redraw a part" }).click();
    const sheet = (await page.locator(".sheet canvas").boundingBox())!;
    const at = (x: number, y: number) => [sheet.x + (sheet.width * x) / 64, sheet.y + (sheet.height * y) / 64] as const;
    const pull = async (from: readonly [number, number], to: readonly [number, number]) => {
      await page.mouse.move(...from);
      await page.mouse.down();
      await page.mouse.move(...to, { steps: 3 });
      await page.mouse.up();
    };
    await pull(at(8, 16), at(40, 32));
    // Moved as a whole, then one side by keys.
    await pull(at(24, 24), at(28, 30));
    const right = page.getByRole("slider", { name: "Right side of the part" });
    assert.equal(await right.getAttribute("aria-valuenow"), "44");
    await right.press("ArrowLeft");
    await right.press("ArrowLeft");
    await assertAccessible(page);
    // Letters are no commands of the board while one types.
    await page.getByLabel("What should this part show?").fill("a beech, 0 people");
    await page.getByRole("button", { name: "Done" }).click();
    await page.locator(".chosen-part").waitFor();
    const asked = page.waitForResponse(
      (answer) => answer.url().endsWith("/api/jobs") && answer.request().method() === "POST",
    );
    await page.keyboard.press("Control+Enter");
    const { jobs } = (await (await asked).json()) as { readonly jobs: readonly AskedJob[] };
    const { prompt, detail, width, height, initImage = "" } = jobs[0]!.job;
    // Of the sizes that fit this model, the widest is nearest.
    assert.deepEqual(
      { prompt, detail, width, height },
      { prompt: "a beech, 0 people", detail: "12,22,30,16", width: 88, height: 64 },
    );
    assert.match(String(initImage), /^sha256:/);
    // Without the picture the prompt is the picture's again.
    await page.getByRole("button", { name: "Without" }).click();
    assert.equal(await page.getByLabel("What should the picture show?").inputValue(), "a wide valley");
  });
}
