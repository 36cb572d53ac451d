/** @file What a person sees on a terminal: lines that rewrite themselves, lasting ones, typed lines, Ctrl-Z. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { openLines } from "../../src/repl/lines.ts";
import { wrapped } from "../../src/terminal/format.ts";
import { StatusLine } from "../../src/terminal/status-line.ts";
import { cutToWidth, textWidth } from "../../src/terminal/text-width.ts";

/** A terminal's two directions, and what was done to it. */
function terminal(columns?: number) {
  const log: string[] = [];
  const setRawMode = (on: boolean) => log.push(on ? "raw" : "cooked");
  const stdin = Object.assign(new PassThrough(), { isTTY: true as const, setRawMode });
  const stdout = Object.assign(new PassThrough(), { isTTY: true as const, columns });
  const shown: string[] = [];
  stdout.on("data", (chunk: Buffer) => shown.push(String(chunk)));
  return { stdin, stdout, log, shown: () => shown.join("") };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 20));

test("columns: CJK and emoji take two, marks none, and nothing is cut apart", () => {
  for (const [text, columns] of [
    ["lake", 4],
    ["湖 lake", 7],
    ["한국어", 6],
    ["ＡＢ", 4],
    ["🌊", 2],
    ["👩\u200d🚀", 2],
    ["🇯🇵", 2],
    ["e\u0301", 1],
    ["é·…", 3],
    ["", 0],
  ] as const) {
    assert.equal(textWidth(text), columns, text);
  }
  assert.equal(cutToWidth("湖湖湖", 5), "湖湖");
  assert.equal(cutToWidth("a👩\u200d🚀b", 2), "a");
  assert.equal(cutToWidth("e\u0301e", 1), "e\u0301");
  assert.equal(cutToWidth("lake", 9), "lake");
  assert.deepEqual(wrapped("湖湖湖 湖湖", 9), ["湖湖湖", "  湖湖"]);
});

test("a line that rewrites itself stays in its row, and lasting ones break between words, also where no width is told", () => {
  for (const [columns, width] of [
    [20, 20],
    [0, 80],
    [undefined, 80],
  ] as const) {
    const { stdout, shown } = terminal(columns);
    const line = new StatusLine({ stderr: stdout });
    line.rewrite(`Step 1/2 ${"湖".repeat(60)}`);
    const row = shown().slice("\r\u001b[K".length);
    assert.ok(textWidth(row) < width && textWidth(row) >= width - 2, row);
    // A line that fills its row wraps at the next letter: the last column stays empty.
    line.rewrite("x".repeat(width));
    assert.ok(shown().endsWith(`\u001b[K${"x".repeat(width - 1)}`));
    line.say("word ".repeat(30).trim());
    const lines = shown().split("\u001b[K").at(-1)!.trimEnd().split("\n");
    assert.ok(lines.length > 1 && lines.every((text) => text.length <= width && !/wor$/.test(text)), String(lines));
  }
});

test("Ctrl-Z hands the terminal back and stops the job; what was typed stands there when it goes on", async () => {
  const { stdin, stdout, log, shown } = terminal(80);
  const stopped = Promise.withResolvers<void>();
  const suspend = () => {
    log.push("stopped");
    return stopped.promise;
  };
  using lines = openLines(
    { stdin, stdout, suspend },
    (line) => [[], line],
    () => {},
  );
  const line = lines.next("> ");
  stdin.write("a la");
  await turn();
  stdin.write("\u001a");
  await turn();
  assert.deepEqual(log, ["raw", "cooked", "stopped"]);
  const before = shown().length;
  stopped.resolve();
  await turn();
  assert.equal(log.at(-1), "raw");
  assert.match(shown().slice(before), /> .*a la/s);
  stdin.write("ke\r");
  assert.equal(await line, "a lake");
});

test("lines that were pasted together are shown each where its turn comes", async () => {
  const { stdin, stdout, shown } = terminal(80);
  using lines = openLines(
    { stdin, stdout, suspend: async () => {} },
    (line) => [[], line],
    () => {},
  );
  const first = lines.next("[1] ");
  stdin.write("a\u2028b\rc 湖\r");
  assert.equal(await first, "a b");
  await turn();
  const before = shown().length;
  assert.equal(await lines.next("[2] "), "c 湖");
  assert.equal(shown().slice(before), "[2] c 湖\n");
});
