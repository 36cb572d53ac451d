/** @file Tests of the gallery: five thousand pictures stay fluid; what is searched, marked, compared, deleted and brought back by mouse and by keys. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import type { Page } from "playwright-core";
import type { RunningServer } from "../../support/server.ts";
import { searched } from "../../support/thorough.ts";
import { filledServer } from "./filled-server.ts";
import { assertAccessible, type StudioUnderTest } from "./harness.ts";

const SCROLLS = searched(20, 60);
const LONG_TASK_MS = 100;

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** Microseconds of the thread's own time: other programs on this machine are none of the page's. */
  readonly tdur?: number;
  readonly args: { readonly name?: string };
}

/** Milliseconds of the page's longest task while `work` goes on. */
async function longestTask(page: Page, work: () => Promise<void>): Promise<number> {
  const browser = page.context().browser()!;
  await browser.startTracing(page, { categories: ["toplevel"] });
  await work();
  const { traceEvents } = JSON.parse(String(await browser.stopTracing())) as { readonly traceEvents: TraceEvent[] };
  const isPage = ({ name, args }: TraceEvent) => name === "thread_name" && args.name === "CrRendererMain";
  const threads = new Set(traceEvents.filter(isPage).map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = traceEvents.filter(({ name, pid, tid }) => /RunTask$/.test(name) && threads.has(`${pid} ${tid}`));
  return Math.max(0, ...tasks.map(({ tdur = 0 }) => tdur / 1000));
}

export function galleryTests(studio: () => StudioUnderTest): void {
  let server: RunningServer;
  before(async () => {
    server = await filledServer();
  });

  const visit = async (...[t]: Parameters<StudioUnderTest["visit"]>): Promise<Page> => {
    const page = await studio().visit(t, { url: server.url, path: "/#/gallery" });
    await cells(page).first().waitFor();
    return page;
  };
  const cells = (page: Page) => page.getByRole("listbox", { name: "Pictures" }).getByRole("option");
  const count = (page: Page) => page.locator(".gallery-head [role=status]");
  const labels = async (page: Page) =>
    await cells(page).evaluateAll((all) => all.map((each) => Number(each.getAttribute("data-id"))));

  test(`5,000 pictures: ${SCROLLS} scroll steps without a long task, nothing shifts, few cells at a time`, async (t) => {
    const page = await visit(t);
    await page.evaluate(() => {
      const shifts: number[] = [];
      Object.assign(window, { shifts });
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) shifts.push((entry as unknown as { value: number }).value);
      }).observe({ type: "layout-shift" });
    });
    const longestMs = await longestTask(page, async () => {
      await page.evaluate(async (scrolls) => {
        const box = document.querySelector(".gallery-scroll")!;
        const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
        for (let step = 1; step <= scrolls; step++) {
          box.scrollTop = ((box.scrollHeight - box.clientHeight) * step) / scrolls;
          await frame();
          await frame();
        }
      }, SCROLLS);
      await page.locator('[data-id="1"]').waitFor();
    });
    assert.ok(longestMs > 0 && longestMs <= LONG_TASK_MS, `a task of ${longestMs} ms`);
    assert.deepEqual(await page.evaluate(() => (window as unknown as { shifts: number[] }).shifts), []);
    const shown = await labels(page);
    assert.ok(shown.length < 150, `${shown.length} cells`);
    await assertAccessible(page);
  });

  test("search by words and settings, a day, the picture large with its settings", async (t) => {
    const page = await visit(t);
    await page.getByRole("searchbox").fill("fox steps:>24");
    await count(page).getByText("249 pictures").waitFor();
    assert.match((await cells(page).first().getAttribute("aria-label"))!, /^a red fox, .+2026$/);
    await page.getByRole("searchbox").fill("nothing like that");
    await page.getByText("No picture matches.").waitFor();
    await page.getByRole("searchbox").fill("");
    await count(page).getByText("5,000 pictures").waitFor();
    await page.getByLabel("Go to a day").selectOption({ index: 100 });
    await page.waitForFunction(() => !document.querySelector('[data-id="5000"]'));
    await cells(page).nth(9).click();
    const viewer = page.getByRole("dialog", { name: "Picture, large" });
    await viewer.getByRole("button", { name: "Use all" }).waitFor();
    await assertAccessible(page);
    assert.match(await page.title(), /^Gallery/);
    await viewer.getByRole("button", { name: "Use prompt" }).click();
    await viewer.waitFor({ state: "hidden" });
  });

  test("by keys alone: moved, marked, opened, compared, deleted and brought back", async (t) => {
    const page = await visit(t);
    const list = page.getByRole("listbox", { name: "Pictures" });
    await list.focus();
    const isActive = async (id: number) => await page.locator(`[aria-activedescendant="picture-${id}"]`).waitFor();
    for (const [key, id] of [
      ["Home", 5000],
      ["ArrowRight", 4999],
      ["End", 1],
      ["Home", 5000],
    ] as const) {
      await page.keyboard.press(key);
      await isActive(id);
    }
    await page.keyboard.press("f");
    await page.getByRole("option", { name: /Favourite/ }).waitFor();
    await page.keyboard.press("Enter");
    const viewer = page.getByRole("dialog", { name: "Picture, large" });
    await viewer.waitFor();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Escape");
    await isActive(4999);
    await page.keyboard.press("Space");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Space");
    await page.keyboard.press("c");
    const slider = page.getByRole("slider", { name: /How much/ });
    await slider.waitFor();
    await slider.focus();
    await page.keyboard.press("Home");
    assert.equal(await slider.inputValue(), "0");
    await assertAccessible(page);
    await page.keyboard.press("Escape");
    await list.focus();
    await page.keyboard.press("Delete");
    await count(page).getByText("4,998 pictures").waitFor();
    await page.getByRole("button", { name: "Undo" }).click();
    await count(page).getByText("5,000 pictures").waitFor();
    assert.equal((await labels(page)).includes(4998), true);
  });
}
