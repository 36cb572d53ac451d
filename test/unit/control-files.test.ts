/** @file ControlNets' files: modes that a network has, a file that was changed between two jobs; and where black and white part. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ControlFiles } from "../../src/engine/control-files.ts";
import { controlPicture } from "../../src/image/control-picture.ts";
import { controlMode, steersPass } from "../../src/job/control-use.ts";

/** Of a union of six kinds, whose file's stamp is `stamp()`. */
function unions(stamp: () => string): ControlFiles {
  const openControl = async () => {
    const source = { name: "union", file: { path: "/union", stamp: stamp() } };
    return { network: { kind: "union", modes: 6 }, table: new Map([["x", { name: "x", source }]]) };
  };
  const runtime = { checkpoint: { openControl }, provide() {} };
  return new ControlFiles(runtime as never, async () => ({}) as never);
}

test("a mode is one of those that the network has, counted from 0", async () => {
  const files = unions(() => "1");
  const ofMode = (mode: string) => files.ofJob({ controls: [{ file: "union", mode }] } as never);
  assert.equal((await ofMode("5"))!.controls[0]!.use.mode, "5");
  await assert.rejects(ofMode("6"), /E_CONTROL union: it knows 6 kinds of pictures \(found mode 6, number 6\)/);
});

test("a file that was changed is another network, the same file the same one", async () => {
  let stamp = "1";
  const files = unions(() => stamp);
  const component = async () =>
    (await files.ofJob({ controls: [{ file: "union", mode: "1" }] } as never))!.controls[0]!.component;
  const { files: named } = (await files.ofJob({ controls: [{ file: "union", mode: "1" }] } as never))!;
  assert.deepEqual(named, [{ name: "controls.0", path: "/union" }]);
  const first = await component();
  assert.equal(await component(), first);
  stamp = "2";
  assert.notEqual(await component(), first);
});

test("threshold: what is brighter becomes white, as OpenCV's THRESH_BINARY", () => {
  const picture = { width: 2, height: 1, rgb: Uint8Array.from([127, 127, 127, 128, 128, 128]) };
  assert.deepEqual([...controlPicture(picture, "threshold")], [0, 0, 0, 255, 255, 255]);
});

test("kinds of a union by name, as xinsir's ControlNet++ numbers them, or by number; of a single pass every control steers", () => {
  const numbers = {
    ...{ openpose: 0, depth: 1, hed: 2, softedge: 2, scribble: 2, canny: 3, lineart: 3, mlsd: 3, normal: 4 },
    ...{ segment: 5, tile: 6, repaint: 7, inpaint: 7, 0: 0, 5: 5 },
  };
  for (const [mode, number] of Object.entries(numbers)) assert.equal(controlMode({ mode }), number, mode);
  assert.equal(controlMode({}), undefined);
  for (const pass of [undefined, "both", "first", "second"] as const) {
    for (const which of ["first", "second"] as const) {
      const use = { file: "a", ...(pass && { pass }) };
      assert.equal(steersPass(use, which, true), pass === undefined || pass === "both" || pass === which);
      assert.ok(steersPass(use, "first", false), pass);
    }
  }
});

test("guess mode is refused by name where a network has none", async () => {
  for (const guesses of [true, false]) {
    const source = { name: "t2i", file: { path: "/t2i", stamp: "1" } };
    const openControl = async () => ({ network: { guesses }, table: new Map([["x", { name: "x", source }]]) });
    const files = new ControlFiles({ checkpoint: { openControl }, provide() {} } as never, async () => ({}) as never);
    const asked = (guess: boolean) => files.ofJob({ controls: [{ file: "t2i", guess }] } as never);
    assert.equal((await asked(false))!.controls.length, 1);
    if (guesses) assert.equal((await asked(true))!.controls[0]!.use.guess, true);
    else await assert.rejects(asked(true), /E_CONTROL t2i: it steers the prompts' answers alike.*--control-guess/);
  }
});
