/** @file A refiner in the block store: the same pictures as from its folder, resident and streamed; listed, repaired, refused where it is none. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCli } from "../../src/cli/program.ts";
import type { OpenEngineOptions } from "../../src/node.ts";
import { sameBytes } from "../support/same.ts";
import { openThreadlessEngine } from "../support/threadless-engine.ts";
import { fakeContext } from "./fake-context.ts";

const fixtures = fileURLToPath(new URL("../../fixtures", import.meta.url));
const MODEL = join(fixtures, "golden/deep");
const JOB = { prompt: "a lake at dawn", seed: 3, steps: 4, width: 32, height: 32, refinerStart: 0.5 };

const cwd = mkdtempSync(join(tmpdir(), "solvay-stored-refiner-"));
const store = join(cwd, "store");
const refiner = join(cwd, "refiner");
cpSync(join(fixtures, "from-pictures/refiner"), refiner, { recursive: true });
after(() => rmSync(cwd, { recursive: true, force: true }));

async function cli(...args: string[]): Promise<{ rc: number; out: string; err: string }> {
  const fake = fakeContext({ cwd });
  const rc = await runCli(args, fake.context);
  return { rc, out: fake.out(), err: fake.err() };
}

async function picture(options: OpenEngineOptions): Promise<Uint8Array> {
  await using engine = await openThreadlessEngine({ backend: "cpu", model: MODEL, store, ...options });
  for await (const event of engine.generate(JOB)) if (event.type === "image") return event.bytes;
  throw new Error("no image");
}

async function imported(model: string, ...more: string[]): Promise<string> {
  const { rc, out, err } = await cli("import", model, "--store", store, ...more);
  assert.equal(rc, 0, err);
  return out.trim();
}

test("from folder and store, plain and packed, resident and streamed: one picture", async () => {
  const expected = await picture({ refiner });
  for (const [packed, vram] of [
    ["on", "4G"],
    ["off", "226M"],
  ] as const) {
    const id = await imported(refiner, "--packed", packed);
    const budgets = { vram, ram: "1G" };
    sameBytes(await picture({ refiner: `store:${id}`, budgets }), expected, `packed ${packed}, ${vram}`);
  }
});

test("it is listed as a refiner, repaired from its files, and no model; a model is no refiner", async () => {
  const { err, out } = await cli("import", refiner, "--store", store, "--packed", "off");
  assert.match(err, /Use it: solvay generate "PROMPT" --refiner store:/);
  const id = out.trim();
  assert.match((await cli("store", "list", "--store", store)).out, /blocks {2}\S+refiner \(a refiner\)\n/);
  const packs = readdirSync(store, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".pack"));
  for (const name of packs) {
    const bytes = readFileSync(join(store, name));
    bytes[Math.floor(bytes.length * 0.5)]! ^= 1;
    writeFileSync(join(store, name), bytes);
  }
  assert.equal((await cli("store", "verify", id, "--store", store)).rc, 3);
  assert.match((await cli("store", "repair", id, "--store", store)).out, /^repaired: /);
  assert.equal((await cli("store", "verify", id, "--store", store)).rc, 0);
  for (const name of packs) writeFileSync(join(store, name), "");
  assert.match((await cli("store", "repair", id, "--store", store)).out, /repaired: whole packs/);
  assert.equal((await cli("store", "verify", id, "--store", store)).rc, 0);

  assert.match((await cli("verify", refiner)).out, /^\d+ tensors of an SDXL refiner in .*: all sound\n$/);

  const model = openThreadlessEngine({ backend: "cpu", model: `store:${id}`, store });
  await assert.rejects(model, /E_NOT_SDXL .*this is a refiner, which goes on from a base model's picture/);
  const other = await imported(MODEL);
  await assert.rejects(picture({ refiner: `store:${other}` }), /E_NOT_SDXL .*this is no refiner for that model/);
  const vae = await cli("import", refiner, "--store", store, "--vae", MODEL);
  assert.match(vae.err, /^E_USAGE .*this is a refiner, .* takes no --vae\. Next: leave --vae away/);
});
