/**
 * @file Remakes the pictures of docs/studio: each view of the studio with the demo model's pictures, in light and dark, on a desktop and on a phone.
 * `node scripts/studio-pictures.ts [NAME ...]`; takes a minute or two. Needs the tests' browser (test/browser/chromium.ts).
 */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import { launchChromium, noBrowser } from "../test/browser/chromium.ts";
import { ServerProcess, serverFolder } from "../test/support/server.ts";

const INTO = path.resolve(import.meta.dirname, "..", "docs", "studio");
/** Colours of a picture's palette: interfaces have few, and the demo's pictures are small. */
const COLOURS = 128;
const SIZES = { desktop: { width: 1180, height: 740 }, phone: { width: 390, height: 780 } } as const;
const SCHEMES = ["light", "dark"] as const;
/** For what comes without a mark to wait for. */
const SETTLE_MS = 600;

const PROMPTS = [
  ...[
    "a lake at dawn, mountains",
    "a sea with a boat at noon",
    "hills at dusk",
    "a desert at noon",
    "mountains in winter",
  ],
  ...["a forest by a lake", "a sea at dusk", "a lake at noon, trees", "hills at dawn", "a boat on a lake at dusk"],
];
const SHAPES = [{}, { width: 152, height: 112 }, {}, { width: 112, height: 152 }];

interface Shot {
  readonly name: string;
  readonly address: string;
  /** What to do before the picture is taken. */
  readonly prepare?: (page: Page, base: string) => Promise<void>;
  readonly kept?: Readonly<Record<string, unknown>>;
}

const SHOTS: readonly Shot[] = [
  { name: "draw", address: "#/draw", kept: { form: { prompt: "a lake at dawn, mountains" } } },
  { name: "advanced", address: "#/draw", kept: { mode: "advanced", form: { prompt: "a lake at dawn, mountains" } } },
  { name: "hebrew", address: "#/draw", kept: { language: "he", form: { prompt: "a lake at dawn" } } },
  { name: "queue", address: "#/queue" },
  { name: "gallery", address: "#/gallery" },
  { name: "solvay", address: "#/solvay" },
  { name: "models", address: "#/models" },
  { name: "settings", address: "#/settings" },
  { name: "recall", address: "#/draw", prepare: recall },
  { name: "mask", address: "#/draw", prepare: paint },
  { name: "part", address: "#/draw", prepare: part },
  { name: "control", address: "#/draw", prepare: control },
  { name: "enlarge", address: "#/draw", prepare: enlarge },
  { name: "grid", address: "#/grid", prepare: grid },
  {
    name: "palette",
    address: "#/queue",
    prepare: async (page) => {
      await page.keyboard.press("Control+k");
      await page.keyboard.type("go");
    },
  },
];

async function ask(base: string, jobs: readonly object[]): Promise<void> {
  const headers = { "content-type": "application/json" };
  for (const job of jobs) await fetch(`${base}/api/jobs`, { method: "POST", headers, body: JSON.stringify({ job }) });
}

async function untilDrawn(base: string): Promise<void> {
  for (;;) {
    const { jobs } = (await (await fetch(`${base}/api/jobs?limit=100`)).json()) as { jobs: { state: string }[] };
    if (!jobs.some(({ state }) => state === "queued" || state === "running")) return;
    await delay(200);
  }
}

async function newest(base: string): Promise<string> {
  const answer = await fetch(`${base}/api/jobs?state=done&limit=1`);
  return ((await answer.json()) as { jobs: { asset: string }[] }).jobs[0]!.asset;
}

async function recall(page: Page, base: string): Promise<void> {
  await page.evaluate(
    async (address) => {
      const file = new File([await (await fetch(address)).blob()], "picture.png", { type: "image/png" });
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(file);
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    },
    `/api/assets/${await newest(base)}`,
  );
  await page.getByRole("dialog").getByRole("button", { name: "Use all" }).waitFor();
}

async function paint(page: Page, base: string): Promise<void> {
  const picture = Buffer.from(await (await fetch(`${base}/api/assets/${await newest(base)}`)).arrayBuffer());
  const chooser = page.getByLabel("Drop or choose a picture");
  await chooser.setInputFiles({ name: "a.png", mimeType: "image/png", buffer: picture });
  await page.getByRole("button", { name: "Mask, part, edges" }).click();
  const sheet = (await page.locator(".sheet canvas").boundingBox())!;
  const at = (x: number, y: number) => [sheet.x + sheet.width * x, sheet.y + sheet.height * y] as const;
  await page.mouse.move(...at(0.3, 0.35));
  await page.mouse.down();
  await page.mouse.move(...at(0.5, 0.45), { steps: 8 });
  await page.mouse.move(...at(0.7, 0.3), { steps: 8 });
  await page.mouse.up();
  const handle = page.getByRole("slider", { name: "Grow to the right" });
  for (let times = 0; times < 4; times++) await handle.press("ArrowRight");
  await page.mouse.move(...at(0.4, 0.7));
}

async function part(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Redraw a part" }).click();
  const sheet = (await page.locator(".sheet canvas").boundingBox())!;
  const at = (x: number, y: number) => [sheet.x + sheet.width * x, sheet.y + sheet.height * y] as const;
  await page.mouse.move(...at(0.35, 0.3));
  await page.mouse.down();
  await page.mouse.move(...at(0.8, 0.65), { steps: 6 });
  await page.mouse.up();
  await page.getByLabel("What should this part show?").fill("a boat with a white sail");
}

async function control(page: Page, base: string): Promise<void> {
  const picture = Buffer.from(await (await fetch(`${base}/api/assets/${await newest(base)}`)).arrayBuffer());
  const place = page.getByLabel("Drop a picture to follow its shapes");
  await place.setInputFiles({ name: "a.png", mimeType: "image/png", buffer: picture });
  await page.getByLabel("What it looks at").selectOption("Its outlines");
  await page.getByRole("slider", { name: "Faint lines: from" }).fill("20");
  await page.getByRole("slider", { name: "Clear lines: from" }).fill("60");
  await page.locator(".controls").scrollIntoViewIfNeeded();
}

async function enlarge(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Enlarge", exact: true }).click();
  await page.getByRole("dialog").getByText(/about/).waitFor();
}

async function grid(page: Page): Promise<void> {
  await page.getByLabel("Prompt", { exact: true }).fill("a lake at dawn");
  await page.getByLabel("Across: values").fill("4, 8, 16");
  await page.getByLabel("Down: what changes").selectOption("Words of the prompt");
  await page.getByLabel("Down: values").fill("dawn, noon, dusk");
  await page.getByRole("button", { name: "Draw the grid" }).click();
  await page.getByText("9 of 9 pictures").waitFor({ timeout: 120_000 });
}

async function take(browser: Browser, base: string, { name, address, prepare, kept = {} }: Shot): Promise<void> {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of SCHEMES) {
      const context = await browser.newContext({ viewport, colorScheme, serviceWorkers: "block" });
      await context.addInitScript((entries) => {
        for (const [key, value] of Object.entries(entries))
          localStorage.setItem(`solvay.${key}`, JSON.stringify(value));
      }, kept);
      const page = await context.newPage();
      await page.goto(`${base}/${address}`);
      await page.locator(`.navigation a[href="${address}"][aria-current]`).waitFor();
      await page.locator("main h1").first().waitFor({ state: "attached" });
      await delay(SETTLE_MS);
      await prepare?.(page, base);
      await delay(SETTLE_MS);
      const png = await sharp(await page.screenshot())
        .png({ palette: true, colours: COLOURS, effort: 10 })
        .toBuffer();
      writeFileSync(path.join(INTO, `${name}-${size}-${colorScheme}.png`), png);
      await context.close();
    }
  }
  process.stdout.write(`${name}\n`);
}

if (noBrowser) throw new Error(noBrowser);
const asked = process.argv.slice(2);
const wanted = SHOTS.filter(({ name }) => asked.length === 0 || asked.includes(name));
const state = mkdtempSync(path.join(tmpdir(), "solvay-pictures-"));
renameSync(await serverFolder(), path.join(state, "serve"));
const FIXTURES = path.resolve(import.meta.dirname, "..", "fixtures");
const networks = ["--control-dir", path.join(FIXTURES, "controls"), "--upscaler-dir", path.join(FIXTURES, "upscalers")];
const server = new ServerProcess(state, networks);
const browser = await launchChromium();
try {
  mkdirSync(INTO, { recursive: true });
  const base = await server.url;
  while (!(await fetch(`${base}/readyz`)).ok) await delay(200);
  await ask(
    base,
    PROMPTS.map((prompt, at) => ({ prompt, seed: at + 1, steps: 16, ...SHAPES[at % SHAPES.length] })),
  );
  await untilDrawn(base);
  const idle = wanted.filter(({ name }) => name !== "queue" && name !== "solvay");
  for (const shot of idle) await take(browser, base, shot);
  // One that is drawn for long, and some that wait for it.
  const long = { steps: 150, width: 256, height: 256 };
  await ask(base, [
    { prompt: "a sea with a boat at noon", seed: 3, ...long },
    ...PROMPTS.slice(0, 4).map((prompt) => ({ prompt, ...long })),
  ]);
  await delay(3_000);
  for (const shot of wanted.filter((each) => !idle.includes(each))) await take(browser, base, shot);
} finally {
  await browser.close();
  await server.end("SIGKILL");
  rmSync(state, { recursive: true, force: true });
}
