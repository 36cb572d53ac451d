/** @file The studio in a real browser, over one server: each file of studio/ has a view's tests. */
import { after, before, test } from "node:test";
import { noBrowser } from "./chromium.ts";
import { controlTests } from "./studio/controls.ts";
import { drawTests } from "./studio/draw.ts";
import { closeFilledServer } from "./studio/filled-server.ts";
import { firstMinuteTests } from "./studio/first-minute.ts";
import { galleryTests } from "./studio/gallery.ts";
import { gridTests } from "./studio/grid.ts";
import { habitTests } from "./studio/habits.ts";
import { StudioUnderTest } from "./studio/harness.ts";
import { likenessTests } from "./studio/likeness.ts";
import { modelsTests } from "./studio/models.ts";
import { queueTests } from "./studio/queue.ts";
import { recallTests } from "./studio/recall.ts";
import { solvayTests } from "./studio/solvay.ts";
import { startPictureTests } from "./studio/start-picture.ts";

let studio: StudioUnderTest;

if (noBrowser) test("the studio in a browser", { skip: noBrowser }, () => {});
else {
  before(async () => {
    studio = await StudioUnderTest.open();
  });
  after(() => studio[Symbol.asyncDispose]());
  after(closeFilledServer);
  drawTests(() => studio);
  queueTests(() => studio);
  recallTests(() => studio);
  galleryTests(() => studio);
  startPictureTests(() => studio);
  solvayTests(() => studio);
  controlTests(() => studio);
  likenessTests(() => studio);
  modelsTests(() => studio);
  gridTests(() => studio);
  habitTests(() => studio);
  firstMinuteTests(() => studio);
}
