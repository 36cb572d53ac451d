/** @file The studio's pictures without a browser: one to begin with, those of the gallery, links of settings, and where a picture lies in the editor. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { openStudioPage } from "../support/studio-page.ts";

interface Signal<T> {
  value: T;
}
type Fields = Record<string, unknown>;

const page = openStudioPage();
const form = await page.load<{
  form: Signal<Fields>;
  partPrompt: Signal<string>;
  schema: Signal<object | undefined>;
}>("state/form.ts");
const start = await page.load<{
  beginWithFile: (file: Blob) => Promise<void>;
  endStartPicture: () => void;
  fitPart: (size: object) => void;
  fitSize: (size: object) => void;
  pictureAddress: (value: unknown) => string | undefined;
}>("state/start-picture.ts");
const gallery = await page.load<{
  days: Signal<readonly object[] | undefined>;
  current: Signal<number | undefined>;
  opened: Signal<number | undefined>;
  chosen: Signal<ReadonlySet<number>>;
  toggleFavourites: (ids: readonly number[]) => void;
  deletePictures: (ids: readonly number[]) => void;
  toggleChosen: (id: number) => void;
  meant: () => readonly number[];
}>("views/gallery/pictures.ts");

const api = await page.load<{
  galleryIndex: (filter: object) => Promise<unknown>;
  galleryPictures: (ids: readonly number[], deleted: boolean) => Promise<readonly { readonly id: number }[]>;
  changePictures: (what: string, ids: readonly number[], more?: object) => Promise<void>;
}>("api/gallery.ts");
const view = await page.load<{
  fitted: (box: object, picture: object, margin: number) => object;
  zoomed: (placement: object, times: number, about: object) => object;
  moved: (placement: object, by: object) => object;
}>("editor/view-box.ts");
const links = await page.load<{
  linkOf: (job: Fields, fields: readonly object[]) => string;
  fieldsOfQuery: (query: URLSearchParams, fields: readonly object[]) => Fields;
}>("views/draw/shared-link.ts");

const SIZES = [
  { width: 1024, height: 1024 },
  { width: 832, height: 1216 },
  { width: 1216, height: 832 },
];
const turns = async () => {
  for (let i = 0; i < 30; i++) await turn();
};

beforeEach(() => {
  form.schema.value = { fields: [], model: { advice: {}, sizes: SIZES } };
  page.requests.length = 0;
  page.told.length = 0;
});

test("a picture to begin with takes the fields of the one before away, and the size follows from its own", async () => {
  const hash = "a".repeat(64);
  page.answer = () => ({ sha256: hash, width: 640, height: 360 });
  form.form.value = {
    prompt: "x",
    initImage: "old",
    strength: 0.9,
    maskImage: "m",
    maskBlur: 3,
    outpaint: "1,1,1,1",
    detail: "1,2,3,4",
    detailPadding: 8,
  };
  form.partPrompt.value = "an eye";
  await start.beginWithFile(new Blob(["x"], { type: "image/png" }));
  assert.deepEqual(form.form.value, { prompt: "x", initImage: `sha256:${hash}`, width: 640, height: 360 });
  assert.equal(form.partPrompt.value, "");
  const sizes: readonly (readonly [number, number, string | undefined, number, number])[] = [
    [641, 363, undefined, 640, 360],
    [644, 30, undefined, 648, 64],
    // Grown by 16 to the left, 8 above, 32 to the right, 24 below.
    [640, 360, "16,8,32,24", 688, 392],
    [1448, 1448, undefined, 1448, 1448],
    // More than twice the model's own pixels: as many as those, in its shape.
    [4096, 2048, undefined, 1448, 728],
  ];
  for (const [width, height, outpaint, wide, high] of sizes) {
    form.form.value = outpaint === undefined ? {} : { outpaint };
    start.fitSize({ width, height });
    assert.deepEqual([form.form.value.width, form.form.value.height], [wide, high], `${width}x${height}`);
  }
  for (const [width, height, wide, high] of [
    [300, 300, 1024, 1024],
    [300, 420, 832, 1216],
    [90, 30, 1216, 832],
    [512, 500, 1024, 1024],
  ] as const) {
    start.fitPart({ width, height });
    assert.deepEqual([form.form.value.width, form.form.value.height], [wide, high], `${width}x${height}`);
  }
  form.form.value = { prompt: "x", initImage: "a", strength: 1, width: 8, height: 8, steps: 3 };
  start.endStartPicture();
  assert.deepEqual(form.form.value, { prompt: "x", steps: 3 });
  assert.equal(start.pictureAddress(`sha256:${hash}`), `/api/assets/${hash}`);
  for (const value of [hash, `sha256:${hash}/..`, "data:x", undefined])
    assert.equal(start.pictureAddress(value), undefined);
});

test("the gallery: all become favourites unless all are; what is deleted vanishes at once, comes back, and what was looked at is the next", async () => {
  const day = (name: string, ids: readonly number[], favourites: readonly number[]) => ({ day: name, ids, favourites });
  const before = [day("b", [5, 4, 3], [4]), day("a", [2, 1], [])];
  page.answer = ({ path }) => (path.includes("/index") ? { days: before } : { changed: 1 });
  gallery.days.value = before;
  gallery.toggleFavourites([4, 3, 1]);
  assert.deepEqual(gallery.days.value, [day("b", [5, 4, 3], [4, 3]), day("a", [2, 1], [1])]);
  gallery.toggleFavourites([4, 3]);
  assert.deepEqual(gallery.days.value, [day("b", [5, 4, 3], []), day("a", [2, 1], [1])]);
  assert.deepEqual(
    page.requests.map(({ path, body }) => [path, body]),
    [
      ["/api/gallery/favourite", { ids: [4, 3, 1], favourite: true }],
      ["/api/gallery/favourite", { ids: [4, 3], favourite: false }],
    ],
  );
  await turns();
  page.answer = () => 503;
  const now = gallery.days.value;
  gallery.toggleFavourites([5]);
  await turns();
  assert.deepEqual([gallery.days.value, page.told.length], [now, 1]);

  page.answer = ({ path }) => (path.includes("/index") ? { days: before } : { changed: 1 });
  page.requests.length = 0;
  gallery.days.value = before;
  [gallery.current.value, gallery.opened.value] = [3, 5];
  for (const id of [4, 3, 4, 4]) gallery.toggleChosen(id);
  assert.deepEqual(gallery.meant().toSorted(), [3, 4]);
  gallery.deletePictures(gallery.meant());
  assert.deepEqual(gallery.days.value, [day("b", [5], []), day("a", [2, 1], [])]);
  assert.deepEqual([gallery.current.value, gallery.opened.value, gallery.meant()], [2, 5, [2]]);
  await turns();
  page.told.at(-1)!.undo!();
  await turns();
  assert.deepEqual(
    page.requests.map(({ path }) => path.split("?")[0]),
    ["/api/gallery/delete", "/api/gallery/restore", "/api/gallery/index"],
  );
  assert.deepEqual(gallery.days.value, before);
  // The last of all: the one before it.
  gallery.current.value = 1;
  gallery.deletePictures([1]);
  assert.equal(gallery.current.value, 2);
});

test("the gallery is asked in the reader's own days, for so many pictures at a time as the server gives, every one once", async ({
  mock,
}) => {
  const asked: number[][] = [];
  page.answer = ({ path, body }) => {
    const query = new URLSearchParams(path.split("?")[1]);
    const ids = (query.get("ids") ?? "").split(",").map(Number);
    if (query.has("ids")) asked.push(ids);
    else if (body) asked.push((body as { ids: number[] }).ids);
    return query.has("ids") ? { pictures: ids.map((id) => ({ id })) } : { days: [] };
  };
  const all = Array.from({ length: 201 }, (_, at) => at + 1);
  assert.deepEqual(
    (await api.galleryPictures(all, true)).map(({ id }) => id),
    all,
  );
  assert.deepEqual(
    asked.map(({ length }) => length),
    [100, 100, 1],
  );
  assert.ok(page.requests.every(({ path }) => path.endsWith("&limit=100&deleted=1")));
  asked.length = 0;
  await api.changePictures(
    "delete",
    Array.from({ length: 1001 }, (_, at) => at + 1),
  );
  assert.deepEqual(
    asked.map((ids) => [ids[0], ids.at(-1)]),
    [
      [1, 1000],
      [1001, 1001],
    ],
  );
  page.requests.length = 0;
  // An hour before UTC's clock, as JavaScript tells it.
  mock.method(Date.prototype, "getTimezoneOffset", () => -60);
  await api.galleryIndex({ words: "a b", favourite: true, deleted: false });
  const query = new URLSearchParams(page.requests[0]!.path.split("?")[1]);
  assert.deepEqual(Object.fromEntries(query), { offset: "60", q: "a b", favourite: "1" });
});

test("settings as a link, and back by their kinds: no pictures, no lists, nothing that the server doesn't know", () => {
  const kinds = {
    prompt: "text",
    steps: "whole",
    guidance: "decimal",
    lossless: "switch",
    seed: "seed",
    initImage: "picture",
    loras: "loras",
  };
  const fields = Object.entries(kinds).map(([name, type]) => ({ name, kind: { type, maxChars: 8 } }));
  const job = {
    prompt: "a & b = ü",
    steps: 3,
    guidance: 2.5,
    lossless: false,
    seed: 7,
    initImage: "sha256:x",
    loras: [{ file: "a" }],
    x: 1,
  };
  const [address, query] = links.linkOf(job, fields).split("?");
  assert.equal(address, "http://studio.example/#/draw");
  const { initImage: _, loras: __, x: ___, prompt, ...rest } = job;
  assert.deepEqual(links.fieldsOfQuery(new URLSearchParams(query), fields), { ...rest, prompt: prompt.slice(0, 8) });
  const read = (text: string) => links.fieldsOfQuery(new URLSearchParams(text), fields);
  assert.deepEqual(read("steps=&guidance=x&seed=-1&initImage=sha256:x&loras=a&x=1&lossless=yes"), { lossless: false });
  assert.deepEqual(read("steps=1e999&guidance=0&lossless=true"), { guidance: 0, lossless: true });
  // What a number doesn't hold stays text.
  assert.deepEqual(read("seed=18446744073709551615"), { seed: "18446744073709551615" });
});

test("a picture in the editor: all of it in the middle, and what lies under the pointer stays there, also at the bounds of zoom", () => {
  const picture = { width: 400, height: 200 };
  assert.deepEqual(view.fitted({ width: 820, height: 620 }, picture, 10), { scale: 2, x: 10, y: 110 });
  assert.deepEqual(view.fitted({ width: 120, height: 620 }, picture, 10), { scale: 0.25, x: 10, y: 285 });
  assert.deepEqual(view.fitted({ width: 4000, height: 4000 }, { width: 4, height: 4 }, 0), {
    scale: 32,
    x: 1936,
    y: 1936,
  });
  assert.deepEqual(view.fitted({ width: 10, height: 10 }, { width: 100, height: 100 }, 10), {
    scale: 0.01,
    x: 4.5,
    y: 4.5,
  });
  // The point 50 of the box is 20 of the picture's pixels from its corner: (50 - 10) / 2.
  assert.deepEqual(view.zoomed({ x: 10, y: 20, scale: 2 }, 2, { x: 50, y: 60 }), { scale: 4, x: -30, y: -20 });
  assert.deepEqual(view.zoomed({ x: 10, y: 20, scale: 16 }, 4, { x: 10, y: 36 }), { scale: 32, x: 10, y: 4 });
  assert.deepEqual(view.zoomed({ x: 10, y: 20, scale: 0.1 }, 0.01, { x: 12, y: 20 }), { scale: 0.05, x: 11, y: 20 });
  assert.deepEqual(view.moved({ x: 1, y: 2, scale: 3 }, { x: 10, y: -20 }), { x: 11, y: -18, scale: 3 });
});
