/** @file Tests of recall: a picture of any program is dropped, and its settings are the form's. What it says does nothing but show. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { encodePng } from "../../../src/image/png.ts";
import { openPictureWriter } from "../../../src/node/picture-writer.ts";
import { assertAccessible, assertAlsoAccessible, type StudioUnderTest } from "./harness.ts";

const EVIL = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"><svg onload=window.hacked=1> javascript:window.hacked=1`;

const TYPES: Readonly<Record<string, string>> = {
  ...{ png: "image/png", jpg: "image/jpeg", webp: "image/webp", json: "application/json" },
};

/** As a person drops a file onto the page, or pastes it. */
export async function drop(page: Page, name: string, bytes: Uint8Array, how: "drop" | "paste" = "drop"): Promise<void> {
  const transfer = await page.evaluateHandle(
    ([file, base64, type]) => {
      const data = new DataTransfer();
      const content = Uint8Array.from(atob(base64!), (char) => char.charCodeAt(0));
      data.items.add(new File([content], file!, { type: type! }));
      return data;
    },
    [name, Buffer.from(bytes).toString("base64"), TYPES[name.split(".").at(-1)!]!] as const,
  );
  if (how === "paste") {
    await page.evaluate((clipboardData) => {
      document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    }, transfer);
    return;
  }
  await page.dispatchEvent("main", "dragover", { dataTransfer: transfer });
  await page.dispatchEvent("main", "drop", { dataTransfer: transfer });
}

const SIZE = { width: 64, height: 64 };
/** As ComfyUI's sampler has it. */
const SAMPLING = { seed: 12345, steps: 21, cfg: 6.5, sampler_name: "euler", scheduler: "normal", denoise: 1 };

async function picture(infotext: string): Promise<Uint8Array> {
  const text = [{ keyword: "parameters", text: infotext }];
  return await encodePng({ width: 64, height: 64, rgb: new Uint8Array(3 * 64 * 64), text });
}

export function recallTests(studio: () => StudioUnderTest): void {
  test("an A1111 picture is dropped and gives its settings, all or the prompt, whatever is written in it", async (t) => {
    const page = await studio().visit(t);
    const infotext = `a fox in snow ${EVIL}
Negative prompt: blurry
Steps: 21, Sampler: Euler a, CFG scale: 6.5, Seed: 12345, Size: 128x64, Model: other`;
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
    await drop(page, "varied.png", await picture(infotext));
    const submitted = page.waitForRequest(
      (request) => request.method() === "POST" && /\/api\/jobs$/.test(request.url()),
    );
    await dialog.getByRole("button", { name: "Variations" }).click();
    const { job, count } = (await submitted).postDataJSON() as { job: Record<string, unknown>; count: number };
    assert.deepEqual([count, job.seed, job.subseed, job.subseedStrength], [4, 12345, undefined, 0.2]);
    assert.deepEqual([job.steps, job.guidance, job.width, job.negativePrompt], [21, 6.5, 128, "blurry"]);
    assert.equal(await page.evaluate(() => "hacked" in window), false);
    assert.equal(await page.locator("main img[onerror], main script, main svg[onload]").count(), 0);
  });
  test("JPEG, WebP, a graph of ComfyUI, pasted pictures and pasted texts are read alike, a template before what was drawn of it", async (t) => {
    const page = await studio().visit(t);
    const dialog = page.getByRole("dialog", { name: "How this picture was made" });
    const rgb = new Uint8Array(3 * 64 * 64);
    const infotext = (prompt: string) =>
      `${prompt}\nNegative prompt: blurry\nSteps: 21, Sampler: Euler a, CFG scale: 6.5, Seed: 12345, Size: 128x64, Model: other\nTemplate: a {fox|cat}`;
    const graph = {
      3: {
        class_type: "KSampler",
        inputs: { ...SAMPLING, positive: ["6", 0], negative: ["7", 0], latent_image: ["5", 0], model: ["4", 0] },
      },
      4: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "base.safetensors" } },
      5: { class_type: "EmptyLatentImage", inputs: { width: 128, height: 64, batch_size: 1 } },
      6: { class_type: "CLIPTextEncode", inputs: { text: "a comfy fox", clip: ["4", 1] } },
      7: { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["4", 1] } },
      8: { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
      9: { class_type: "SaveImage", inputs: { images: ["8", 0] } },
    };
    const comfy = JSON.stringify(graph);
    const written = async (format: "jpeg" | "webp", prompt: string) =>
      await (await openPictureWriter({ format })).write({
        ...SIZE,
        rgb,
        text: [{ keyword: "parameters", text: infotext(prompt) }],
      });
    const png = (keyword: string, text: string) => encodePng({ ...SIZE, rgb, text: [{ keyword, text }] });
    const files = [
      ["a.jpg", await written("jpeg", "a JPEG fox"), "drop"],
      ["a.webp", await written("webp", "a WebP fox"), "drop"],
      ["a.png", await png("prompt", comfy), "drop"],
      ["a.png", await png("parameters", infotext("a pasted fox")), "paste"],
      ["workflow.json", Buffer.from(JSON.stringify({ prompt: graph })), "drop"],
    ] as const;
    const asked = async () => {
      await dialog.getByRole("button", { name: "Without the seed" }).click();
      return await page.evaluate(() => {
        dispatchEvent(new Event("pagehide"));
        return JSON.parse(localStorage.getItem("solvay.form")!) as Record<string, unknown>;
      });
    };
    const JOB = { negativePrompt: "blurry", steps: 21, guidance: 6.5, width: 128, height: 64 };
    for (const [name, bytes, how] of files) {
      await drop(page, name, bytes, how);
      await dialog.getByText(/12345/).waitFor();
      const isComfy = name === "workflow.json" || bytes === files[2][1];
      const lines = await dialog.locator(".recalled-prompt").first().locator("p").allTextContents();
      if (isComfy) assert.deepEqual(lines, ["a comfy fox"]);
      else assert.match(lines.join("|"), /^Template a \{fox\|cat\}\|Drawn a (JPEG|WebP|pasted) fox$/);
      const job = await asked();
      const wanted = { ...JOB, prompt: isComfy ? "a comfy fox" : "a {fox|cat}" };
      assert.deepEqual(Object.fromEntries(Object.keys(wanted).map((field) => [field, job[field]])), wanted);
      assert.deepEqual([String(job.sampler).slice(0, 5), job.seed, job.template], ["euler", undefined, undefined]);
    }
    // As text: into the prompt's own box, where words without settings go as ever.
    const prompt = page.getByLabel("What should the picture show?");
    const paste = async (text: string) => {
      await prompt.focus();
      await page.evaluate((words) => {
        const data = new DataTransfer();
        data.setData("text/plain", words);
        const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
        Object.assign(window, { taken: !document.activeElement!.dispatchEvent(event) });
      }, text);
      return await page.evaluate(() => (window as unknown as { taken: boolean }).taken);
    };
    assert.equal(await paste("Steps: 21 of a stair, in fog"), false);
    assert.equal(await paste(infotext("a fox of a text")), true);
    await dialog.getByText("a fox of a text").waitFor();
    assert.equal(await dialog.getByRole("button", { name: "Begin with this picture" }).count(), 0);
    await assertAlsoAccessible(page);
    await dialog.getByRole("button", { name: "Use all" }).click();
    assert.equal(await prompt.inputValue(), "a fox of a text");
    assert.equal(await paste(comfy), true);
    await dialog.getByRole("button", { name: "Prompt only" }).click();
    assert.equal(await prompt.inputValue(), "a comfy fox");
  });
}
