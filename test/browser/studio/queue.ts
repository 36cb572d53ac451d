/** @file Tests of the queue: it is the server's, and every browser sees the same. The engine that pretends stays at step 2 of prompts that say "wait". */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Locator, Page } from "playwright-core";
import { assertAccessible, assertAlsoAccessible, type StudioUnderTest } from "./harness.ts";

export function queueTests(studio: () => StudioUnderTest): void {
  test("tabs of a browser share one stream of events; where the tab that has it goes, another takes it over", async (t) => {
    await sharedStream(t, studio());
  });

  test("what waits is put in another order, cancelled in mid-step and tried again, in two browsers at once", async (t) => {
    const pc = await studio().visit(t);
    const phone = await studio().visit(t, { path: "/#/queue", viewport: { width: 390, height: 844 }, hasTouch: true });
    const prompt = pc.getByLabel("What should the picture show?");
    for (const words of ["wait here", "one", "two", "three"]) {
      await prompt.fill(words);
      await pc.keyboard.press("Control+Enter");
    }
    await pc.getByText("3 pictures wait").waitFor();
    await pc.keyboard.press("Alt+2");
    // 60 s a picture is the plan's.
    await pc.getByText("all ready in about 3 min").waitFor();
    assert.deepEqual(await waitingIn(phone), ["one", "two", "three"]);
    await pc.getByRole("button", { name: "To the front: three" }).click();
    await phone.locator(".job.queued").first().getByText("three").waitFor();
    assert.deepEqual(await waitingIn(phone), ["three", "one", "two"]);
    await pc.getByRole("button", { name: "Later: three" }).click();
    await phone.locator(".job.queued").first().getByText("one").waitFor();
    assert.deepEqual(await waitingIn(pc), ["one", "three", "two"]);
    // By its handle, with a pointer.
    const [first, last] = [pc.locator(".job.queued").first(), pc.locator(".job.queued").last()];
    const [from, to] = [await first.locator(".handle").boundingBox(), await last.boundingBox()];
    await pc.mouse.move(from!.x + 5, from!.y + 5);
    await pc.mouse.down();
    await pc.mouse.move(from!.x + 5, to!.y + to!.height - 3, { steps: 3 });
    await pc.mouse.up();
    await phone.locator(".job.queued").last().getByText("one").waitFor();
    assert.deepEqual(await waitingIn(phone), ["three", "two", "one"]);
    await pc.reload();
    await pc.getByText(/Step \d of 30/).waitFor();
    assert.deepEqual(await waitingIn(pc), ["three", "two", "one"]);
    await assertAlsoAccessible(pc);
    await assertAccessible(phone);
    await phone.getByRole("button", { name: "Cancel two" }).click();
    await phone.getByRole("button", { name: "Cancel wait here" }).click();
    await pc.getByRole("button", { name: "Try again: wait here" }).waitFor();
    // What was to be seen of it stays, and is marked, in every browser.
    await phone.locator(".picture.stopped").getByAltText("Preview of wait here").waitFor();
    await pc.reload();
    const seen = pc.locator(".picture.stopped").getByAltText("Preview of wait here");
    await seen.waitFor();
    assert.equal(await seen.evaluate((image: HTMLImageElement) => image.naturalWidth), 32);
    // Those behind it are drawn then.
    await doneIn(pc, "one").waitFor();
    await pc.getByRole("button", { name: "Try again: two" }).click();
    await doneIn(pc, "two").waitFor();
  });
}

/** Two tabs of one browser, which have few connections to a server. */
async function sharedStream(t: TestContext, studio: StudioUnderTest): Promise<void> {
  const first = await studio.visit(t, { path: "/#/queue" });
  const second = await first.context().newPage();
  const streams: Page[] = [];
  for (const page of [first, second]) {
    page.on("request", (request) => {
      if (new URL(request.url()).pathname === "/api/events") streams.push(page);
    });
  }
  await second.goto(`${studio.url}/#/queue`);
  await second.getByRole("main").waitFor();
  const ask = async (prompt: string) => {
    const asked = { method: "POST", headers: { "content-type": "application/json" } };
    const answer = await fetch(`${studio.url}/api/jobs`, { ...asked, body: JSON.stringify({ job: { prompt } }) });
    assert.equal(answer.status, 201);
  };
  await ask("by the first's stream");
  await doneIn(second, "by the first's stream").waitFor();
  assert.deepEqual(streams, []);
  const taken = second.waitForRequest((request) => new URL(request.url()).pathname === "/api/events");
  await first.close();
  await taken;
  await ask("by its own stream");
  await doneIn(second, "by its own stream").waitFor();
}

async function waitingIn(page: Page): Promise<string[]> {
  return await page.locator(".job.queued .about p:first-child").allTextContents();
}

function doneIn(page: Page, prompt: string): Locator {
  return page.locator(".job.done").filter({ has: page.getByText(prompt, { exact: true }) });
}
