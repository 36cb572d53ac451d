/** @file Pictures in a terminal: how it is chosen by the environment, and what each way's text draws, read back by small decoders. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { hasTrueColour, pictureKind } from "../../src/terminal/picture-kind.ts";
import { areaOf, pictureEnd, pictureText } from "../../src/terminal/picture-text.ts";
import { sixelText } from "../../src/terminal/sixel.ts";
import { StatusLine } from "../../src/terminal/status-line.ts";

/** Escapes as "^", bells as "`": none of these texts has its own. */
const visible = (text: string) => text.replaceAll("\x1b", "^").replaceAll("\x07", "`");

const PICTURE = { width: 4, height: 4, rgb: Uint8Array.from({ length: 48 }, (_, at) => (at * 41) % 256) };

test("the way is chosen by what the environment tells; none where nobody watches", () => {
  const kind = (env: Record<string, string>, choice: "auto" | "sixel" | "off" = "auto", isTTY = true) =>
    pictureKind(choice, { stderr: Object.assign(new PassThrough(), { isTTY }), env });
  assert.equal(kind({ TERM: "xterm-256color" }), "blocks");
  assert.equal(kind({ TERM: "xterm-kitty" }), "kitty");
  assert.equal(kind({ TERM: "xterm-256color", KITTY_WINDOW_ID: "1" }), "kitty");
  assert.equal(kind({ TERM: "xterm-256color", TERM_PROGRAM: "iTerm.app" }), "iterm");
  assert.equal(kind({ TERM: "xterm-256color", TERM_PROGRAM: "ghostty" }), "kitty");
  assert.equal(kind({ TERM: "foot" }), "sixel");
  // What passes no graphics on.
  assert.equal(kind({ TERM: "tmux-256color", TMUX: "/tmp/x", KITTY_WINDOW_ID: "1" }), "blocks");
  for (const env of [
    {},
    { TERM: "dumb" },
    { TERM: "linux" },
    { TERM: "xterm", NO_COLOR: "1" },
    { TERM: "xterm", CI: "true" },
  ]) {
    assert.equal(kind(env as Record<string, string>), undefined);
  }
  assert.equal(kind({ TERM: "dumb" }, "sixel"), "sixel");
  assert.equal(kind({ TERM: "xterm-kitty" }, "off"), undefined);
  assert.equal(kind({ TERM: "xterm-kitty" }, "sixel", false), undefined);
  assert.equal(kind({ TERM: "xterm", TERM_PROGRAM: "constructor" }), "blocks");
  assert.ok(hasTrueColour({ COLORTERM: "truecolor" }) && !hasTrueColour({ TERM: "xterm-256color" }));
});

test("the area keeps the picture's proportions in cells twice as high as wide", () => {
  const most = { columns: 64, rows: 20 };
  assert.deepEqual(areaOf({ width: 128, height: 128 }, most), { columns: 40, rows: 20 });
  assert.deepEqual(areaOf({ width: 128, height: 64 }, most), { columns: 64, rows: 16 });
  assert.deepEqual(areaOf({ width: 64, height: 128 }, most), { columns: 20, rows: 20 });
  assert.deepEqual(areaOf({ width: 4096, height: 16 }, most), { columns: 64, rows: 1 });
  assert.deepEqual(areaOf({ width: 16, height: 4096 }, most), { columns: 1, rows: 20 });
});

test("half blocks: each cell's two colours are the picture's pixels, and neighbours alike share one", () => {
  const text = pictureText(PICTURE, { columns: 4, rows: 2 }, { kind: "blocks", trueColour: true });
  const rows = text.split("\r\n").slice(0, -1);
  assert.equal(rows.length, 2);
  for (const [row, line] of rows.entries()) {
    const cells = [...line.matchAll(/38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m\u2580/g)];
    assert.equal(cells.length, 4);
    for (const [x, cell] of cells.entries()) {
      const at = (y: number) => [...PICTURE.rgb.subarray(3 * (y * 4 + x), 3 * (y * 4 + x) + 3)];
      assert.deepEqual(cell.slice(1).map(Number), [...at(2 * row), ...at(2 * row + 1)]);
    }
  }
  const grey = { width: 4, height: 4, rgb: new Uint8Array(48).fill(128) };
  const plain = pictureText(grey, { columns: 4, rows: 2 }, { kind: "blocks", trueColour: false });
  // 128 is grey 12 of 24: 8 + 10 * 12.
  assert.equal(plain, "\x1b[38;5;244;48;5;244m\u2580\u2580\u2580\u2580\x1b[0m\r\n".repeat(2));
});

test("a larger picture is the mean of what is under each cell's half", () => {
  const wide = {
    width: 4,
    height: 2,
    rgb: Uint8Array.from(
      [0, 0, 0, 100, 100, 100, 10, 10, 10, 20, 20, 20].flatMap((v) => [v]).concat(new Array<number>(12).fill(50)),
    ),
  };
  const text = pictureText(wide, { columns: 2, rows: 1 }, { kind: "blocks", trueColour: true });
  assert.match(text, /38;2;50;50;50;48;2;50;50;50m\u2580.*38;2;15;15;15;48;2;50;50;50m\u2580/s);
});

test("Kitty: raw colours in pieces, of one picture that replaces itself", () => {
  const big = { width: 64, height: 64, rgb: Uint8Array.from({ length: 64 * 64 * 3 }, (_, at) => at % 251) };
  const text = pictureText(big, { columns: 32, rows: 16 }, { kind: "kitty", trueColour: true });
  const commands = [...visible(text).matchAll(/\^_G([^;]*);([^^]*)\^\\/g)];
  assert.match(commands[0]![1]!, /^a=T,f=24,s=64,v=64,i=\d+,p=1,q=2,C=1,c=32,r=16,m=1$/);
  assert.ok(commands.every(([, , data]) => data!.length <= 4096));
  assert.deepEqual(
    commands.slice(1).map(([, keys]) => keys),
    [...commands.slice(2).map(() => "m=1"), "m=0"],
  );
  const data = Buffer.from(commands.map(([, , piece]) => piece).join(""), "base64");
  assert.equal(Buffer.compare(data, big.rgb), 0);
});

test("iTerm2: a bitmap of the very pixels", () => {
  const text = pictureText(PICTURE, { columns: 4, rows: 2 }, { kind: "iterm", trueColour: true });
  const [, size, data] = /1337;File=inline=1;size=(\d+);width=4;height=2;preserveAspectRatio=0:([^`]+)`/.exec(
    visible(text),
  )!;
  const file = Buffer.from(data!, "base64");
  assert.equal(file.length, Number(size));
  assert.equal(file.toString("latin1", 0, 2), "BM");
  assert.deepEqual([file.readInt32LE(18), file.readInt32LE(22)], [4, -4]);
  const bgr = [...file.subarray(file.readUInt32LE(10))];
  assert.deepEqual(
    bgr.map((_, at) => bgr[at - (at % 3) + 2 - (at % 3)]),
    [...PICTURE.rgb],
  );
});

test("a bitmap's rows are filled up to four bytes", () => {
  const rgb = Uint8Array.from({ length: 18 }, (_, at) => at + 1);
  const text = pictureText({ width: 3, height: 2, rgb }, { columns: 3, rows: 1 }, { kind: "iterm", trueColour: true });
  const file = Buffer.from(/:([^`:]+)`/.exec(visible(text))![1]!, "base64");
  assert.deepEqual(
    [...file.subarray(54)],
    [3, 2, 1, 6, 5, 4, 9, 8, 7, 0, 0, 0, 12, 11, 10, 15, 14, 13, 18, 17, 16, 0, 0, 0],
  );
  assert.equal(file.readUInt32LE(2), 54 + 24);
});

test("without true colour: the nearest of xterm's colours and greys", () => {
  const index = (...rgb: readonly number[]) => {
    const picture = { width: 1, height: 1, rgb: Uint8Array.from(rgb) };
    const text = pictureText(picture, { columns: 1, rows: 1 }, { kind: "blocks", trueColour: false });
    return Number(/38;5;(\d+);48;5;\1m/.exec(text)![1]);
  };
  // Of 6 x 6 x 6 from 16 on, levels 0, 95, 135, 175, 215, 255; greys from 232 on, 8, 18, ..., 238.
  assert.deepEqual([index(0, 0, 0), index(3, 3, 3), index(8, 8, 8), index(238, 238, 238)], [16, 232, 232, 255]);
  assert.deepEqual([index(243, 243, 243), index(255, 255, 255), index(100, 104, 109)], [231, 231, 242]);
  assert.deepEqual([index(255, 0, 0), index(0, 255, 0), index(0, 0, 255)], [196, 46, 21]);
  assert.deepEqual([index(0, 95, 135), index(175, 215, 0), index(47, 0, 0), index(48, 0, 0)], [24, 148, 16, 52]);
  assert.deepEqual([index(114, 0, 0), index(115, 0, 0)], [52, 88]);
});

test("Sixel's picture fills the area's cells of 8 x 16, and the cursor ends below it; Kitty's is taken away by its number", () => {
  const text = pictureText(PICTURE, { columns: 5, rows: 2 }, { kind: "sixel", trueColour: true });
  assert.match(visible(text), /^\^7\^P0;1;0q"1;1;40;32#.*\^\\\^8\r\^\[2B$/s);
  const kitty = pictureText(PICTURE, { columns: 5, rows: 2 }, { kind: "kitty", trueColour: true });
  const [, id] = /,i=(\d+),/.exec(kitty)!;
  assert.equal(visible(pictureEnd("kitty")), `^_Ga=d,d=I,i=${id},q=2^\\`);
  for (const kind of ["blocks", "iterm", "sixel"] as const) assert.equal(pictureEnd(kind), "");
});

/** Draws Sixel after DEC's manual. */
function drawn(text: string, width: number, height: number): Uint8Array {
  const rgb = new Uint8Array(3 * width * height);
  const palette = new Map<number, readonly number[]>();
  const body = /\^P0;1;0q"1;1;\d+;\d+(.*)\^\\/s.exec(visible(text))![1]!;
  let [x, top, colour] = [0, 0, 0];
  for (const [token, index, r, g, b, count, sixel] of body.matchAll(
    /#(\d+)(?:;2;(\d+);(\d+);(\d+))?|(?:!(\d+))?([?-~])|[$-]/g,
  )) {
    if (token === "$") x = 0;
    else if (token === "-") [x, top] = [0, top + 6];
    else if (r !== undefined)
      palette.set(
        Number(index),
        [r, g, b].map((share) => Math.round((Number(share) * 255) / 100)),
      );
    else if (index !== undefined) colour = Number(index);
    else {
      for (let times = Number(count ?? 1); times > 0; times--, x++) {
        for (let row = 0; row < 6; row++) {
          if (((sixel!.charCodeAt(0) - 63) >> row) & 1) rgb.set(palette.get(colour)!, 3 * ((top + row) * width + x));
        }
      }
    }
  }
  return rgb;
}

test("Sixel: every pixel is drawn, in a colour near its own, and the mean is right", () => {
  const [width, height] = [40, 20];
  const rgb = Uint8Array.from(
    { length: 3 * width * height },
    (_, at) => [10, 130, 250][at % 3]! - (Math.floor(at / 3) % width),
  );
  const found = drawn(sixelText({ width, height, rgb }), width, height);
  const mean = (values: Uint8Array, colour: number) =>
    values.filter((_, at) => at % 3 === colour).reduce((a, b) => a + b, 0) / (width * height);
  for (const [at, value] of found.entries())
    assert.ok(Math.abs(value - rgb[at]!) <= 52 || rgb[at]! > 250, `${at}: ${value} for ${rgb[at]}`);
  for (const colour of [0, 1, 2]) assert.ok(Math.abs(mean(found, colour) - mean(rgb, colour)) < 6 || colour === 0);
});

test("the picture stands above the line, is drawn in place, and both are taken away before a lasting line", () => {
  const chunks: string[] = [];
  const stderr = Object.assign(new PassThrough(), { isTTY: true, columns: 40, rows: 12 });
  stderr.on("data", (chunk: Buffer) => chunks.push(chunk.toString()));
  const line = new StatusLine({ stderr });
  line.rewrite("Step 1");
  line.draw("P1\r\nP1\r\n", 2, "<end>");
  line.rewrite("Step 2");
  line.draw("P2\r\nP2\r\n", 2, "<end>");
  line.say("Note");
  const screen = screenOf(chunks.join("").replace("<end>", ""));
  assert.deepEqual(screen, ["Note", ""]);
  assert.ok(chunks.join("").includes("<end>"));
  const before = screenOf(chunks.join("").split("<end>")[0]!);
  assert.deepEqual(before, ["P2", "P2", "Step 2"]);
});

test("a picture of fewer rows takes the higher one's place, and leaves nothing of it", () => {
  const chunks: string[] = [];
  const stderr = Object.assign(new PassThrough(), { isTTY: true, columns: 40, rows: 12 });
  stderr.on("data", (chunk: Buffer) => chunks.push(chunk.toString()));
  const line = new StatusLine({ stderr });
  line.rewrite("Step");
  line.draw("P1\r\nP1\r\nP1\r\n", 3, "");
  line.draw("P2\r\n", 1, "");
  assert.deepEqual(screenOf(chunks.join("")), ["P2", "Step"]);
});

/** What a terminal shows: text, returns, line feeds, up, clearing of a line and of all below. */
function screenOf(text: string): string[] {
  const lines = [""];
  let [row, column] = [0, 0];
  for (const [token, count, action] of visible(text).matchAll(/\^\[\??(\d*)([A-Za-z])|\r|\n|[^^\r\n]/g)) {
    if (token === "\r") column = 0;
    else if (token === "\n") {
      row++;
      lines[row] ??= "";
    } else if (action === "A") row = Math.max(0, row - Number(count));
    else if (action === "K") lines[row] = lines[row]!.slice(0, column);
    else if (action === "J") {
      lines.length = row + 1;
      lines[row] = lines[row]!.slice(0, column);
    } else if (action === undefined) {
      lines[row] = lines[row]!.padEnd(column).slice(0, column) + token + lines[row]!.slice(column + 1);
      column++;
    }
  }
  return lines;
}
