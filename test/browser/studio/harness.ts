/** @file What all tests of the studio share: one browser, one server over an engine that pretends, a page of its own for each test. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createRequire } from "node:module";
import type { TestContext } from "node:test";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { StudioFiles } from "../../../src/server/studio/studio-files.ts";
import { pretendingServer, type RunningServer, serverFolder } from "../../support/server.ts";
import { searched } from "../../support/thorough.ts";
import { launchChromium } from "../chromium.ts";

/** For what comes at once on a machine that does nothing else. */
const PATIENCE_MS = 30_000 * Number(process.env.SOLVAY_TEST_PATIENCE ?? 1);
const BUILD_MS = 300_000;

export interface PageOptions extends BrowserContextOptions {
  /** Where it opens. Default: "/". */
  readonly path?: string;
  /** Of another server. Default: the shared one. */
  readonly url?: string;
  /** Complaints that the test brings about. */
  readonly expects?: RegExp;
}

export class StudioUnderTest implements AsyncDisposable {
  readonly #browser: Browser;
  readonly #folder: string;
  readonly #server: RunningServer;

  private constructor(browser: Browser, folder: string, server: RunningServer) {
    this.#browser = browser;
    this.#folder = folder;
    this.#server = server;
  }

  static async open(): Promise<StudioUnderTest> {
    const folder = await serverFolder();
    // Built once: no page waits for it then, however busy the machine is.
    await StudioFiles.open(AbortSignal.timeout(BUILD_MS));
    // Nothing here computes on WebGPU, and a compositor on SwiftShader takes the CPU's time.
    const [browser, server] = await Promise.all([
      launchChromium("--disable-gpu"),
      pretendingServer({ folder, studio: true }),
    ]);
    return new StudioUnderTest(browser, folder, server);
  }

  get url(): string {
    return this.#server.url;
  }

  /** A visitor of its own, with nothing kept, who goes away with the test. What the page complains of fails the test. */
  async visit(test: TestContext, { path = "/", url = this.url, expects, ...options }: PageOptions = {}): Promise<Page> {
    const context = await this.#browser.newContext({ serviceWorkers: "block", ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    test.after(() => context.close());
    const page = await context.newPage();
    watch(test, page, expects);
    await page.goto(url + path);
    await page.getByRole("main").waitFor();
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
    await this.#server[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Errors of the page, of its policy, and requests that leave the server. */
function watch(test: TestContext, page: Page, expects?: RegExp): void {
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error.stack)));
  page.on("console", (message) => {
    const isLoading = /^Failed to load resource/.test(message.text());
    if (message.type() === "error" && !isLoading) complaints.push(message.text());
  });
  page.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (!["blob:", "data:"].includes(protocol) && hostname !== "127.0.0.1") complaints.push(`asked ${request.url()}`);
  });
  test.after(() =>
    assert.deepEqual(
      complaints.filter((text) => !expects?.test(text)),
      [],
    ),
  );
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Nothing that axe finds wrong with what is shown. */
export async function assertAccessible(page: Page): Promise<void> {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: Axe };
    return (await axe.run({ resultTypes: ["violations"] })).violations.map(({ id, nodes }) => ({
      id,
      nodes: nodes.map(({ html }) => html),
    }));
  });
  assert.deepEqual(found, []);
}

/** ... of a view that a test has had looked at in another state: in thorough runs. */
export const assertAlsoAccessible: (page: Page) => Promise<void> = searched(async () => {}, assertAccessible);

interface Axe {
  /** `resultTypes`: what is told at length. */
  run(options: { readonly resultTypes: readonly string[] }): Promise<{ readonly violations: readonly AxeViolation[] }>;
}

interface AxeViolation {
  readonly id: string;
  readonly nodes: readonly { readonly html: string }[];
}
