/** @file Tests of what holds for all of the studio: keys alone, right to left, a phone, links, no script but its own, nothing lost on a reload. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertAlsoAccessible, type StudioUnderTest } from "./harness.ts";

export function habitTests(studio: () => StudioUnderTest): void {
  test("with keys alone: a prompt is written and drawn, a view is found by the palette", async (t) => {
    const page = await studio().visit(t);
    // The first stop skips the navigation.
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    const stops: string[] = [];
    for (let stop = 0; stop < 12; stop++) {
      await page.keyboard.press("Tab");
      stops.push(await page.evaluate(() => document.activeElement?.tagName ?? ""));
      if (stops.at(-1) === "TEXTAREA") break;
    }
    assert.equal(stops.at(-1), "TEXTAREA", stops.join());
    await page.keyboard.type("a bridge in fog");
    await page.keyboard.press("Control+Enter");
    await page.getByAltText("Picture: a bridge in fog").first().waitFor();
    await page.keyboard.press("Control+k");
    await page.keyboard.type("go que");
    await assertAccessible(page);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Queue" }).waitFor();
    await page.keyboard.press("Alt+1");
    await page.getByLabel("What should the picture show?").waitFor();
  });

  test("in Hebrew it runs from right to left, on a phone it is simple, and half-typed words stay", async (t) => {
    const phone = {
      viewport: { width: 390, height: 844 },
      hasTouch: true,
      locale: "he-IL",
      colorScheme: "dark",
    } as const;
    const page = await studio().visit(t, phone);
    await page.getByLabel("מה תראה התמונה?").fill("בית");
    assert.equal(await page.evaluate(() => document.documentElement.dir), "rtl");
    assert.equal(await page.getByText("מתקדם", { exact: true }).count(), 0);
    await assertAccessible(page);
    // Nothing is wider than the phone.
    assert.equal(await page.evaluate(() => document.querySelector("main")!.scrollWidth <= innerWidth), true);
    const [first, last] = await page
      .locator(".navigation a")
      .evaluateAll((links) => [links.at(0)!, links.at(-1)!].map((link) => link.getBoundingClientRect().left));
    assert.equal(first! > last!, true);
    await page.reload();
    assert.equal(await page.getByLabel("מה תראה התמונה?").inputValue(), "בית");
  });

  test("language and appearance are set by keys, and are the next browser's too", async (t) => {
    const set = async (settings: object) => {
      const headers = { "content-type": "application/json" };
      await fetch(`${studio().url}/api/settings`, { method: "POST", headers, body: JSON.stringify({ settings }) });
    };
    t.after(() => set({ language: null, theme: null }));
    const page = await studio().visit(t, { path: "/#/settings" });
    const told = page.waitForResponse(
      (answer) => answer.url().endsWith("/api/settings") && answer.request().method() === "POST",
    );
    await page.getByRole("group", { name: "Language" }).getByRole("radio").first().focus();
    for (let times = 0; times < 2; times++) await page.keyboard.press("ArrowDown");
    await page.getByRole("heading", { name: "Einstellungen" }).waitFor();
    await page.getByRole("radio", { name: "Dunkel" }).press("Space");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    await assertAccessible(page);
    await told;
    const next = await studio().visit(t, { path: "/#/settings", viewport: { width: 390, height: 844 } });
    await next.getByRole("heading", { name: "Einstellungen" }).waitFor();
    await next.waitForFunction(() => document.documentElement.dataset.theme === "dark");
    await assertAlsoAccessible(next);
  });

  test("a link holds a picture's settings, and words in it that are script stay words", async (t) => {
    const evil = `<img src=x onerror="window.hacked=1">`;
    const query = new URLSearchParams({
      prompt: `a hill ${evil}`,
      steps: "7",
      seed: "18446744073709551615",
      nonsense: evil,
    });
    const page = await studio().visit(t, { path: `/#/draw?${query}`, expects: /Content Security Policy/ });
    const prompt = page.getByLabel("What should the picture show?");
    await page.waitForFunction(() => location.hash === "#/draw");
    assert.equal(await prompt.inputValue(), `a hill ${evil}`);
    const asked = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/api/jobs"));
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    const { job } = (await asked).postDataJSON() as { readonly job: object };
    assert.deepEqual(job, { prompt: `a hill ${evil}`, steps: 7, seed: "18446744073709551615" });
    await page
      .getByRole("region", { name: "Picture" })
      .getByAltText(/a hill/)
      .first()
      .waitFor();
    assert.equal(await page.evaluate(() => "hacked" in window), false);
    // The policy holds: neither markup's scripts nor text as a script.
    const refused = await page.evaluate(async () => {
      const violations: string[] = [];
      addEventListener("securitypolicyviolation", ({ effectiveDirective }) => violations.push(effectiveDirective));
      document.body.insertAdjacentHTML("beforeend", `<img src="/none" onerror="window.hacked=1"><p style="color:red">`);
      await new Promise((resolve) => setTimeout(resolve, 300));
      return violations.sort();
    });
    assert.deepEqual(refused, ["script-src-attr", "style-src-attr"]);
    assert.equal(await page.evaluate(() => "hacked" in window), false);
  });

  test("the first load is small, and nothing moves when a preview comes and a picture takes its place", async (t) => {
    const page = await studio().visit(t);
    const bytes = await page.evaluate(() =>
      performance
        .getEntriesByType("resource")
        .filter(({ name }) => name.endsWith(".js"))
        .reduce((sum, entry) => sum + (entry as PerformanceResourceTiming).encodedBodySize, 0),
    );
    assert.equal(bytes > 5_000 && bytes < 200_000, true, `${bytes} bytes of script`);
    await page.evaluate(() => {
      interface Shift {
        readonly value: number;
        readonly sources: readonly { readonly node: Node | null }[];
      }
      const shifts: (readonly [number, string])[] = [];
      Object.assign(window, { shifts });
      new PerformanceObserver((list) => {
        for (const { value, sources } of list.getEntries() as unknown as readonly Shift[]) {
          const moved = sources.map(({ node }) => (node instanceof Element ? node.outerHTML.slice(0, 120) : `${node}`));
          shifts.push([value, moved.join(" ")]);
        }
      }).observe({ type: "layout-shift" });
    });
    await page.getByLabel("What should the picture show?").fill("a long way");
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page.getByRole("region", { name: "Picture" }).getByAltText("Picture: a long way").first().waitFor();
    const moved = await page.evaluate(() => (window as unknown as { shifts: [number, string][] }).shifts);
    assert.equal(moved.reduce((sum, [value]) => sum + value, 0) < 0.01, true, moved.join("\n"));
  });

  test("while the server is away the studio opens all the same, and says so", async (t) => {
    const page = await studio().visit(t, { serviceWorkers: "allow" });
    await page.evaluate(async () => {
      await navigator.serviceWorker.ready;
      if (!navigator.serviceWorker.controller) {
        await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve));
      }
    });
    await page.context().setOffline(true);
    await page.reload();
    await page.getByText("The server does not answer").first().waitFor();
    await page.getByLabel("What should the picture show?").waitFor();
    await page.getByRole("link", { name: "Queue" }).click();
    await page.context().setOffline(false);
    await page.getByText("The server does not answer").waitFor({ state: "detached" });
  });
}
