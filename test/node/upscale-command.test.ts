/** @file `solvay upscale`: what it saves, keeps and says. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import { decodePng, encodePng } from "../../src/image/png.ts";
import { resample } from "../../src/image/resample.ts";
import { writtenTexts } from "../support/picture-files.ts";
import { sameBytes } from "../support/same.ts";
import { fakeContext } from "./fake-context.ts";

const FIXTURES = fileURLToPath(new URL("../../fixtures/", import.meta.url));
const UPSCALER = path.join(FIXTURES, "upscalers", "x4.pth");
const golden = JSON.parse(readFileSync(path.join(FIXTURES, "upscalers", "golden.json"), "utf8")) as {
  readonly width: number;
  readonly height: number;
  readonly rgb: string;
};
const { width, height } = golden;
const rgb = new Uint8Array(Buffer.from(golden.rgb, "base64"));
const alpha = Uint8Array.from({ length: width * height }, (_, i) => i % 256);
const PARAMETERS = "a cat\nSteps: 3, Sampler: Euler, Seed: 4, Size: 21x13";

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), "solvay-upscale-"));
  try {
    const text = [{ keyword: "parameters", text: PARAMETERS }];
    await writeFile(path.join(folder, "in.png"), await encodePng({ width, height, rgb, alpha, text }));
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const SMALL = [
  "upscale",
  "in.png",
  "--upscaler",
  path.join(FIXTURES, "upscalers", "compact-x2.pth"),
  "--backend",
  "cpu",
];
const RUN = ["upscale", "in.png", "--upscaler", UPSCALER, "--backend", "reference"];

test("saves the larger picture with what was written in it, its alpha by Lanczos", () =>
  inFolder(async (folder) => {
    const { context, out, err } = fakeContext({ cwd: folder });
    assert.equal(await runCli([...RUN, "--output", "out.png"], context), 0, err());
    assert.equal(out(), "Saved: out.png\n");
    assert.match(err(), /transparent parts/);
    const png = new Uint8Array(await readFile(path.join(folder, "out.png")));
    assert.deepEqual(await writtenTexts(png), [
      { keyword: "parameters", text: PARAMETERS },
      { keyword: "Upscaler", text: "x4.pth, 4x" },
    ]);
    const shown = fakeContext({ cwd: folder });
    assert.equal(await runCli(["show", "out.png"], shown.context), 0, shown.err());
    assert.match(shown.out(), /\n {2}it was enlarged after it was made, by x4\.pth, 4x\n/);
    const found = await decodePng(png);
    assert.deepEqual([found.width, found.height, found.channels], [4 * width, 4 * height, 4]);
    const larger = resample(
      { width, height, channels: 1, bytes: alpha },
      { width: 4 * width, height: 4 * height },
      "lanczos",
    );
    sameBytes(
      found.pixels.filter((_, i) => i % 4 === 3),
      larger,
      "alpha",
    );
    assert.deepEqual(await readdir(folder), ["in.png", "out.png"]);
  }));

test("another scale is made by Lanczos, a larger one than the network's by running it again", () =>
  inFolder(async (folder) => {
    const { context, out } = fakeContext({ cwd: folder });
    assert.equal(await runCli([...RUN, "--scale", "1.5"], context), 0);
    assert.equal(out(), "Saved: output_001.png\n");
    const found = await decodePng(new Uint8Array(await readFile(path.join(folder, "output_001.png"))));
    assert.deepEqual([found.width, found.height], [32, 20]);
    const twice = fakeContext({ cwd: folder });
    assert.equal(await runCli([...SMALL, "--scale", "6", "--output", "six.png"], twice.context), 0, twice.err());
    // By itself and once more, as two commands do it.
    for (const [from, to] of [
      ["in.png", "two.png"],
      ["two.png", "four.png"],
    ] as const) {
      const line = ["upscale", from, ...SMALL.slice(2), "--scale", "2", "--output", to];
      const once = fakeContext({ cwd: folder });
      assert.equal(await runCli(line, once.context), 0, once.err());
    }
    const eight = fakeContext({ cwd: folder });
    const last = ["upscale", "four.png", ...SMALL.slice(2), "--scale", "1.5", "--output", "more.png"];
    assert.equal(await runCli(last, eight.context), 0, eight.err());
    const pixels = async (name: string) => {
      const { pixels: all, channels } = await decodePng(new Uint8Array(await readFile(path.join(folder, name))));
      // Alpha is enlarged at once, not by and by.
      return all.filter((_, i) => i % channels < 3);
    };
    sameBytes(await pixels("six.png"), await pixels("more.png"));
  }));

test("the plan is printed before anything runs; JSON tells each step", () =>
  inFolder(async (folder) => {
    const { context, out } = fakeContext({ cwd: folder });
    assert.equal(await runCli([...RUN, "--plan"], context), 0);
    assert.match(out(), /^Plan for /);
    assert.match(out(), /enlarge 1 tile of 21x13/);
    assert.deepEqual(await readdir(folder), ["in.png"]);
    const { context: other, out: lines } = fakeContext({ cwd: folder });
    assert.equal(await runCli([...RUN, "--json"], other), 0);
    const types = lines()
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { type: string }).type);
    assert.deepEqual(types, ["note", "plan", "tile", "tile", "image"]);
  }));

test("what can't be is one line and an exit code, and leaves no file", () =>
  inFolder(async (folder) => {
    for (const [args, code, about] of [
      [["upscale", "none.png", "--upscaler", UPSCALER], 3, /E_MISSING/],
      [["upscale", "in.png", "--upscaler", path.join(FIXTURES, "torch-files", "runs-code.pth")], 3, /asks for/],
      [["upscale", UPSCALER, "--upscaler", UPSCALER], 3, /E_IMAGE_KIND/],
      [[...RUN, "--ram", "100M"], 4, /raise --ram/],
      [[...RUN, "--output", "x.gif"], 2, /written as PNG, JPEG or WebP/],
      [["upscale", "in.png"], 2, /--upscaler/],
    ] as const) {
      const { context, err, out } = fakeContext({ cwd: folder });
      assert.equal(await runCli(args, context), code, err());
      assert.match(err(), about);
      assert.equal(err().trim().split("\n").length, 1, err());
      assert.equal(out(), "");
    }
    assert.deepEqual(await readdir(folder), ["in.png"]);
  }));

test("Ctrl-C ends it with its code, and leaves no file", () =>
  inFolder(async (folder) => {
    const { context, interrupt } = fakeContext({ cwd: folder });
    // As soon as it says something: before the plan.
    context.stdout.once("data", interrupt);
    assert.equal(await runCli([...RUN, "--json", "--output", "out.png"], context), 130);
    assert.deepEqual(await readdir(folder), ["in.png"]);
  }));
